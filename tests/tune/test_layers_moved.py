import pytest
import torch
import torch.distributed as dist
from test_contract import DIM, WIDTH, Linear
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from toy import Spelled, train
from toy import model as toy

from mtl.batch import Batch, Flow
from mtl.config import Fit
from mtl.device import make_accelerator
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.step import Step
from mtl.tune.layers import bitfit, bottom, copy, freeze, reset, thaw, top
from mtl.tune.lhuc import lhuc
from mtl.update import Updater


class Normed(nn.Module):
    """A block that changes itself in training and draws random numbers."""

    def __init__(self, dim):
        super().__init__()
        self.linear, self.norm, self.dropout = (
            nn.Linear(dim, dim),
            nn.BatchNorm1d(dim),
            nn.Dropout(),
        )

    def forward(self, flow):
        x = self.norm(self.linear(flow.x).transpose(1, 2)).transpose(1, 2)
        return flow._replace(x=flow.x + self.dropout(x))


class Batched(Encoder):
    def __init__(self, dim=DIM, depth=3):
        super().__init__(dim)
        self.depth = depth
        self.blocks.update({f"b{number + 1}": Normed(dim) for number in range(depth)})


def normed(seed=0):
    torch.manual_seed(seed)
    return Model({"speech": Linear(6, DIM)}, Batched(), [Task("nl", "speech", CTC(["a", "b"]))])


def values(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before, model):
    return {name for name, value in model.state_dict().items() if not value.equal(before[name])}


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def inside(model, *prefixes):
    return {name for name in model.state_dict() if name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("names", "prefixes"),
    [
        ("trunk", ["trunk."]),
        (r"stems|trunk\.blocks\.b2", ["stems.", "trunk.blocks.b2."]),
        (r".*\.norm\.running_mean", [f"trunk.blocks.b{n}.norm.running_mean" for n in (1, 2, 3)]),
        ("b1:b2", ["trunk.blocks.b1.", "trunk.blocks.b2."]),
        (":b1", ["trunk.blocks.b1."]),
        ("b2:", ["trunk.blocks.b2.", "trunk.blocks.b3."]),
        (":", ["trunk.blocks."]),
        (["b3"], ["trunk.blocks.b3."]),
        (["blocks.b3.norm", "nl"], ["trunk.blocks.b3.norm.", "heads.nl."]),
        (["speech", ":b1"], ["stems.speech.", "trunk.blocks.b1."]),
        (["linear"], [f"trunk.blocks.b{n}.linear." for n in (1, 2, 3)]),
    ],
)
def test_names_mean_what_peft_means(names, prefixes):
    model = normed()
    expected = inside(model, *prefixes)
    report = freeze(model, names)
    assert expected and set(report.names) == expected
    parameters = {name for name, _ in model.named_parameters()}
    assert trained(model) == parameters - expected
    thaw(model, names)
    assert trained(model) == parameters


@pytest.mark.parametrize("act", [freeze, thaw, reset, lambda m, n: copy(m, normed(1), n)])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("b1", r"'b1' matches nothing; there are stems, stems.speech, .*; for endings give a list"),
        (["linear", "ear"], "'ear' matches nothing.*; blocks, for ranges .*: b1, b2, b3$"),
        ("trunk.blocks.b1(", r"'trunk.blocks.b1\(' is not a regular expression: missing \)"),
        ("b1:b4", r"'b1:b4': no block \['b4'\]; this trunk has: b1, b2, b3"),
        ("b3:b2", "block 'b3' comes after 'b2'"),
        ([], "no names were given"),
        (None, "no names were given"),
    ],
)
def test_names_that_match_nothing_are_refused(act, names, message):
    model = normed()
    before = values(model)
    with pytest.raises(ValueError, match=message):
        act(model, names)
    assert not changed(before, model) and trained(model) == set(dict(model.named_parameters()))


def test_values_come_from_a_model_and_not_from_its_name():
    with pytest.raises(ValueError, match="source 'runs/model' is neither a model nor a state dict"):
        copy(normed(), "runs/model", ":b1")


def test_a_report_lists_names_and_shapes():
    assert str(freeze(toy(), r"heads\.nl")).splitlines() == [
        "+ heads.nl.output.weight (3, 8)",
        "+ heads.nl.output.bias (3,)",
    ]


def test_what_is_frozen_stays_bit_equal_also_its_statistics():
    model = normed()
    freeze(model, ":b2")
    before = values(model)
    train(Spelled(), net=model)
    got = changed(before, model)
    assert not got & inside(model, "trunk.blocks.b1.", "trunk.blocks.b2.")
    expected = {"trunk.blocks.b3.norm.running_mean", "trunk.blocks.b3.linear.weight"}
    assert got >= expected | inside(model, "stems.", "heads.")


def test_frozen_blocks_do_not_drop_while_training():
    model = normed()
    freeze(model, ":b2")
    model.train()
    flow = Flow(torch.randn(2, 4, DIM), torch.tensor([4, 4]))
    for name, equal in (("b1", True), ("b2", True), ("b3", False)):
        block = model.trunk.blocks[name]
        assert block(flow).x.equal(block(flow).x) == equal


def test_frozen_parameters_are_out_of_the_optimizer_and_of_ddp():
    model = normed()
    freeze(model, "stems|trunk")
    step = Step(model)
    head = sum(1 for _ in model.heads.parameters())
    updater = Updater(step, Fit(precision="no"), make_accelerator(Fit(precision="no")), 1)
    held = [p for group in updater.optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.heads.parameters()}
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        logged = DistributedDataParallel(step)._get_ddp_logging_data()
    finally:
        dist.destroy_process_group()
    assert logged["num_parameter_tensors"] == head


def test_copying_takes_weights_and_statistics_and_shares_none():
    source, model = normed(1), normed(2)
    with torch.no_grad():
        source.trunk.blocks["b1"].norm.running_mean.fill_(7.0)
        source.trunk.blocks["b1"].norm.num_batches_tracked.fill_(9)
    before = values(model)
    report = copy(model, source, ":b1")
    assert not report.missing and set(report.names) == inside(model, "trunk.blocks.b1.")
    assert changed(before, model) <= set(report.names)
    for name in report.names:
        assert model.state_dict()[name].equal(source.state_dict()[name])
    with torch.no_grad():
        source.trunk.blocks["b1"].linear.weight.zero_()
    assert model.trunk.blocks["b1"].linear.weight.any()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_the_source_lacks_is_reported():
    model = toy(depth=2)
    lhuc(model, size=2)
    report = copy(model, toy(seed=1), "trunk")
    lost = sorted(inside(model, "trunk.after.", "trunk.blocks.b2."))
    assert sorted(report.missing) == lost
    assert str(report).splitlines()[-len(lost) :] == [f"- {name}" for name in report.missing]


def test_other_shapes_are_listed_and_nothing_is_copied():
    wide = Model({"speech": Linear(7, DIM)}, Batched(), [Task("nl", "speech", CTC(["a"]))])
    model = normed()
    before = values(model)
    with pytest.raises(ValueError, match="nothing was copied") as error:
        copy(model, wide, ["b1", "speech", "nl"])
    assert str(error.value).splitlines()[1:] == [
        "- stems.speech.project.weight: (8, 7) there, (8, 6) here",
        "- heads.nl.output.weight: (2, 8) there, (3, 8) here",
        "- heads.nl.output.bias: (2,) there, (3,) here",
    ]
    assert not changed(before, model)


RENAME = {r"^encoder\.(\d)\.": r"trunk.blocks.b\1.", r"\.fc\.": ".linear."}


def foreign():
    return {
        "encoder.1.fc.weight": torch.ones(DIM, DIM).double(),
        "encoder.2.fc.bias": torch.ones(DIM),
    }


def test_a_foreign_state_dict_comes_in_by_a_key_map():
    model = normed()
    report = copy(model, foreign(), ["linear"], rename=RENAME)
    assert report.names == ["trunk.blocks.b1.linear.weight", "trunk.blocks.b2.linear.bias"]
    assert len(report.missing) == 4
    assert model.trunk.blocks["b1"].linear.weight.eq(1).all()
    assert model.trunk.blocks["b1"].linear.weight.dtype == torch.float32


def test_a_key_map_that_does_not_fit_is_refused():
    with pytest.raises(
        ValueError, match=r"none of them; it has: encoder\.1\.fc\.weight, .*`rename`"
    ):
        copy(normed(), foreign(), ":")
    with pytest.raises(ValueError, match="two tensors the name 'x'"):
        copy(normed(), foreign(), ":", rename={"^.*$": "x"})


def test_resetting_gives_what_construction_gives():
    model = normed(5)
    train(Spelled(), net=model)
    before, state = values(model), torch.get_rng_state()
    report = reset(model, "b2:", seed=3)
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(3)
    fresh = Model.from_config(model.config())
    assert set(report.names) == inside(model, "trunk.blocks.b2.", "trunk.blocks.b3.")
    assert changed(before, model) == set(report.names)
    for name in report.names:
        assert model.state_dict()[name].equal(fresh.state_dict()[name])


def test_bitfit_trains_biases_norms_and_heads():
    model = toy()
    bitfit(model)
    assert trained(model) == inside(model, "heads.") | {
        name
        for name in model.state_dict()
        if name.endswith("bias") or "norm" in name or "feed_forward.0" in name
    }
    assert "trunk.blocks.b1.attention.inward.weight" not in trained(model)


def test_the_top_and_the_bottom_of_a_model():
    model = toy(depth=3)
    lhuc(model, size=2)
    everything = set(model.state_dict())
    top(model, 0)
    assert trained(model) == inside(model, "heads.")
    top(model, 1)
    b3 = inside(model, "trunk.blocks.b3.", "trunk.after.b3.")
    assert trained(model) == inside(model, "heads.", "trunk.norm.") | b3
    bottom(model, 2)
    assert trained(model) == everything - inside(model, "heads.", "trunk.norm.") - b3
    bottom(model, 0)
    assert trained(model) == inside(model, "stems.")
    top(model, 3)
    assert trained(model) == everything - inside(model, "stems.")
    with pytest.raises(ValueError, match="this trunk has 3 blocks: choose 0 to 3"):
        top(model, 4)


def test_none_of_it_is_an_edit():
    model = toy()
    freeze(model, ":")
    reset(model, ":")
    bitfit(model)
    batch = Batch(torch.randn(1, 5, WIDTH), torch.tensor([5]))
    assert not model.edits and model("speech", batch).x.isfinite().all()
