"""packing: several tensors of an example as one vector, to be stored, batched and taken apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl.batch import Features, pad

BASE = 256  # of the digits in which sizes are written: exact in any kind of float
NUMBERS, DIGITS = 4, 3  # per part: its length and up to three sizes, each of three digits


def pack(parts: Sequence[Features]) -> list[Tensor]:
    """Write parts of a batch, sequences (B, T, D) or (B, T) without padding, maps (B, C, H, W) as they are.

    Gives a vector per example, in 32 bit on the processor: the sizes of all parts, then their values.

    >>> frames = Features(torch.ones(2, 3, 2), torch.tensor([3, 1]))
    >>> maps = Features(torch.zeros(2, 4, 5, 5), torch.tensor([5, 5]))
    >>> again = unpack(pad(pack([frames, maps])), 2)
    >>> [part.x.shape for part in again], again[0].lengths
    ([torch.Size([2, 3, 2]), torch.Size([2, 4, 5, 5])], tensor([3, 1]))
    """
    plain = [part.x.detach().float().cpu() for part in parts]
    lengths = [part.lengths.tolist() for part in parts]
    rows = []
    for row in range(len(plain[0])):
        cut = [
            x[row] if x.dim() == 4 else x[row, : length[row]]
            for x, length in zip(plain, lengths, strict=True)
        ]
        sizes = [
            [length[row], *x.shape, *[0] * (NUMBERS - 1 - x.dim())]
            for x, length in zip(cut, lengths, strict=True)
        ]
        header = [n // BASE**d % BASE for part in sizes for n in part for d in range(DIGITS)]
        rows.append(torch.cat([torch.tensor(header).float(), *(x.flatten() for x in cut)]))
    return rows


def unpack(rows: Tensor, count: int) -> list[Features]:
    """Take apart the vectors (B, N) that `pack` wrote of `count` parts, sequences with padding of zeros."""
    start = count * NUMBERS * DIGITS
    digits = rows[:, :start].round().long().view(len(rows), count, NUMBERS, DIGITS).cpu()
    numbers = (digits * BASE ** torch.arange(DIGITS)).sum(-1)
    if bool((numbers == numbers[0]).all()):
        return _alike(rows[:, start:], numbers[0].tolist())
    cut = []
    for row, sizes in zip(rows[:, start:], numbers.tolist(), strict=True):
        cut.append([part.x[0] for part in _alike(row[None], sizes)])
    lengths = numbers[:, :, 0].to(rows.device)
    return [Features(pad(xs), lengths[:, i]) for i, xs in enumerate(zip(*cut, strict=True))]


def _alike(rows: Tensor, sizes: Sequence[Sequence[int]]) -> list[Features]:
    """Take apart vectors whose parts have the same sizes."""
    parts, place = [], 0
    for length, *shape in sizes:
        shape = [size for size in shape if size]
        values = rows[:, place : place + torch.Size(shape).numel()]
        place += values.shape[1]
        lengths = torch.full((len(rows),), length, device=rows.device)
        parts.append(Features(values.reshape(len(rows), *shape), lengths))
    return parts
