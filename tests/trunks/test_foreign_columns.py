"""Columns of other libraries' trunks: they run, learn beside frozen ones, and come back from disk."""

import json

import pytest
import torch
import torchvision.models as tv
from columns import awake
from tiny_checkpoints import WAVE
from torchvision.models._api import register_model
from torchvision.models.swin_transformer import SwinTransformer

from mtl.batch import Batch
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.registry import construct, describe
from mtl.tune.lora_columns import lora_columns
from mtl.tune.progressive import progressive


@register_model("column_vit")
def column_vit(*, weights: tv.ResNet18_Weights | None = None) -> tv.VisionTransformer:
    return tv.VisionTransformer(32, 8, 2, 2, 8, 16)


@register_model("column_swin")
def column_swin(*, weights: tv.ResNet18_Weights | None = None) -> SwinTransformer:
    return SwinTransformer([2, 2], 8, [2, 1], [2, 2], [2, 2])


@register_model("column_mobile")
def column_mobile(*, weights: tv.ResNet18_Weights | None = None) -> tv.MobileNetV2:
    return tv.MobileNetV2(width_mult=0.1, inverted_residual_setting=[[1, 8, 1, 1], [2, 12, 2, 2]])


CONVNEXT = {"model_type": "convnext", "hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2}
SWIN = {"model_type": "swin", "image_size": 32, "patch_size": 2, "embed_dim": 8, "window_size": 4}
SWIN |= {"num_heads": [2, 2], "depths": [2, 2]}
KINDS = {
    "wav2vec2": {
        "name": "huggingface",
        "masking": False,
        "config": WAVE | {"model_type": "wav2vec2"},
    },
    "convnext": {"name": "huggingface", "config": CONVNEXT},
    "swin": {"name": "huggingface", "config": SWIN},
    "vit": {"name": "torchvision", "arch": "column_vit"},
    "channels last": {"name": "torchvision", "arch": "column_swin"},
    "mobile": {"name": "torchvision", "arch": "column_mobile"},
}
STEMS = {True: {"name": "waveform"}, False: {"name": "torchvision", "crop": 32}}


def build(kind):
    torch.manual_seed(0)
    stem = construct("stems", STEMS[kind == "wav2vec2"])
    return Model(
        {"raw": stem}, construct("trunks", KINDS[kind]), [Task("a", "raw", Classify("xy"))]
    )


def batch(kind):
    torch.manual_seed(1)
    if kind == "wav2vec2":
        return Batch(torch.randn(2, 4000), torch.tensor([4000, 2500]))
    return Batch(torch.randn(2, 3, 32, 32), torch.tensor([32, 32]))


@torch.no_grad()
def score(model, kind, task):
    """As `predict` computes: some kernels round otherwise where gradients are asked for."""
    return model.scores(task, model("raw", batch(kind), {model.tasks[task].at} - {None})).x


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_a_kind(kind, tmp_path):
    model = build(kind).eval()
    before = score(model, kind, "a")
    progressive(model, "new")
    model.add(Task("b", "raw", Classify("xyz")))
    awake(model)
    assert score(model.train(), kind, "a").equal(before)
    assert not model.trunk.column("first").training
    model.scores("b", model("raw", batch(kind))).x.pow(2).sum().backward()
    laterals = {n: p for n, p in model.named_parameters() if ".laterals." in n or ".last." in n}
    assert laterals and all(p.grad.abs().sum() > 0 for p in laterals.values())
    assert all(p.grad is None for p in model.trunk.column("first").parameters())
    model.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    assert score(loaded, kind, "a").equal(before)
    assert score(loaded, kind, "b").equal(score(model.eval(), kind, "b"))


@pytest.mark.parametrize("kind", KINDS)
def test_stored_inputs_of_a_kind(kind):
    model = build(kind).eval()
    progressive(model, "new", begin="first")
    model.add(Task("b", "raw", Classify("xyz")))
    trunk, given = awake(model).eval().trunk, batch(kind)
    flows = []
    hook = trunk.column("new").register_forward_pre_hook(lambda _, args: flows.append(args[0]))
    stemmed = model.stem("raw")(given)
    given = given._replace(inputs=stemmed.x, lengths=stemmed.lengths)
    expected = trunk(given, ["first", "new"])
    hook.remove()
    rows = trunk.store(flows[0], "new")
    width = max(len(row) for row in rows)
    padded = torch.stack([torch.cat([row, row.new_zeros(width - len(row))]) for row in rows])
    counts = torch.tensor([len(row) for row in rows])
    stored = Batch(padded, counts, start="new")
    found = trunk(stored, ["first", "new"], ("new", trunk.rejoin(stored)))
    for name in ("first", "new"):
        assert found.at(name).lengths.equal(expected.at(name).lengths)
        torch.testing.assert_close(found.at(name).x, expected.at(name).x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_low_rank_columns_of_a_kind(kind, tmp_path):
    model = build(kind).eval()
    before = score(model, kind, "a")
    for name in ("new", "newer"):
        lora_columns(model, name, rank=2)
        model.add(Task(name, "raw", Classify("xyz")))
        awake(model)
    assert score(model.train(), kind, "a").equal(before)
    model.scores("newer", model("raw", batch(kind))).x.pow(2).sum().backward()
    own = dict(model.trunk.blocks["newer"].named_parameters())
    assert own and all(p.grad.abs().sum() > 0 for p in own.values())
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(name.startswith(("trunk.blocks.newer.", "heads.newer.")) for name in trained)
    model.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    assert json.dumps(describe(loaded.trunk)) == json.dumps(describe(build(kind).trunk))
    for name in ("a", "new", "newer"):
        assert score(loaded, kind, name).equal(score(model.eval(), kind, name))
