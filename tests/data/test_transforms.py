"""Augmentation: of pictures and maps alike, drawn from (seed, id, epoch) and nothing else."""

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from mtl.data.transforms import Transforms
from mtl.data.warp import Warp

RANDOM = v2.Compose(
    [
        v2.RandomHorizontalFlip(),
        v2.RandomResizedCrop((12, 12), scale=(0.5, 1.0)),
        v2.ColorJitter(brightness=0.2),
        v2.RandomRotation(20),
    ]
)
CHANGES = {
    "v2": lambda **settings: Transforms(RANDOM, **settings),
    "warp": lambda **settings: Warp(0.2, 20, 0.2, True, **settings),
}


@pytest.fixture(params=CHANGES)
def change(request):
    return CHANGES[request.param]


def pixels():
    g = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, 12, 12), dtype=torch.uint8, generator=g)


def test_draws_come_from_seed_id_and_epoch(change):
    def draw(seed=0, name="a", epoch=0, **settings):
        return change(seed=seed, **settings).together(pixels(), {}, name, epoch)[0]

    first = draw()
    torch.manual_seed(99)
    torch.rand(7)
    state = torch.get_rng_state()
    assert torch.equal(draw(), first), "what others drew does not matter"
    assert torch.equal(torch.get_rng_state(), state), "and others draw what they would"
    assert not any(torch.equal(first, d) for d in (draw(seed=1), draw(name="b"), draw(epoch=1)))
    assert torch.equal(draw(epoch=3, draws=2), draw(epoch=1)) and first.dtype == torch.uint8


def test_maps_move_with_their_picture(change):
    """A picture of two colours and the map of its colours still agree, but for rounding at edges."""
    classes = torch.zeros(12, 12)
    classes[:5, 4:] = 1
    picture = (classes * 200).to(torch.uint8)[None]
    moved = set()
    for epoch in range(20):
        changed, maps = change().together(picture, {"part": classes}, "a", epoch)
        part = maps["part"]
        assert type(part) is torch.Tensor and set(part.unique().tolist()) <= {0, 1}
        # Where a neighbour differs, the picture is a mixture, and either class is right.
        same = torch.nn.functional.max_pool2d(part[None], 3, 1, 1) == -(
            torch.nn.functional.max_pool2d(-part[None], 3, 1, 1)
        )
        wrong = (changed[0] > 100) != (part > 0)
        assert same.sum() > 40 and wrong[same[0]].sum() <= 3
        moved.add(tuple(part.flatten().tolist()))
    assert len(moved) > 10


def test_unlabelled_pixels_stay_unlabelled(change):
    part = torch.full((12, 12), float("nan"))
    part[6:] = 3.0
    for epoch in range(5):
        found = change().together(pixels(), {"part": part}, "a", epoch)[1]["part"]
        assert set(found[~found.isnan()].tolist()) <= {3.0, 0.0}  # 0 comes in from outside
    fill = v2.RandomRotation((45, 45), fill={tv_tensors.Mask: 255, "others": 0})
    turned = Transforms(fill).together(pixels(), {"part": torch.zeros(12, 12)}, "a", 0)[1]["part"]
    assert turned[0, 0] == 255 and turned[6, 6] == 0


def test_a_transform_must_give_a_picture():
    with pytest.raises(ValueError, match=r"gives Image, no pixels \(C, H, W\)"):
        Transforms(v2.ToPILImage()).together(pixels(), {}, "a", 0)
