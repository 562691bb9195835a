"""Ops: tensor maths that several folders share."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
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
    # What is traced for export has sizes that no cache can tell apart.
    shares = _shares.__wrapped__ if torch.compiler.is_exporting() else _shares
    return (x * shares(lengths, x.shape[1]).to(x.dtype)).sum(1)


@functools.lru_cache(maxsize=1)  # many heads read the same features
@torch.inference_mode(False)  # or training could not use what an evaluation left
def _shares(lengths: Tensor, frames: int) -> Tensor:
    """Give each frame's share in a mean: (B, frames, 1)."""
    return (valid(lengths, frames) / lengths.clamp(min=1)[:, None])[..., None]


def members(values: Tensor, groups: Mapping[str, Tensor], column: str, user: str) -> Tensor:
    """Give each example the values of its member: (size, ...) and `groups[column]` (B,) -> (B, ...).

    Raises ValueError, which names the `user` of the values, for a missing column or an unknown member.

    >>> members(torch.tensor([[0.0], [7.0]]), {"speaker": torch.tensor([1, 1, 0])}, "speaker", "LHUC")
    tensor([[7.],
            [7.],
            [0.]])
    """
    if column not in groups:
        raise ValueError(
            f"{user} needs groups[{column!r}]; the batch has {list(groups)}: give the data "
            f"groups={{{column!r}: ...}}, a number for each value"
        )
    numbers = groups[column]
    try:
        # The gradient of plain indexing is summed in an order that changes from run to run.
        rows = F.embedding(numbers, values.flatten(1))
    except IndexError as error:
        raise ValueError(
            f"groups[{column!r}] holds {sorted(set(numbers.tolist()))}; {user} was made for "
            f"size={len(values)}, members 0 to {len(values) - 1}"
        ) from error
    return rows.view(numbers.shape[0], *values.shape[1:])


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


def active(gramian: Tensor) -> NDArray[np.intp]:
    """Give the numbers of the gradients that are finite and not zero: products (T, T) -> (A,).

    >>> active(torch.tensor([[4.0, 0.0], [0.0, 0.0]])).tolist()
    [0]
    """
    squares = gramian.diagonal().double().numpy()
    # Products of shorter gradients would leave the range of numbers.
    return np.flatnonzero(np.isfinite(squares) & (squares > 1e-280))


def on_active(
    gramian: Tensor,
    solve: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
) -> Tensor:
    """Give the weights (T,) that `solve` finds for the active gradients; all others get 0.

    `gramian` (T, T) holds the products of the gradients, on the CPU. `solve` takes the cosines (A, A)
    and the norms (A,) of the A active ones, so that very long and very short ones lose no precision,
    and gives their weights (A,). It is not called for A = 0.

    >>> on_active(torch.tensor([[4.0, 0.0], [0.0, 0.0]]), lambda cosines, norms: 1 / norms).tolist()
    [0.5, 0.0]
    """
    kept = active(gramian)
    weights = np.zeros(len(gramian))
    if kept.size:
        products = gramian.double().numpy()[np.ix_(kept, kept)]
        norms = np.sqrt(products.diagonal())
        weights[kept] = solve(products / np.outer(norms, norms), norms)
    return torch.from_numpy(weights)


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


def square(pixels: Tensor, channels: int, size: int) -> Tensor:
    """Fit an image to a network: (C, H, W) or (H, W) -> float (channels, size, size), bytes as 0 to 1.

    The shorter side is scaled to `size` and the centre cut out. Grey is repeated to more channels, colour
    (C = 3) becomes luminance for one. Raises ValueError for other shapes and numbers of channels.

    >>> square(torch.full((4, 6), 255, dtype=torch.uint8), channels=3, size=2).shape
    torch.Size([3, 2, 2])
    """
    x = pixels if pixels.is_floating_point() else pixels / 255
    x = x[None] if x.dim() == 2 else x
    if x.dim() != 3 or not x.numel() or len(x) not in (1, 3, channels):
        raise ValueError(
            f"pixels {tuple(pixels.shape)}; expected (H, W) or (C, H, W) of 1 or 3 channels"
        )
    if len(x) == 3 and channels == 1:
        x = (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)
    elif len(x) != channels:
        if len(x) != 1:
            raise ValueError(f"an image of {len(x)} channels cannot fill {channels}")
        x = x.expand(channels, -1, -1)
    return _square(x, size, mode="bilinear", antialias=True)


def square_map(values: Tensor, size: int) -> Tensor:
    """Fit a map (H, W) as `square` fits its picture: (size, size), each place the value nearest to it.

    >>> square_map(torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]), size=2).tolist()
    [[2.0, 3.0], [6.0, 7.0]]
    """
    return _square(values.float()[None], size, mode="nearest-exact")[0]


def _square(x: Tensor, size: int, **how: Any) -> Tensor:
    """Scale the shorter side of x (C, H, W) to `size`, as `how` says, and cut out the centre."""
    shorter = min(x.shape[1:])
    if shorter != size:
        height, width = (size * side // shorter for side in x.shape[1:])
        x = F.interpolate(x[None], (height, width), **how)[0]
    top, left = (round((side - size) / 2) for side in x.shape[1:])
    return x[:, top : top + size, left : left + size].contiguous()


def fingerprint(tensors: Mapping[str, Tensor], *settings: object) -> str:
    """Hash names, shapes and values, and the text of `settings`."""
    total = hashlib.blake2b(repr(settings).encode(), digest_size=16)
    for name, value in tensors.items():
        total.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        total.update(plain.view(torch.uint8).numpy().data)
    return total.hexdigest()
