import pytest
import torch
from test_contract import DIM, WIDTH, Linear
from torch import nn
from toy import Spelled, train
from toy import model as toy

from mtl.batch import Batch
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.tune.lora import lora

BATCH = Batch(torch.randn(2, 5, WIDTH), torch.tensor([5, 3]))
QUERIES = r"blocks\.b2\.attention\.inward"


def trained(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_nothing_changes_before_training():
    model = toy(depth=2).eval()
    before = model("speech", BATCH).x
    lora(model)
    assert model.eval()("speech", BATCH).x.equal(before)


def test_the_update_is_that_of_the_paper():
    model = toy(depth=2)
    lora(model, rank=2, alpha=3.0, targets=QUERIES)
    layer = model.trunk.blocks["b2"].attention.inward
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape == (2, DIM) and b.shape == (3 * DIM, 2)
    with torch.no_grad():
        b.normal_()
    x, base = torch.randn(4, DIM), layer.base_layer
    expected = x @ (base.weight + 3.0 / 2 * b @ a).T + base.bias
    torch.testing.assert_close(layer(x), expected)


def test_all_linear_layers_of_the_blocks_by_default():
    model = toy(depth=2)
    linear = [n for n, m in model.trunk.blocks.named_modules() if isinstance(m, nn.Linear)]
    lora(model)
    updated = {name.split(".lora_")[0] for name in model.trunk.state_dict() if "lora_" in name}
    assert updated == {f"blocks.{name}" for name in linear} and len(linear) == 8


def test_only_updates_heads_and_stems_are_trained():
    model = toy(depth=2)
    lora(model, rank=2, targets=QUERIES)
    own = {f"trunk.{QUERIES.replace(chr(92), '')}.lora_{part}.default.weight" for part in "AB"}
    rest = {name for name in model.state_dict() if name.startswith(("heads.", "stems."))}
    assert trained(model) == own | rest
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(Spelled(), net=model)
    changed = {n for n, value in model.state_dict().items() if not value.equal(before[n])}
    assert changed == own | rest


def test_loading_gives_the_same_outputs(tmp_path):
    model = toy(depth=2)
    lora(model, rank=2, alpha=4.0)
    with torch.no_grad():
        for name, parameter in model.trunk.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    expected = model.eval()("speech", BATCH).x
    model.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    assert loaded.edits == model.edits == [{"name": "lora", "rank": 2, "alpha": 4.0}]
    assert loaded("speech", BATCH).x.equal(expected) and trained(loaded) == trained(model)


def test_targets_that_match_nothing_are_refused():
    with pytest.raises(
        ValueError, match=r"'b1' matches no linear layer .* has: blocks.b1.attention.inward, "
    ):
        lora(toy(), targets="b1")
    model = toy()
    lora(model)
    with pytest.raises(ValueError, match="has low-rank updates already"):
        lora(model)
    assert len(model.edits) == 1


class Attending(Encoder):
    """A trunk that holds layers of torch's own attention, and a copy of itself."""

    def __init__(self, dim=DIM):
        super().__init__(dim)
        self.config = {"model_type": "wav2vec2"}  # as the trunks from transformers have one
        self.blocks["b1"] = nn.ModuleDict(
            {"attention": nn.MultiheadAttention(dim, 2), "out": nn.Linear(dim, dim)}
        )
        self.old = nn.ModuleDict(
            {"blocks": nn.ModuleDict({"b1": nn.ModuleDict({"out": nn.Linear(dim, dim)})})}
        )


def test_layers_whose_updates_would_have_no_effect_are_passed_over():
    model = Model({"speech": Linear(6, DIM)}, Attending(), [Task("nl", "speech", CTC(["a"]))])
    lora(model)
    updated = {name.split(".lora_")[0] for name in model.trunk.state_dict() if "lora_" in name}
    assert updated == {"blocks.b1.out"}
