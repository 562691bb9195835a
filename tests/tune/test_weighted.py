import pytest
import torch
from test_contract import DIM, WIDTH
from toy import Spelled, train
from toy import model as toy

from mtl.batch import Batch, Flow
from mtl.model import Model
from mtl.tune.lhuc import lhuc
from mtl.tune.weighted import weighted

BATCH = Batch(torch.randn(2, 5, WIDTH), torch.tensor([5, 3]))
TAPS = ["b1", "b2", "b3"]


def by_taps(model, logits):
    """The weighted mean from the inner blocks of a model that was not edited."""
    with torch.no_grad():
        taps = model.eval()("speech", BATCH, TAPS).taps
        stacked = torch.stack([taps[name].x for name in TAPS])
        mean = torch.einsum("nbtd,n->btd", stacked, torch.tensor(logits).softmax(0))
        return model.trunk.leave(Flow(mean, BATCH.lengths)).x


def set_logits(model, logits):
    with torch.no_grad():
        for name, logit in zip(TAPS, logits, strict=True):
            model.trunk.after[name]["weighted"].logit.fill_(logit)


@pytest.mark.parametrize("logits", [[0.0, 0.0, 0.0], [1.5, -2.0, 0.3]])
def test_the_end_is_the_weighted_mean_of_the_taps(logits):
    expected = by_taps(toy(depth=3), logits)
    model = toy(depth=3)
    weighted(model)
    set_logits(model, logits)
    features = model.eval()("speech", BATCH, TAPS)
    torch.testing.assert_close(features.x, expected)
    untouched = toy(depth=3).eval()("speech", BATCH, TAPS)
    assert all(features.at(name).x.equal(untouched.at(name).x) for name in TAPS[:-1])


def test_one_block_alone_is_its_own_mean():
    model = toy().eval()
    expected = model("speech", BATCH).x
    weighted(model)
    torch.testing.assert_close(model("speech", BATCH).x, expected)


def test_half_precision_is_kept_between_blocks_and_summed_in_full():
    model = toy(depth=2)
    weighted(model)
    behind = [model.trunk.after[name]["weighted"] for name in ("b1", "b2")]
    x = torch.randn(1, 3, DIM).bfloat16()
    flow = behind[0](Flow(x, torch.tensor([3])))
    assert flow.extra["weighted"][0].dtype == torch.float32
    assert behind[1](flow).x.equal(x)


def test_the_weights_are_learnt_and_come_back(tmp_path):
    model = toy(depth=3)
    weighted(model)
    train(Spelled(), net=model)
    logits = [model.trunk.after[name]["weighted"].logit for name in TAPS]
    assert all(logit.abs() > 0 for logit in logits)
    model.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    assert loaded("speech", BATCH).x.equal(model.eval()("speech", BATCH).x)


def test_it_goes_with_other_edits():
    model = toy(depth=2)
    lhuc(model, size=2)
    weighted(model)
    batch = BATCH._replace(groups={"speaker": torch.tensor([0, 1])})
    expected = model.eval()("speech", batch).x
    with torch.no_grad():
        model.trunk.after["b1"]["lhuc"].a[1] = 2.0
    got = model("speech", batch).x
    assert got[0].equal(expected[0]) and not got[1].equal(expected[1])


def test_a_sum_of_some_blocks_is_refused():
    model = toy(depth=3)
    weighted(model)
    with pytest.raises(ValueError, match="needs all blocks: start at the first"):
        model("speech", Batch(torch.randn(1, 4, DIM), torch.tensor([4]), start="b2"))


def test_blocks_of_several_widths_are_refused():
    model = toy(depth=2)
    model.trunk.blocks["b1"].dim = 4
    with pytest.raises(ValueError, match=r"several widths have no mean: {'b1': 4, 'b2': 8}"):
        weighted(model)
    assert not model.edits and not model.trunk.after
