"""Ops: tensor maths that several folders share."""

from typing import Any

import torch
from torch import Tensor


def valid(lengths: Tensor, frames: int) -> Tensor:
    """Mark the frames that are not padding: (B,) lengths -> (B, frames) booleans.

    >>> valid(torch.tensor([1, 3]), 3).tolist()
    [[True, False, False], [True, True, True]]
    """
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def masked_mean(x: Tensor, lengths: Tensor) -> Tensor:
    """Average the valid frames: (B, T, D) and (B,) -> (B, D).

    >>> masked_mean(torch.tensor([[[1.0], [9.0]]]), torch.tensor([1])).tolist()
    [[1.0]]
    """
    mask = valid(lengths, x.shape[1])[..., None]
    return (x * mask).sum(1) / lengths.clamp(min=1)[:, None].to(x.dtype)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradients[0], None


def reverse_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """Identity forward, gradient times `-scale` backward (Ganin and Lempitsky 2015, section 3.1).

    >>> x = torch.ones(1, requires_grad=True)
    >>> reverse_gradient(x, 0.5).sum().backward()
    >>> x.grad.tolist()
    [-0.5]
    """
    return _Reverse.apply(x, scale)  # type: ignore[no-untyped-call,no-any-return]


def collapse(path: list[int], blank: int = 0) -> list[int]:
    """Merge repeats, then drop blanks (Graves 2006, the map B of section 3.1).

    >>> collapse([0, 3, 3, 0, 3, 5, 5])
    [3, 3, 5]
    """
    return [
        symbol
        for index, symbol in enumerate(path)
        if symbol != blank and (index == 0 or symbol != path[index - 1])
    ]
