"""torchvision's models, cut: the same numbers at every block, the same logits, the same preparation."""

import copy
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision.models as tv
from safetensors.torch import save_file
from torch import nn
from torchvision.models import efficientnet, mobilenetv3, regnet, resnet, swin_transformer, vgg
from torchvision.models._api import register_model
from torchvision.models.convnext import CNBlockConfig

from mtl.batch import Batch
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model, WrongModel
from mtl.stems.torchvision import TorchVision as Pictures
from mtl.trunks.torchvision import TorchVision, load

SIZE = 32
MB = efficientnet.MBConvConfig
V3 = partial(mobilenetv3.InvertedResidualConfig, activation="HS", dilation=1, width_mult=1.0)
V2 = [[1, 8, 1, 1], [2, 12, 2, 2]]
SWIN = {"patch_size": [2, 2], "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2]}
WIDTHS = ([1, 2], [8, 16], [4, 4], [1.0, 1.0], [2, 2], 0.25)


def tiny(build, kind, name):
    """Register a small model, for `get_model` to find it as it finds its own."""

    def builder(*, weights: tv.ResNet18_Weights | None = None, **config) -> kind:
        return build(**config)

    register_model(name)(builder)


def small_vgg(num_classes=1000):
    model = tv.VGG.__new__(tv.VGG)  # its own classifier has 100 M weights
    nn.Module.__init__(model)
    model.features = vgg.make_layers([8, "M", 12, "M"], batch_norm=True)
    model.avgpool = nn.AdaptiveAvgPool2d(7)
    model.classifier = nn.Sequential(nn.Linear(12 * 49, 8), nn.ReLU(), nn.Linear(8, num_classes))
    return model


def small_vit(image_size=SIZE, num_classes=1000):
    return tv.VisionTransformer(image_size, 8, 2, 2, 16, 24, num_classes=num_classes)


V2_SWIN = {
    "block": swin_transformer.SwinTransformerBlockV2,
    "downsample_layer": swin_transformer.PatchMergingV2,
}
BUILD = {
    "tiny_convnext": (
        partial(
            tv.ConvNeXt, [CNBlockConfig(8, 12, 2), CNBlockConfig(12, None, 1)], layer_scale=0.5
        ),
        tv.ConvNeXt,
    ),
    "tiny_densenet": (partial(tv.DenseNet, 4, (2, 2), 8), tv.DenseNet),
    "tiny_efficientnet": (
        partial(
            tv.EfficientNet,
            [MB(1, 3, 1, 8, 8, 1), MB(4, 3, 2, 8, 12, 2)],
            dropout=0.2,
            last_channel=16,
        ),
        tv.EfficientNet,
    ),
    "tiny_mobilenet": (
        partial(tv.MobileNetV2, inverted_residual_setting=[[1, 8, 1, 1], [2, 12, 2, 2]]),
        tv.MobileNetV2,
    ),
    "tiny_mobilenet3": (
        partial(tv.MobileNetV3, [V3(16, 3, 16, 12, True, stride=2)], 16),
        tv.MobileNetV3,
    ),
    "tiny_regnet": (partial(tv.RegNet, regnet.BlockParams(*WIDTHS), stem_width=8), tv.RegNet),
    "tiny_resnet": (partial(tv.ResNet, resnet.BasicBlock, [2, 1, 1, 1]), tv.ResNet),
    "tiny_swin": (partial(tv.SwinTransformer, **SWIN, window_size=[4, 4]), tv.SwinTransformer),
    "tiny_swin2": (
        partial(tv.SwinTransformer, **SWIN, **V2_SWIN, window_size=[4, 4]),
        tv.SwinTransformer,
    ),
    "tiny_vgg": (small_vgg, tv.VGG),
    "tiny_vit": (small_vit, tv.VisionTransformer),
}
for arch, (build, kind) in BUILD.items():
    tiny(build, kind, arch)

PLACES = {  # our blocks, and after which module of the original they end
    "tiny_convnext": "f0=0 f1_0=1.0 f1_1=1.1 f2=2 f3_0=3.0",
    "tiny_densenet": "conv0=pool0 denseblock1=denseblock1 transition1=transition1 "
    "denseblock2=denseblock2",
    "tiny_efficientnet": "f0=0 f1_0=1.0 f2_0=2.0 f2_1=2.1 f3=3",
    "tiny_mobilenet": "f0=0 f1=1 f2=2 f3=3 f4=4",
    "tiny_mobilenet3": "f0=0 f1=1 f2=2",
    "tiny_swin": "f0=0 f1_0=1.0 f1_1=1.1 f2=2 f3_0=3.0",
    "tiny_swin2": "f0=0 f1_0=1.0 f1_1=1.1 f2=2 f3_0=3.0",
    "tiny_vgg": "f0=3 f4=7",
    "squeezenet1_1": "f0=2 f3=3 f4=5 f6=6 f7=8 f9=9 f10=10 f11=11 f12=12",
}
PLACES = {
    arch: {o: f"features.{t}" for o, t in (pair.split("=") for pair in pairs.split())}
    for arch, pairs in PLACES.items()
}
PLACES |= {
    "tiny_resnet": {f"layer{s}_{b}": f"layer{s}.{b}" for s, b in ["10", "11", "20", "30", "40"]},
    "tiny_regnet": {
        f"block{s}_{b}": f"trunk_output.block{s}.block{s}-{b}" for s, b in ["10", "20", "21"]
    },
    "tiny_vit": {f"encoder_layer_{i}": f"encoder.layers.encoder_layer_{i}" for i in range(2)},
    "shufflenet_v2_x0_5": {
        f"stage{s}_{b}": f"stage{s}.{b}" for s, n in [(2, 4), (3, 8), (4, 4)] for b in range(n)
    }
    | {"conv5": "conv5"},
    "mnasnet0_5": {"0": "2", "3": "5", "6": "7", "14": "16"}
    | {
        f"{s}_{b}": f"{s}.{b}"
        for s, n in zip(range(8, 14), [3, 3, 3, 2, 4, 1], strict=True)
        for b in range(n)
    },
}
PLACES["mnasnet0_5"] = {f"f{o}": f"layers.{t}" for o, t in PLACES["mnasnet0_5"].items()}
HEADLESS = ("tiny_vgg", "tiny_mobilenet3", "squeezenet1_1")


@cache
def original(arch):
    """A model of torchvision with random weights and statistics."""
    torch.manual_seed(0)
    model = tv.get_model(arch, num_classes=5)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("running_var"):
            nn.init.uniform_(tensor, 0.5, 2)
        elif name.endswith(("running_mean", "bias", "class_token", "heads.head.weight")):
            nn.init.normal_(tensor, 0.0, 0.2)
    return model.eval()


@cache
def ours(arch):
    size = {"image_size": SIZE} if arch == "tiny_vit" else None
    return TorchVision.around(copy.deepcopy(original(arch)), arch, size).eval()


@pytest.fixture(params=PLACES)
def arch(request):
    return request.param


def pixels(count=2, size=SIZE):
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.full((count,), size))


def flat(x, arch):
    """What torchvision hands on, as a sequence."""
    if x.dim() == 3:
        return x
    return x.flatten(1, 2) if "swin" in arch else x.flatten(2).mT


@torch.no_grad()
def test_every_block_gives_what_the_original_gives(arch):
    trunk, model, batch, found = ours(arch), original(arch), pixels(), {}
    assert set(trunk.blocks) == set(PLACES[arch])

    def keep(name, _module, _given, out):
        found[name] = out.clone()  # the next layer may write into it

    places = PLACES[arch].items()
    hooks = [model.get_submodule(p).register_forward_hook(partial(keep, o)) for o, p in places]
    model(batch.inputs)
    for hook in hooks:
        hook.remove()
    assert list(trunk.blocks) == list(found)
    features = trunk(batch, list(found))
    for name, wanted in found.items():
        got = features.at(name)
        torch.testing.assert_close(got.x, flat(wanted, arch), rtol=1e-5, atol=1e-5)
        assert got.lengths.tolist() == [got.x.shape[1]] * 2
        assert got.x.shape[2] == trunk.blocks[name].dim
    assert features.x.shape[2] == trunk.dim


@torch.no_grad()
def test_every_block_takes_stored_inputs(arch):
    trunk, batch = ours(arch), pixels(1)
    names = list(trunk.blocks)
    whole = trunk(batch, names)
    for before, name in pairwise(names):
        padded = torch.nn.functional.pad(whole.at(before).x, (0, 0, 0, 3), value=9.0)
        stored = Batch(padded, whole.at(before).lengths, start=name)
        again = trunk(stored, start=(name, trunk.rejoin(stored)))
        torch.testing.assert_close(again.x, whole.x, rtol=1e-5, atol=1e-5)
        assert torch.equal(again.lengths, whole.lengths)


@torch.no_grad()
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_gives_the_logits_of_the_original(arch, suffix, tmp_path):
    model, file = original(arch), tmp_path / f"weights.{suffix}"
    state = model.state_dict()
    save_file(dict(state), file) if suffix == "safetensors" else torch.save({"model": state}, file)
    _stem, trunk, head = load(f"{arch}={file}")
    torch.testing.assert_close(trunk(pixels()).x, ours(arch)(pixels()).x, rtol=0, atol=0)
    if arch in HEADLESS:
        assert head is None
        return
    assert head.classes == ["0", "1", "2", "3", "4"]
    got = head.scores(trunk(pixels())).x
    torch.testing.assert_close(got, model(pixels().inputs), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_saved_model_comes_back(arch, tmp_path):
    trunk = ours(arch)
    inner = next(iter(trunk.blocks))
    tasks = [Task("end", "images", Classify(["a", "b"]))]
    tasks += [Task("inner", "images", Classify(["a", "b"]), at=inner)]
    model = Model({"images": Pictures(SIZE)}, trunk, tasks).eval()
    model.save_pretrained(tmp_path)
    again = Model.from_pretrained(tmp_path)
    for task in ("end", "inner"):
        scores = [m.scores(task, m("images", pixels(), [inner])).x for m in (model, again)]
        assert torch.equal(*scores)


@torch.no_grad()
def test_frames_are_counted(arch):
    trunk = ours(arch)
    sizes = [SIZE] if arch == "tiny_vit" else [SIZE, 50]
    counts = [trunk(pixels(1, size)).x.shape[1] for size in sizes]
    assert trunk.frames(torch.tensor(sizes)).tolist() == counts


@torch.no_grad()
def test_named_weights_come_with_their_classes_and_transforms(tmp_path, monkeypatch):
    weights = tv.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / weights.url.split("/")[-1]
    place.parent.mkdir(parents=True)
    model = tv.shufflenet_v2_x0_5()
    torch.save(model.state_dict(), place)
    for name in ("IMAGENET1K_V1", "DEFAULT"):
        stem, trunk, head = load(f"shufflenet_v2_x0_5/{name}")
    assert head.classes[:2] == ["tench", "goldfish"] and len(head.classes) == 1000
    picture = torch.randint(256, (3, 70, 90), dtype=torch.uint8)
    prepared = stem.prepare(picture)
    assert torch.equal(prepared, weights.transforms()(picture))
    together = Model({"images": stem}, trunk, [Task("imagenet", "images", head)]).eval()
    features = together("images", Batch(prepared[None], torch.tensor([224])))
    wanted = model.eval()(prepared[None])
    torch.testing.assert_close(
        together.scores("imagenet", features).x, wanted, rtol=1e-5, atol=1e-5
    )

    place.write_bytes(place.read_bytes()[:1000])
    with pytest.raises(ValueError, match="delete its damaged file"):
        load("shufflenet_v2_x0_5/IMAGENET1K_V1")

    def offline(*_args, **_more):
        raise URLError("no network")

    place.unlink()
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(
        FileNotFoundError, match=r"cannot be downloaded .*no network.*: put https://"
    ):
        load("shufflenet_v2_x0_5/IMAGENET1K_V1")


@pytest.mark.parametrize(
    "weights",
    [
        tv.ResNet50_Weights.IMAGENET1K_V2,
        tv.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1,
        tv.EfficientNet_B1_Weights.IMAGENET1K_V2,
    ],
)
@pytest.mark.parametrize("picture", [(3, 300, 451), (3, 61, 40)])
def test_the_stem_prepares_as_the_weights_do(weights, picture):
    given = weights.transforms()
    stem = Pictures(
        given.crop_size[0],
        given.resize_size[0],
        given.mean,
        given.std,
        given.interpolation.value,
        given.antialias,
    )
    for raw in (torch.randint(256, picture, dtype=torch.uint8), torch.rand(picture)):
        assert torch.equal(stem.prepare(raw), given(raw))


class Code:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_of_weights_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub/checkpoints" / tv.ShuffleNet_V2_X0_5_Weights.DEFAULT.url.split("/")[-1]
    place.parent.mkdir(parents=True)
    torch.save({"fc.bias": Code(tmp_path / "ran")}, place)
    with pytest.raises(ValueError, match="delete its damaged file"):
        load("shufflenet_v2_x0_5/DEFAULT")
    with pytest.raises(ValueError, match="holds more than tensors"):
        load(f"shufflenet_v2_x0_5={place}")
    assert not (tmp_path / "ran").exists()


def test_grey_pictures_are_repeated_and_others_refused():
    grey = torch.randint(256, (1, 40, 50), dtype=torch.uint8)
    stem = Pictures(SIZE, 40)
    assert torch.equal(stem.prepare(grey), stem.prepare(grey.repeat(3, 1, 1)))
    with pytest.raises(ValueError, match=r"pixels \(2, 8, 8\); expected \(C, H, W\) of 1 or 3"):
        stem.prepare(torch.zeros(2, 8, 8))


def test_a_name_alone_gives_random_weights_and_no_head():
    stem, trunk, head = load("tiny_vit")
    assert head is None and trunk.training
    assert (stem.crop, stem.resize, stem.interpolation) == (224, 256, "bilinear")


def test_a_file_for_larger_images_sets_the_size(tmp_path):
    model = tv.get_model("tiny_vit", image_size=48, num_classes=3)
    torch.save(model.state_dict(), tmp_path / "large.pth")
    stem, trunk, _ = load(f"tiny_vit={tmp_path / 'large.pth'}")
    assert (stem.crop, trunk.config) == (48, {"image_size": 48})
    with pytest.raises(
        ValueError, match=r"pixels \(2, 3, 32, 32\); this trunk takes \(B, 3, 48, 48\)"
    ):
        trunk(pixels())


def test_a_file_without_classifier_gives_no_head(tmp_path):
    state = {n: v for n, v in original("tiny_resnet").state_dict().items() if "fc" not in n}
    torch.save(state, tmp_path / "headless.pth")
    _, trunk, head = load(f"tiny_resnet={tmp_path / 'headless.pth'}")
    assert head is None
    assert torch.equal(trunk(pixels()).x, ours("tiny_resnet")(pixels()).x)


def test_old_names_of_densenet_are_understood(tmp_path):
    state = original("tiny_densenet").state_dict()
    old = {n.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v for n, v in state.items()}
    assert set(old) != set(state)
    torch.save(old, tmp_path / "old.pth")
    _, trunk, _ = load(f"tiny_densenet={tmp_path / 'old.pth'}")
    assert torch.equal(trunk(pixels()).x, ours("tiny_densenet")(pixels()).x)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "no model 'resnet81'; did you mean .*resnet18"),
        ("googlenet", r"googlenet \(GoogLeNet\) cannot be cut into blocks; these can: .*ResNet"),
        ("fasterrcnn_resnet50_fpn", r"\(FasterRCNN\) cannot be cut"),
        ("quantized_resnet18", r"\(QuantizableResNet\) cannot be cut"),
        ("resnet18/IMAGENET22K", "resnet18 has no weights 'IMAGENET22K'; it has: IMAGENET1K_V1"),
    ],
)
def test_unknown_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        load(name)


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth does not exist"):
        load(f"tiny_resnet={tmp_path / 'nowhere.pth'}")
    other = tmp_path / "other.pth"
    torch.save(original("tiny_convnext").state_dict(), other)
    with pytest.raises(
        WrongModel, match=r"other.pth is of another model:\n- conv1.weight"
    ) as caught:
        load(f"tiny_resnet={other}")
    assert "... and" in str(caught.value)
    state = original("tiny_vit").state_dict()
    torch.save({**state, "encoder.ln.weight": torch.ones(3), "extra": torch.ones(1)}, other)
    with pytest.raises(
        WrongModel, match=r"\+ extra\n! encoder.ln.weight: file \(3,\), model \(16,\)"
    ):
        load(f"tiny_vit={other}")
    for suffix in ("pth", "safetensors"):
        half = tmp_path / f"half.{suffix}"
        save_file(state, half) if suffix == "safetensors" else torch.save(state, half)
        half.write_bytes(half.read_bytes()[:-2000])
        with pytest.raises(ValueError, match=f"half.{suffix} is damaged"):
            load(f"tiny_vit={half}")
    torch.save({"epoch": 3}, other)
    with pytest.raises(ValueError, match="is no state dict"):
        load(f"tiny_vit={other}")
