"""passes: streams together are what they are alone, save for what looks at a whole batch."""

import pytest
import torch
from tiny_norms import batch, normed

from mtl.batch import Batch
from mtl.config import Fit
from mtl.method import Totals
from mtl.passes import one_by_one, together
from mtl.step import Step
from mtl.tune.domain_norm import domain_norm

TAPS = {"source": {"b1"}, "target": set()}


def test_without_batch_norm_nothing_changes():
    model = normed(norm=False)
    batches = {"source": batch(3), "target": batch(5)}
    alone, joint = (run(model, batches, TAPS) for run in (one_by_one, together))
    assert list(joint) == ["source", "target"]
    for name, f in alone.items():
        torch.testing.assert_close(joint[name].x, f.x)
        assert joint[name].lengths.equal(f.lengths)
    torch.testing.assert_close(joint["source"].taps["b1"].x, alone["source"].taps["b1"].x)


def test_batch_norm_sees_all_streams_of_one_shape():
    model = normed().train()
    batches = {"source": batch(3), "target": batch(5, shift=2.0)}
    joint = together(model, batches, TAPS)
    x = torch.cat([each.inputs for each in batches.values()])
    x = model.stems["pictures"].convolution(x)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    wanted = ((x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()).flatten(2).mT
    torch.testing.assert_close(joint["target"].x, wanted[3:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(joint["source"].x, wanted[:3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.trunk.blocks["b1"].norm.running_mean, 0.1 * mean)


def test_other_shapes_and_groups_stay_apart():
    model = normed().train()
    batches = {"source": batch(3), "target": batch(2, side=6)}
    alone = one_by_one(model, batches, TAPS)
    joint = together(model, batches, TAPS)
    assert all(torch.equal(joint[name].x, f.x) for name, f in alone.items())


def test_groups_that_both_have_come_along():
    model, seen = normed(), []
    model.trunk.register_forward_pre_hook(lambda _, args: seen.append(args[0].groups))
    one, other = torch.tensor([1, 0, 2]), torch.tensor([5, 6])
    batches = {
        "source": batch(3)._replace(groups={"speaker": one, "domain": one}),
        "target": batch(2)._replace(groups={"speaker": other}),
    }
    together(model, batches, TAPS)
    assert [{n: g.tolist() for n, g in groups.items()} for groups in seen] == [
        {"speaker": [1, 0, 2, 5, 6]}
    ]


def test_a_step_takes_the_setting():
    batches = {"source": batch(4, labelled=True), "target": batch(4, shift=3.0)}
    totals = Totals({"source": 4, "target": 4})
    losses = [
        Step(normed(), one_pass=joint).train()(batches, "train", True, totals, 0.0).losses["label"]
        for joint in (False, True)
    ]
    assert (losses[0] - losses[1]).abs() > 1e-3, "the target moves the means of a joint batch"
    assert not Fit().one_pass
    model = normed()
    domain_norm(model)
    with pytest.raises(
        ValueError, match=r"domain_norm needs a pass for each .* leave out fit.one_p"
    ):
        Step(model, one_pass=True)


def test_stored_inputs_join_only_their_like():
    model = normed()
    stored = Batch(torch.randn(2, 4, 5, 5), torch.tensor([5, 5]), start="b1")
    found = together(model, {"source": batch(2), "target": stored}, TAPS)
    torch.testing.assert_close(found["target"].x, model("target", stored).x)
