"""Pictures over coloured patches."""

import numpy as np
import torch

from mtl.data.digits import blended, digits, patches
from mtl.data.images import Picture


def test_ink_turns_the_colours_over_and_ground_keeps_them():
    half = np.zeros((8, 8), np.uint8)
    half[:4] = 255
    (picture,) = blended([Picture("a", "7", half)], seed=3)
    ground = patches(1, seed=3, size=8)[0].permute(1, 2, 0).numpy()
    assert picture.source.shape == (8, 8, 3) and picture.source.dtype == np.uint8
    assert np.abs(picture.source[4:] - 255 * ground[4:]).max() <= 0.5001
    assert np.abs(picture.source[:4] - 255 * (1 - ground[:4])).max() <= 0.5001
    assert (picture.label, picture.id) == ("7", "a~3")


def test_patches_are_coloured_within_range_and_repeat():
    made = patches(50, seed=1, size=16, contrast=0.6)
    assert made.min() >= 0 and made.max() <= 0.7 and made.mean() > 0.25
    assert torch.equal(patches(5, seed=1, size=16, contrast=0.6), made[:5])
    assert not torch.equal(patches(5, seed=2, size=16, contrast=0.6), made[:5])
    grey = made - made.mean(1, keepdim=True)
    assert grey.abs().mean() > 0.05, "channels differ"


def test_pictures_are_blended_alike_whatever_follows():
    pictures = digits(8)[:4]
    few, all_ = blended(pictures[:2], 5), blended(pictures, 5)
    assert all(np.array_equal(a.source, b.source) for a, b in zip(few, all_, strict=False))
    assert not np.array_equal(blended(pictures, 6)[0].source, all_[0].source)
    assert [p.label for p in all_] == [p.label for p in pictures]
