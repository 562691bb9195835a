"""layers: what stems and trunks are built of; padding never reaches a valid frame through any of them."""

import math

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
            Window(wide, dim, stride)
            for wide, stride in zip(widths, STRIDES[factor], strict=False)
        )

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the frames that are left."""
        return -(-lengths // self.factor)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Give the shorter frames, zero behind an utterance's end, and their lengths."""
        x = mask_padding(x, lengths)
        for window in self.windows:
            x = F.gelu(window(x))
            lengths = -(-lengths // window.stride)
            x = x * valid(lengths, x.shape[1])[..., None].to(x.dtype)
        return x, lengths


class Window(nn.Linear):
    """A convolution over time as one matrix product: (B, T, wide) -> (B, ceil(T/stride), dim)."""

    def __init__(self, wide: int, dim: int, stride: int) -> None:
        self.stride, self.size = stride, 5 if stride > 2 else 3
        super().__init__(wide * self.size, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, with zeros beyond both ends."""
        frames = -(-x.shape[1] // self.stride)
        last = (frames - 1) * self.stride + 1
        half = self.size // 2
        x = F.pad(x, (0, 0, half, half))
        taps = [x[:, tap : tap + last : self.stride] for tap in range(self.size)]
        return super().forward(torch.cat(taps, -1))


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
    return similarities.softmax(-1) @ v


class Dropout(nn.Module):
    """Dropout whose rate is rounded to 1/256 on a CPU: a random byte per element, not a float."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop while training."""
        dropped = round(self.rate * 256)
        if not self.training or not dropped:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate)
        words = torch.empty(x.numel() // 8 + 1, dtype=torch.int64).random_(-(2**63), None)
        kept = torch.empty_like(x, memory_format=torch.contiguous_format)
        torch.ge(words.view(torch.uint8)[: x.numel()].view_as(x), dropped, out=kept)
        return x * kept.mul_(256 / (256 - dropped))


def rotary_tables(frames: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give the cosines and signed sines of heads of `width`, each (frames, 1, 1, width)."""
    speeds = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000) / width))
    angles = torch.arange(frames, device=device)[:, None] * speeds
    cosines = torch.cat([angles.cos(), angles.cos()], -1)
    sines = torch.cat([-angles.sin(), angles.sin()], -1)
    return cosines[:, None, None], sines[:, None, None]


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn pairs of channels by their frame's angle: (B, T, 2, heads, width) to the same."""
    cosines, sines = rotary
    half = x.shape[-1] // 2
    return x * cosines.to(x.dtype) + x.roll(half, -1) * sines.to(x.dtype)


def mask_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Set what stands behind an utterance's end to zero: (B, T, D) and (B,) -> (B, T, D)."""
    return x.masked_fill(~valid(lengths, x.shape[1])[..., None], 0.0)


def standardise(x: Tensor) -> Tensor:
    """Give every bin of one utterance mean 0 and variance 1; a constant bin becomes 0: (T, bins) to same."""
    centred = x - x.mean(0)
    return centred / (centred.square().mean(0).sqrt() + 1e-3)


def attention_extra(frames: int, width: int, lengths: Tensor) -> dict[str, object]:
    """Build once per batch what every attention block needs: `rotary`, `keys` and `padding`."""
    padding = ~valid(lengths.clamp(min=1), frames)
    padded = bool(padding.any())
    return {
        "rotary": rotary_tables(frames, width, lengths.device),
        "keys": torch.zeros(padding.shape).masked_fill(padding, -torch.inf)[:, None, None] if padded else None,
        "kept": (~padding)[..., None].float() if padded else None,
    }
