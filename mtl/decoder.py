"""Decoder: a transformer that writes symbol by symbol, looking at frames. Vaswani et al. 2017, section 3.1.

Differs: layers are normalised before (Xiong et al. 2020).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl.layers import Dropout, FeedForward, attend
from mtl.ops import valid

Keys = tuple[Tensor, Tensor]  # keys and values (B, heads, T, width)


class Memory(NamedTuple):
    """What the layers see of the frames: the keys of each, and 0 or, for padding, -inf (B, 1, 1, T)."""

    keys: list[Keys]
    hidden: Tensor


class Decoder(nn.Module):
    """Log-probabilities of the next of `count` symbols, given frames of width `dim` and the symbols before.

    Raises ValueError where `heads` do not divide `dim`, or it is odd.
    """

    def __init__(
        self, count: int, dim: int, depth: int, heads: int, expansion: int, dropout: float
    ) -> None:
        super().__init__()
        if dim % heads or dim % 2:
            raise ValueError(f"dim {dim} over {heads} heads: it must be even, and a multiple")
        self.embed, self.dropout = nn.Embedding(count, dim), Dropout(dropout)
        self.layers = nn.ModuleList(Layer(dim, heads, expansion, dropout) for _ in range(depth))
        self.norm, self.output = nn.LayerNorm(dim), nn.Linear(dim, count)

    def memory(self, x: Tensor, lengths: Tensor | None) -> Memory:
        """Look at frames (B, T, dim), of which `lengths` (B,) are valid, once for all symbols."""
        kept = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if lengths is not None:
            kept = valid(lengths.clamp(min=1), x.shape[1])  # a row without any key would give nan
        hidden = torch.zeros(kept.shape, device=x.device).masked_fill(~kept, -torch.inf)
        keys = [layer.across.keys(x) for layer in self.layers]  # type: ignore[union-attr,operator]
        return Memory(keys, hidden[:, None, None])

    def forward(
        self, symbols: Tensor, memory: Memory, past: Sequence[Keys] = ()
    ) -> tuple[Tensor, list[Keys]]:
        """Give log-probabilities (B, U, V) behind each of `symbols` (B, U), in float32.

        `past` is what an earlier call gave for the symbols before; what this one gives is for those behind.
        """
        before, count = past[0][0].shape[2] if past else 0, symbols.shape[1]
        x = self.embed(symbols)
        x = self.dropout(x + positions(before, count, x.shape[2], x.device))
        later = torch.full((count, before + count), -torch.inf, device=x.device).triu(before + 1)
        kept = []
        for number, layer in enumerate(self.layers):
            old = past[number] if past else None
            x, keys = layer(x, old, later[None, None], memory.keys[number], memory.hidden)
            kept.append(keys)
        with torch.autocast(x.device.type, enabled=False):  # as the CTC head does
            logs = self.output(self.norm(x.float())).log_softmax(-1)
        return logs, kept


class Layer(nn.Module):
    """Look at the symbols before, look at the frames, feed forward: each on top of a skip connection."""

    def __init__(self, dim: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.own_norm, self.own = nn.LayerNorm(dim), Look(dim, heads, dropout)
        self.across_norm, self.across = nn.LayerNorm(dim), Look(dim, heads, dropout)
        self.feed_forward = FeedForward(dim, expansion, dropout)

    def forward(
        self, x: Tensor, past: Keys | None, later: Tensor, memory: Keys, hidden: Tensor
    ) -> tuple[Tensor, Keys]:
        """Run on symbols (B, U, dim) behind those of `past`; give also the keys of all."""
        inner = self.own_norm(x)
        keys = self.own.keys(inner)
        if past is not None:
            keys = torch.cat([past[0], keys[0]], 2), torch.cat([past[1], keys[1]], 2)
        x = x + self.own(inner, keys, later)
        x = x + self.across(self.across_norm(x), memory, hidden)
        return x + self.feed_forward(x), keys


class Look(nn.Module):
    """Multi-head attention of one sequence to another."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.pair = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.outward, self.dropout = nn.Linear(dim, dim), Dropout(dropout)

    def keys(self, x: Tensor) -> Keys:
        """Give keys and values of what is looked at, (B, T, dim)."""
        split = self.pair(x).view(*x.shape[:2], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return split[0], split[1]

    def forward(self, x: Tensor, keys: Keys, mask: Tensor) -> Tensor:
        """Look from x (B, U, dim); `mask` is 0 where it may and -inf elsewhere."""
        q = self.query(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
        seen = attend(q, *keys, mask).transpose(1, 2).flatten(2)
        out: Tensor = self.dropout(self.outward(seen))
        return out


def positions(first: int, count: int, dim: int, device: torch.device) -> Tensor:
    """Give the sinusoids of the places from `first` on: (count, dim)."""
    speeds = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10_000) / dim))
    angles = torch.arange(first, first + count, device=device)[:, None] * speeds
    return torch.cat([angles.sin(), angles.cos()], -1)
