"""layers: what stems and trunks are built of; padding never reaches a valid frame through any of them."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.ops import valid

STRIDES = {1: (1,), 2: (2,), 3: (3,), 4: (2, 2), 6: (2, 3), 8: (2, 2, 2)}


class Subsampling(nn.Module):
    """Convolutions over time that keep every `factor`-th frame: (B, T, bins) -> (B, ceil(T/factor), dim).

    Raises ValueError for a factor that `STRIDES` does not list.
    """

    def __init__(self, bins: int, dim: int, factor: int) -> None:
        super().__init__()
        if factor not in STRIDES:
            raise ValueError(f"subsample {factor} is not possible; choose one of {list(STRIDES)}")
        self.factor = factor
        widths = [bins] + [dim] * len(STRIDES[factor])
        self.windows = nn.ModuleList(
            Window(wide, dim, stride) for wide, stride in zip(widths, STRIDES[factor], strict=False)
        )
        # The trunk adds what its blocks compute to this: it must start at the same scale as they do.
        self.norm = nn.LayerNorm(dim)

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the frames that are left."""
        return -(-lengths // self.factor)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Give the shorter frames, zero behind an utterance's end, and their lengths."""
        x = mask_padding(x, lengths)
        for window, stride in zip(self.windows, STRIDES[self.factor], strict=True):
            x = F.gelu(window(x))
            lengths = -(-lengths // stride)
            x = x * valid(lengths, x.shape[1])[..., None].to(x.dtype)
        return mask_padding(self.norm(x), lengths), lengths


class Window(nn.Module):
    """A convolution with a stride over time: (B, T, wide) -> (B, ceil(T/stride), dim)."""

    def __init__(self, wide: int, dim: int, stride: int) -> None:
        super().__init__()
        self.stride, size = stride, 5 if stride > 2 else 3
        bound = (wide * size) ** -0.5
        self.weight = nn.Parameter(torch.empty(dim, wide, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, with zeros beyond both ends."""
        return convolve(x, self.weight, self.bias, stride=self.stride)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, groups: int = 1
) -> Tensor:
    """Convolve frames (B, T, wide) with filters (dim, wide / groups, odd size), padded to stay centred.

    Frames are taken as an image of one row, channels last: that needs no copies, and is much faster on
    CPUs than a convolution of (B, wide, T).
    """
    image, padding = x.transpose(1, 2).unsqueeze(2), (0, weight.shape[2] // 2)
    out = F.conv2d(image, weight.unsqueeze(2), bias, (1, stride), padding, groups=groups)
    return out.squeeze(2).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Two linear layers with SiLU between, normalised before: (..., dim) -> (..., dim)."""

    def __init__(self, dim: int, expansion: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(dim),
            nn.Linear(dim, dim * expansion),
            nn.SiLU(),
            Dropout(dropout),
            nn.Linear(dim * expansion, dim),
            Dropout(dropout),
        )


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions, normalised before: (B, T, dim) -> (B, T, dim).

    Su et al. 2021, RoFormer, equation 34. Raises ValueError where `dim / heads` is not an even integer.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % (2 * heads):
            raise ValueError(f"dim {dim} over {heads} heads: each head needs an even width")
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.inward = nn.Linear(dim, 3 * dim)
        self.outward = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], keys: Tensor | None) -> Tensor:
        """Attend; `keys` (B, 1, 1, T) is 0 where a frame may be seen and -inf elsewhere, None for all 0."""
        batch, frames, dim = x.shape
        mixed = self.inward(self.norm(x)).view(batch, frames, 3, self.heads, dim // self.heads)
        queries_keys = rotate(mixed[:, :, :2], rotary)
        q, k = queries_keys.permute(2, 0, 3, 1, 4)
        v = mixed[:, :, 2].transpose(1, 2)
        seen = attend(q, k, v, keys)
        out: Tensor = self.dropout(self.outward(seen.transpose(1, 2).reshape(batch, frames, dim)))
        return out


def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor | None) -> Tensor:
    """Scaled dot-product attention of (B, heads, T, width) with an additive mask."""
    keys = None if keys is None else keys.to(q.dtype)
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keys)
    # The fused kernel for CPUs takes five times as long in bfloat16 (torch 2.12, mostly backward).
    similarities = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if keys is not None:
        similarities = similarities + keys
    # In bfloat16 the softmax itself would be less exact and three times slower.
    weights: Tensor = similarities.softmax(-1, dtype=torch.float32)
    return weights.to(v.dtype) @ v


class Depthwise(nn.Module):
    """One filter of odd size per channel over time, no bias: (B, T, dim) -> (B, T, dim).

    Raises ValueError for an even `kernel`.
    """

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} has no centre; make it odd")
        bound = kernel**-0.5
        self.weight = nn.Parameter(torch.empty(dim, 1, kernel).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, with zeros beyond both ends."""
        if x.device.type != "cpu":
            return convolve(x, self.weight.to(x.dtype), groups=len(self.weight))
        # In 32 bit: oneDNN's bfloat16 kernel for this never returns for some shapes when several
        # threads share an odd batch (torch 2.12: B = 3, T = 70, 2 threads).
        wide = torch.promote_types(self.weight.dtype, torch.float32)
        with torch.autocast("cpu", enabled=False):
            out: Tensor = _Depthwise.apply(x.to(wide), self.weight.to(wide))  # type: ignore[no-untyped-call]
        return out.to(x.dtype)


class _Depthwise(torch.autograd.Function):
    """`convolve` per channel, with a backward four times as fast on CPUs, as two more convolutions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return convolve(x, weight, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (x, weight), gradient = ctx.saved_tensors, gradients[0]
        (batch, frames, dim), half = x.shape, weight.shape[2] // 2
        # Every channel of every utterance, convolved with its gradient as the filter.
        padded = F.pad(x.transpose(0, 1), (0, 0, 0, 0, half, half)).reshape(1, -1, batch * dim)
        filters = gradient.transpose(1, 2).reshape(batch * dim, 1, 1, frames)
        each = F.conv2d(padded.transpose(1, 2).unsqueeze(2), filters, groups=batch * dim)
        for_weight = each.view(batch, *weight.shape).sum(0)
        return convolve(gradient, weight.flip(2), groups=dim), for_weight


class Dropout(nn.Module):
    """Dropout that draws one random byte per element on CPUs, where torch's takes ten times as long.

    There the rate is rounded to 1/256. Raises ValueError for a rate outside [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"dropout {rate} is not possible; it must be at least 0 and below 1")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop while training."""
        dropped = min(round(self.rate * 256), 255)
        if not (self.training and dropped):
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate)
        words = torch.empty(x.numel() // 8 + 1, dtype=torch.int64).random_(-(2**63), None)
        drawn = words.view(torch.uint8)[: x.numel()].view(x.shape)
        kept = torch.empty(x.shape, dtype=x.dtype)
        torch.ge(drawn, dropped, out=kept)
        return x * kept.mul_(256 / (256 - dropped))


def rotary_tables(
    frames: int, heads: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Give the cosines and signed sines for queries and keys, each (frames, 2, heads, width)."""
    speeds = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000) / width))
    angles = torch.arange(frames, device=device)[:, None] * speeds
    cosines = torch.cat([angles.cos(), angles.cos()], -1)
    sines = torch.cat([-angles.sin(), angles.sin()], -1)
    # Spelled out for every head: long rows multiply faster than broadcast short ones.
    shape = (frames, 2, heads, width)
    cosines, sines = cosines[:, None, None].expand(shape), sines[:, None, None].expand(shape)
    return cosines.contiguous(), sines.contiguous()


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn pairs of channels by their frame's angle: (B, T, 2, heads, width) to the same."""
    cosines, sines = rotary
    half = x.shape[-1] // 2
    return x * cosines.to(x.dtype) + x.roll(half, -1) * sines.to(x.dtype)


def mask_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Set what stands behind an utterance's end to zero: (B, T, D) and (B,) -> (B, T, D)."""
    return x.masked_fill(~valid(lengths, x.shape[1])[..., None], 0.0)


def standardise(x: Tensor) -> Tensor:
    """Give every bin of one utterance mean 0 and variance 1; a constant bin about 0: (T, bins) to same."""
    centred = x - x.mean(0)
    return centred / (centred.square().mean(0).sqrt() + 1e-3)


def attention_extra(x: Tensor, lengths: Tensor, heads: int) -> dict[str, Any]:
    """Build once for all blocks, from frames (B, T, dim) and their lengths (B,):

    `rotary` tables; `keys` (B, 1, 1, T), 0 for valid frames and -inf for padding; `kept` (B, T, 1), 1 and
    0. Both masks are None for a batch without padding.
    """
    tables = rotary_tables(x.shape[1], heads, x.shape[2] // heads, x.device)
    kept = valid(lengths.clamp(min=1), x.shape[1])  # a row without any key would give nan
    # An exported graph must serve all batches: it never takes the short way.
    if not torch.compiler.is_exporting() and bool(kept.all()):
        return {"rotary": tables, "keys": None, "kept": None}
    keys = torch.zeros(kept.shape, device=x.device).masked_fill(~kept, -torch.inf)
    return {"rotary": tables, "keys": keys[:, None, None], "kept": kept[..., None].float()}


def rest_frozen(module: nn.Module) -> bool | None:
    """Let wholly frozen modules evaluate: no dropout, no new statistics, however they are called.

    Says whether anything is trained, None where there are no parameters.
    """
    below = {child: rest_frozen(child) for child in module.children()}
    own = [p.requires_grad for p in module._parameters.values() if p is not None]  # in every step
    known = own + [trained for trained in below.values() if trained is not None]
    if known and not any(known):
        module.training = False
        for child, trained in below.items():
            if trained is None:
                child.eval()
    return any(known) if known else None
