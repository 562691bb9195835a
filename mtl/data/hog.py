"""hog: histograms of oriented gradients, features that nobody has to learn. Dalal and Triggs 2005."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mtl.data.pictures import Picture
from mtl.data.pixels import read_pixels
from mtl.ops import square

AT_ONCE = 1000  # pictures, which bounds the memory
MOST = 0.2  # that a place of a block may hold, of length 1


def hog(x: Tensor, cell: int = 7, bins: int = 9) -> Tensor:
    """Describe grey pictures (N, H, W): (N, blocks * 4 * bins).

    A pixel votes by the length of its gradient for the two nearest of `bins` directions, unsigned, of its
    cell of `cell` by `cell` pixels. Blocks of 2 by 2 cells, each cell in several, are brought to length 1,
    cut off at 0.2, and brought to length 1 again. Pixels beyond the last whole cell do not count. Raises
    ValueError for pictures smaller than a block.

    >>> hog(torch.rand(2, 28, 28)).shape
    torch.Size([2, 324])
    """
    if min(x.shape[1:]) < 2 * cell:
        raise ValueError(f"pictures {tuple(x.shape[1:])} are smaller than 2 cells of {cell} pixels")
    padded = F.pad(x[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    right = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    place = torch.atan2(down, right) / torch.pi * bins % bins - 0.5
    low = place.floor()
    share = (place - low)[..., None]
    votes = (1 - share) * F.one_hot(low.long() % bins, bins)
    votes += share * F.one_hot((low.long() + 1) % bins, bins)
    votes *= torch.hypot(right, down)[..., None]
    cells = F.avg_pool2d(votes.permute(0, 3, 1, 2), cell)  # (N, bins, rows, columns)
    blocks = F.unfold(cells, 2).mT  # (N, blocks, bins * 4)
    unit = F.normalize(blocks, dim=2, eps=1e-5).clamp(max=MOST)
    return F.normalize(unit, dim=2, eps=1e-5).flatten(1)


def described(pictures: Sequence[Picture], size: int = 28) -> NDArray[np.float32]:
    """Describe pictures, made grey and `size` pixels a side: (N, D)."""
    rows = []
    for start in range(0, len(pictures), AT_ONCE):
        part = pictures[start : start + AT_ONCE]
        grey = torch.cat([square(read_pixels(p.source), 1, size) for p in part])
        rows.append(hog(grey).numpy())
    found: NDArray[np.float32] = np.concatenate(rows)
    return found
