"""Pooled: the head that reads one vector of each example, from all of its frames."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Features
from mtl.head import Head, Scores
from mtl.ops import masked_mean, valid

POOLS = ("mean", "attention", "first")


class Pooled(Head):
    """Scores (B, outputs) of pooled frames; a subclass says what they mean.

    `pool` averages the valid frames alike ("mean") or by learnt weights ("attention"), or takes the first
    one, a class token ("first"). `norm` is the epsilon of a LayerNorm behind the pool, 0 for none. Raises
    ValueError for a pool that does not exist.
    """

    def __init__(
        self, outputs: int, pool: str = "mean", dropout: float = 0.0, norm: float = 0.0
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f"pool {pool!r} is not known; choose one of {', '.join(POOLS)}")
        self.outputs, self.pool = outputs, pool
        self.dropout, self.norm = dropout, norm

    def build(self, dim: int) -> None:
        """Make the output layer, and the scorer of frames if they are weighed."""
        self.output = nn.Linear(dim, self.outputs)
        if self.norm:
            self.inner = nn.LayerNorm(dim, self.norm)
        if self.pool == "attention":
            self.weigh = nn.Linear(dim, 1, bias=False)

    def scores(self, f: Features) -> Scores:
        """Pool the valid frames and give scores (B, outputs) in float32."""
        pooled = self._pooled(f)
        pooled = self.inner(pooled) if self.norm else pooled
        pooled = F.dropout(pooled, self.dropout, self.training)
        return Scores(self.output(pooled).float())

    def _pooled(self, f: Features) -> Tensor:
        if self.pool == "mean":
            return masked_mean(f.x, f.lengths)
        if self.pool == "first":
            return f.x[:, 0]
        padding = ~valid(f.lengths.clamp(min=1), f.x.shape[1])
        weights = self.weigh(f.x)[..., 0].float().masked_fill(padding, -torch.inf).softmax(1)
        pooled: Tensor = (f.x * weights[..., None]).sum(1)
        return pooled


def no_class(label: Any, classes: Sequence[Any]) -> str:
    """Say that a label is none of a head's classes; "" where it is one."""
    known = ", ".join(map(str, classes))
    return "" if label in classes else f"class {label!r} is not known; this head has: {known}"


def refuse_none(classes: list[str]) -> None:
    """Raise ValueError where there is no class, or one is named twice."""
    if not classes:
        raise ValueError("there are no classes; name at least one")
    refuse_repeats(classes)


def refuse_repeats(classes: list[str]) -> None:
    """Raise ValueError where a class is named twice."""
    if len(set(classes)) != len(classes):
        raise ValueError(f"classes repeat: {sorted({c for c in classes if classes.count(c) > 1})}")
