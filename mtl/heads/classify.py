"""classify: one class per example, from the mean of its frames, an attentive mean or a class token."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Features, Labels
from mtl.head import Head, Prediction, Scores
from mtl.ops import masked_mean, valid

POOLS = ("mean", "attention", "first")


class Classify(Head):
    """Class logits (B, C) of pooled frames.

    `pool` averages the valid frames alike ("mean") or by learnt weights ("attention"), or takes the first
    one, a class token ("first"). `norm` is the epsilon of a LayerNorm behind the pool, 0 for none. Raises
    ValueError for a pool that does not exist, or classes that repeat.
    """

    metrics = ("accuracy",)

    def __init__(
        self, classes: list[str], pool: str = "mean", dropout: float = 0.0, norm: float = 0.0
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f"pool {pool!r} is not known; choose one of {', '.join(POOLS)}")
        if len(set(classes)) != len(classes):
            raise ValueError(
                f"classes repeat: {sorted({c for c in classes if classes.count(c) > 1})}"
            )
        self.classes, self.pool = list(classes), pool
        self.dropout, self.norm = dropout, norm

    def build(self, dim: int) -> None:
        """Make the output layer, and the scorer of frames if they are weighed."""
        self.output = nn.Linear(dim, len(self.classes))
        if self.norm:
            self.inner = nn.LayerNorm(dim, self.norm)
        if self.pool == "attention":
            self.weigh = nn.Linear(dim, 1, bias=False)

    def encode(self, label: Any) -> Tensor:
        """Give the index () of a class name; raises ValueError for an unknown one."""
        if label not in self.classes:
            raise ValueError(
                f"class {label!r} is not known; this head has: {', '.join(map(str, self.classes))}"
            )
        return torch.tensor(self.classes.index(label))

    def scores(self, f: Features) -> Scores:
        """Pool the valid frames and give logits (B, C) in float32."""
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

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the cross entropy (B,) in nats."""
        return F.cross_entropy(scores.x, labels.values, reduction="none")

    def predict(self, scores: Scores) -> list[Prediction]:
        """Give the likeliest class's name and its probability."""
        best = scores.x.softmax(-1).max(-1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Prediction(self.classes[index], confidence) for index, confidence in pairs]
