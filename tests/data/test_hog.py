"""hog: against a plain count of votes, pixel by pixel."""

import numpy as np
import pytest
import torch

from mtl.data.hog import described, hog
from mtl.data.images import from_arrays


def plain(image, cell, bins):
    """The same by loops, from the paper's description."""
    height, width = image.shape
    padded = np.pad(image.astype(np.float64), 1, mode="edge")
    rows, columns = height // cell, width // cell
    cells = np.zeros((rows, columns, bins))
    for y in range(rows * cell):
        for x in range(columns * cell):
            right = (padded[y + 1, x + 2] - padded[y + 1, x]) / 2
            down = (padded[y + 2, x + 1] - padded[y, x + 1]) / 2
            place = np.arctan2(down, right) % np.pi / np.pi * bins - 0.5
            low = int(np.floor(place))
            size = np.hypot(right, down) / cell**2
            cells[y // cell, x // cell, low % bins] += size * (1 - (place - low))
            cells[y // cell, x // cell, (low + 1) % bins] += size * (place - low)
    blocks = []
    for y in range(rows - 1):
        for x in range(columns - 1):
            block = cells[y : y + 2, x : x + 2].transpose(2, 0, 1).ravel()
            block = np.minimum(block / max(np.linalg.norm(block), 1e-5), 0.2)
            blocks.append(block / max(np.linalg.norm(block), 1e-5))
    return np.concatenate(blocks)


@pytest.mark.parametrize(("size", "cell", "bins"), [(28, 7, 9), (17, 4, 6)])
def test_votes_are_those_of_a_plain_count(size, cell, bins):
    images = np.random.default_rng(0).random((3, size, size)).astype(np.float32)
    found = hog(torch.from_numpy(images), cell, bins)
    for image, row in zip(images, found, strict=True):
        np.testing.assert_allclose(row, plain(image, cell, bins), atol=1e-4)


def test_light_and_contrast_change_little_and_an_even_picture_has_nothing():
    image = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hog(0.5 * image + 0.2), hog(image), rtol=0, atol=1e-4)
    assert not hog(torch.full((1, 28, 28), 0.7)).any()


def test_directions_fall_into_their_bins():
    """An upright edge has gradients along 0 degrees, between the last bin and the first."""
    image = torch.zeros(1, 28, 28)
    image[:, :, 14:] = 1.0
    votes = hog(image, bins=6).view(9, 6, 4).sum((0, 2))
    assert votes[1:5].sum() == 0 and votes[0] == pytest.approx(votes[5].item()) and votes[0] > 0


def test_pictures_of_any_size_and_colour_are_described():
    x = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), np.uint8)
    rows = described(from_arrays(x, [0, 1, 0, 1], "made"))
    assert rows.shape == (4, 324) and rows.dtype == np.float32
    with pytest.raises(ValueError, match=r"\(10, 28\) are smaller than 2 cells of 7 pixels"):
        hog(torch.zeros(1, 10, 28))
