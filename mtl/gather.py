"""gather: the rows that all processes hold, joined in the order of the global batch, with gradients."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mtl.ops import valid


def gather_rows(rows: Tensor, processes: int) -> Tensor:
    """Join what all processes hold, each its own number of rows: (n, ...) -> (N, ...).

    First come the first rows of all processes, then the second ones: as a stream deals out examples, that
    is the order of the global batch. The gradient is right where all processes compute the same from what
    they get here, and average their gradients: nothing is sent on the way back.

    >>> gather_rows(torch.tensor([[1.0], [2.0]]), processes=1).tolist()
    [[1.0], [2.0]]
    """
    joined: Tensor = rows if processes == 1 else _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return joined


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        size = torch.tensor([len(rows)], device=rows.device)
        sizes = torch.cat(_all(size))
        most = int(sizes.max())
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        ctx.size, ctx.there = len(rows), valid(sizes, most).T
        return torch.stack(_all(padded), 1)[ctx.there]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        there, (gradient,) = ctx.there, gradients
        spread = gradient.new_zeros(*there.shape, *gradient.shape[1:])
        spread[there] = gradient
        # Times the processes, whose mean is taken later.
        own: Tensor = there.shape[1] * spread[: ctx.size, dist.get_rank()]
        return own


def _all(tensor: Tensor) -> list[Tensor]:
    found = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(found, tensor.contiguous())
    return found
