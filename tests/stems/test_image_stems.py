"""pixels and patches: any image becomes the same size; an image alone gives the same."""

import pytest
import torch

from mtl.batch import Batch
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.ops import square
from mtl.registry import construct, describe
from mtl.stems.huggingface import HuggingFace
from mtl.stems.logmel import LogMel
from mtl.stems.patches import Patches
from mtl.stems.pixels import Pixels
from mtl.stems.torchvision import TorchVision
from mtl.trunks.transformer import Transformer

SMALL = {
    "pixels": {"channels": 3, "size": 8, "dim": 6, "stride": 2},
    "patches": {"channels": 3, "size": 8, "patch": 4, "dim": 6},
}


@pytest.fixture(params=SMALL)
def stem(request):
    torch.manual_seed(0)
    return construct("stems", {"name": request.param, **SMALL[request.param]}).eval()


def images(count=3):
    return Batch(torch.randn(count, 3, 8, 8), torch.full((count,), 8))


@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (1, 20, 8), (3, 8, 8), (3, 31, 16), (1, 1, 1)])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_any_image_is_prepared(stem, shape, as_bytes):
    raw = torch.rand(shape)
    prepared = stem.prepare((raw * 255).round().to(torch.uint8) if as_bytes else raw)
    assert prepared.shape == (3, 8, 8) and prepared.dtype == torch.float32
    assert prepared.min() > -1.01 and prepared.max() < 1.01
    torch.testing.assert_close(prepared, stem.prepare(raw), atol=0.005, rtol=0)


def test_an_image_alone_gives_the_same(stem):
    batch = images()
    together = stem(batch)
    for row in range(3):
        alone = stem(Batch(batch.inputs[row : row + 1], batch.lengths[row : row + 1]))
        torch.testing.assert_close(together.x[row], alone.x[0], rtol=0, atol=1e-5)
        assert together.lengths[row] == alone.lengths[0] == stem.frames(batch.lengths)[row]


def test_gradients_reach_every_parameter(stem):
    stem(images()).x.pow(3).sum().backward()
    for name, parameter in stem.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_settings_and_weights_come_back(stem):
    torch.manual_seed(1)
    again = construct("stems", describe(stem)).eval()
    again.load_state_dict(stem.state_dict())
    assert torch.equal(again(batch := images()).x, stem(batch).x)
    assert describe(again) == describe(stem)


def test_pixels_give_maps():
    batch = Batch(torch.randn(2, 1, 9, 9), torch.tensor([9, 9]))
    for stride, side in ((1, 9), (2, 5), (3, 3)):
        features = Pixels(1, 9, dim=4, stride=stride)(batch)
        assert features.x.shape == (2, 4, side, side) and features.lengths.tolist() == [side] * 2


def test_a_patch_reads_its_place_alone():
    stem, batch = Patches(1, size=8, patch=4, dim=6).eval(), torch.randn(1, 1, 8, 8)
    changed = batch.clone()
    changed[..., :4, 4:] += 1  # above, on the right
    one, two = (stem(Batch(x, torch.tensor([8]))) for x in (batch, changed))
    assert one.lengths.tolist() == [4]
    assert [not torch.equal(one.x[0, t], two.x[0, t]) for t in range(4)] == [
        False,
        True,
        False,
        False,
    ]
    by_hand = stem.convolution.weight.flatten(1) @ batch[0, 0, 4:, :4].flatten()
    expected = stem.norm(by_hand + stem.convolution.bias + stem.positions[2])
    torch.testing.assert_close(one.x[0, 2], expected)


def test_patches_serve_a_trunk_of_speech():
    trunk = Transformer(dim=8, depth=1, heads=2, expansion=2)
    task = Task("kind", "images", Classify(["a", "b"]))
    model = Model({"images": Patches(3, 8, 2, dim=8)}, trunk, [task])
    features = model("images", images())
    assert features.x.shape == (3, 16, 8) and model.scores("kind", features).x.shape == (3, 2)
    assert model.frames("kind", torch.tensor([8])).tolist() == [16]


def test_square_agrees_with_torchvision():
    from torchvision.transforms.v2 import functional as vision

    for shape in ((3, 31, 16), (3, 20, 41), (3, 7, 5)):
        raw = torch.rand(shape)
        expected = vision.center_crop(vision.resize(raw, [12], antialias=True), [12, 12])
        torch.testing.assert_close(square(raw, 3, 12), expected)
    colour = torch.rand(3, 6, 6)
    torch.testing.assert_close(
        square(colour, 1, 6), vision.rgb_to_grayscale(colour), atol=1e-3, rtol=0
    )
    grey = torch.randint(0, 256, (6, 6), dtype=torch.uint8)
    assert torch.equal(square(grey, 3, 6), (grey / 255).expand(3, 6, 6))


def test_impossible_settings_and_images_are_named():
    with pytest.raises(ValueError, match="patch 5 does not divide size 8"):
        Patches(1, size=8, patch=5, dim=4)
    with pytest.raises(ValueError, match="kernel 4 has no centre"):
        Pixels(1, size=8, dim=4, kernel=4)
    with pytest.raises(ValueError, match=r"pixels \(2, 8, 8\); expected"):
        Pixels(1, size=8, dim=4).prepare(torch.zeros(2, 8, 8))
    with pytest.raises(ValueError, match="3 channels cannot fill 4"):
        Pixels(4, size=8, dim=4).prepare(torch.zeros(3, 8, 8))


# Maps that belong to pictures

STEMS = {
    "pixels": lambda: Pixels(3, 8, dim=4, mean=0.0, std=1.0),
    "patches": lambda: Patches(3, 8, 4, dim=4, mean=0.0, std=1.0),
    "torchvision": lambda: TorchVision(8, 10, mean=[0.0] * 3, std=[1.0] * 3),
    "huggingface": lambda: HuggingFace(
        {
            "image_processor_type": "BitImageProcessor",
            "size": {"shortest_edge": 10},
            "crop_size": {"height": 8, "width": 8},
            "do_normalize": False,
        }
    ),
}


@pytest.mark.parametrize("name", STEMS)
@pytest.mark.parametrize("shape", [(8, 8), (5, 9), (31, 16), (40, 64)])
def test_a_map_goes_where_its_picture_goes(name, shape):
    """A smooth picture and its copy as a map are prepared to nearly the same."""
    stem, (height, width) = STEMS[name](), shape
    rows = torch.linspace(0, 1, height)[:, None]
    ramp = (rows + torch.linspace(0, 1, width)) / 2
    picture, fitted = stem.prepare(ramp.expand(3, -1, -1)), stem.prepare_map(ramp)
    assert fitted.shape == (8, 8) and torch.isin(fitted, ramp).all(), "numbers are picked"
    assert (picture[0] - fitted).abs().max() < 1.1 / min(shape)


def test_a_map_keeps_what_cannot_be_mixed():
    classes = torch.zeros(20, 20)
    classes[:, 10:] = 255
    classes[0, 0] = float("nan")
    fitted = Pixels(1, 20, dim=4).prepare_map(classes)
    torch.testing.assert_close(fitted, classes, equal_nan=True)
    assert Pixels(1, 7, dim=4).prepare_map(classes).unique().tolist()[:2] == [0, 255]


def test_a_stem_that_fits_no_maps_says_so():
    for stem in (LogMel(8), HuggingFace({"feature_extractor_type": "Wav2Vec2FeatureExtractor"})):
        with pytest.raises(ValueError, match=f"the stem {type(stem).__name__} fits no maps"):
            stem.prepare_map(torch.zeros(8, 8))
