"""Image encoders of transformers, cut: the same numbers at every block, from every block on."""

import copy
from functools import cache
from itertools import pairwise

import pytest
import torch
import transformers

from mtl.batch import Batch
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.registry import construct
from mtl.trunks.huggingface import HuggingFace

SIZE = 32
TOKENS = {
    "image_size": SIZE,
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SWIN = {"image_size": SIZE, "patch_size": 2, "embed_dim": 8, "num_heads": [2, 2], "window_size": 4}
CONFIGS = {
    "vit": {"model_type": "vit", **TOKENS},
    "deit": {"model_type": "deit", **TOKENS},
    "dinov2": {"model_type": "dinov2", **TOKENS, "mlp_ratio": 2},
    "dinov2 swiglu": {"model_type": "dinov2", **TOKENS, "use_swiglu_ffn": True},
    "swin": {"model_type": "swin", **SWIN, "depths": [2, 2]},
    "swin places": {
        "model_type": "swin",
        **SWIN,
        "depths": [2, 1],
        "use_absolute_embeddings": True,
    },
    "convnext": {
        "model_type": "convnext",
        "hidden_sizes": [8, 12, 16],
        "depths": [2, 1, 1],
        "num_stages": 3,
        "layer_scale_init_value": 0.5,
    },
    "resnet": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 12],
        "depths": [2, 2],
        "layer_type": "basic",
    },
    "resnet bottleneck": {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [16, 24],
        "depths": [1, 2],
        "downsample_in_first_stage": True,
    },
}
STAGED = [name for name in CONFIGS if name.split()[0] in ("swin", "convnext", "resnet")]


@pytest.fixture(params=CONFIGS)
def pair(request):
    return request.param, *build(request.param)


@cache
def build(name):
    """An original with random weights and statistics, and our trunk with the same."""
    torch.manual_seed(0)
    original = transformers.AutoModel.from_config(
        transformers.AutoConfig.for_model(**CONFIGS[name])
    )
    for place, tensor in [*original.named_parameters(), *original.named_buffers()]:
        if place.endswith("running_var"):
            torch.nn.init.uniform_(tensor, 0.5, 2)
        elif tensor.is_floating_point():
            torch.nn.init.normal_(tensor, 0.1, 0.5 * max(tensor[0].numel(), 4) ** -0.5)
    return original.eval(), HuggingFace.around(copy.deepcopy(original)).eval()


def pixels(count=3, height=SIZE, width=SIZE):
    images = torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.full((count,), width))


def outputs(original, batch, **options):
    """What each layer of the original gives, as sequences, found by hooks; and its last hidden state."""
    kinds = "ViTLayer DeiTLayer Dinov2Layer SwinLayer ConvNextLayer ResNetBasicLayer ResNetBottleNeckLayer"
    found = []

    def keep(_module, _given, out):
        out = out[0] if isinstance(out, tuple) else out
        found.append(out.flatten(2).mT if out.dim() == 4 else out)

    layers = [m for m in original.modules() if type(m).__name__ in kinds.split()]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    last = original(pixel_values=batch.inputs, **options).last_hidden_state
    for hook in hooks:
        hook.remove()
    return found, last.flatten(2).mT if last.dim() == 4 else last


@torch.no_grad()
def test_every_block_gives_what_the_original_gives(pair):
    name, original, trunk = pair
    batch = pixels()
    expected, last = outputs(original, batch)
    merging = f"s1b{getattr(original.config, 'depths', [0])[0]}"
    assert len(expected) == len(trunk.blocks)
    ours = trunk(batch, list(trunk.blocks))
    torch.testing.assert_close(ours.x, last, rtol=0, atol=1e-5)
    for block, wanted in zip(trunk.blocks, expected, strict=True):
        got = ours.at(block)
        assert got.lengths.tolist() == [got.x.shape[1]] * 3
        assert got.x.shape[2] == getattr(trunk.blocks[block], "dim", trunk.dim)
        if name.startswith("swin") and block == merging:
            continue  # here the merging of patches belongs to the layer: see the next test but one
        torch.testing.assert_close(got.x, wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_image_alone_gives_what_it_gives_in_a_batch(pair):
    _, _, trunk = pair
    batch = pixels()
    together = trunk(batch).x
    for row in range(3):
        alone = trunk(Batch(batch.inputs[row : row + 1], batch.lengths[:1])).x[0]
        torch.testing.assert_close(alone, together[row], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("pair", STAGED, indirect=True)
def test_stages_give_what_the_original_calls_hidden_states(pair):
    _, original, trunk = pair
    batch = pixels()
    states = original(batch.inputs, output_hidden_states=True).hidden_states
    ends = {name.split("b")[0]: name for name in trunk.blocks}
    ours = trunk(batch, list(ends.values()))
    for name, state in zip(ends.values(), states[1:], strict=True):
        wanted = state.flatten(2).mT if state.dim() == 4 else state
        torch.testing.assert_close(ours.at(name).x, wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_every_block_takes_stored_inputs(pair):
    _, _, trunk = pair
    batch, names = pixels(), list(pair[2].blocks)
    whole = trunk(batch, names)
    for before, name in pairwise(names):
        padded = torch.nn.functional.pad(whole.at(before).x, (0, 0, 0, 3), value=9.0)
        stored = Batch(padded, whole.at(before).lengths, start=name)
        again = trunk(stored, start=(name, trunk.rejoin(stored)))
        torch.testing.assert_close(again.x, whole.x, rtol=0, atol=1e-6)
        assert torch.equal(again.lengths, whole.lengths)


@torch.no_grad()
def test_other_sizes_are_as_in_the_original(pair):
    name, original, trunk = pair
    batch = pixels(1, 48, 40)
    interpolates = name in ("vit", "deit") or name.startswith("swin")
    options = {"interpolate_pos_encoding": True} if interpolates else {}
    _, last = outputs(original, batch, **options)
    torch.testing.assert_close(trunk(batch).x, last, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_small_image_does_not_change_what_the_next_one_gives():
    trunk = HuggingFace.around(copy.deepcopy(build("swin")[0])).eval()
    before = trunk(pixels()).x
    trunk(pixels(1, 16, 16))  # its second stage is one window, which need not shift
    assert torch.equal(trunk(pixels()).x, before)


@torch.no_grad()
def test_frames_are_counted(pair):
    _, _, trunk = pair
    widths = [32, 56]
    counts = [trunk(pixels(1, width, width)).x.shape[1] for width in widths]
    assert trunk.frames(torch.tensor(widths)).tolist() == counts


@torch.no_grad()
def test_a_saved_model_comes_back(pair, tmp_path):
    _, _, trunk = pair
    block = next(iter(trunk.blocks))
    stem = construct("stems", {"name": "torchvision", "crop": SIZE, "resize": SIZE})
    tasks = [
        Task("end", "images", Classify(["a", "b"])),
        Task("inner", "images", Classify(["a", "b"]), at=block),
    ]
    model = Model({"images": stem}, trunk, tasks).eval()
    model.save_pretrained(tmp_path)
    again = Model.from_pretrained(tmp_path)
    features = [each("images", pixels(), [block]) for each in (model, again)]
    for task in ("end", "inner"):
        ours, theirs = (m.scores(task, f).x for m, f in zip((model, again), features, strict=True))
        assert torch.equal(ours, theirs)


def test_batch_statistics_stay_where_the_trunk_is_frozen():
    config = CONFIGS["resnet"]
    stem = construct("stems", {"name": "torchvision", "crop": SIZE, "resize": SIZE})
    model = Model(
        {"images": stem}, HuggingFace(config), [Task("t", "images", Classify(["a", "b"]))]
    )
    model.trunk.requires_grad_(False)
    before = {name: value.clone() for name, value in model.trunk.state_dict().items()}
    model.train()("images", pixels())
    assert all(torch.equal(before[name], value) for name, value in model.trunk.state_dict().items())
    model.trunk.requires_grad_(True)
    model.train()("images", pixels())
    assert any(
        not torch.equal(before[name], value) for name, value in model.trunk.state_dict().items()
    )


def test_maps_that_are_not_square_cannot_be_rejoined():
    for name in ("swin", "resnet"):
        trunk = HuggingFace(CONFIGS[name])
        stored = Batch(torch.zeros(1, 6, 8), torch.tensor([6]), start="s1b2")
        with pytest.raises(ValueError, match=r"6 stored (patches|places) are no square map"):
            trunk.rejoin(stored)
    mixed = Batch(torch.zeros(2, 9, 8), torch.tensor([4, 9]), start="s1b2")
    with pytest.raises(ValueError, match=r"stored images of \[4, 9\] places in one batch"):
        trunk.rejoin(mixed)
