"""classify: one class per example, from the mean of its frames, an attentive mean or a class token."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.batch import Labels
from mtl.head import Prediction, Scores
from mtl.pooled import Pooled, no_class, refuse_none


class Classify(Pooled):
    """Class logits (B, C) of pooled frames; `pool`, `dropout` and `norm` as in `mtl.pooled.Pooled`.

    Raises ValueError for a pool that does not exist, or classes that repeat or are none.
    """

    metrics = ("accuracy",)

    def __init__(
        self, classes: list[str], pool: str = "mean", dropout: float = 0.0, norm: float = 0.0
    ) -> None:
        super().__init__(len(classes), pool, dropout, norm)
        refuse_none(classes)
        self.classes = list(classes)

    def encode(self, label: Any) -> Tensor:
        """Give the index () of a class name; raises ValueError for an unknown one."""
        if problem := self.unknown(label):
            raise ValueError(problem)
        return torch.tensor(self.classes.index(label))

    def unknown(self, reference: Any) -> str:
        """Say that a class is not known."""
        return no_class(reference, self.classes)

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the cross entropy (B,) in nats."""
        return F.cross_entropy(scores.x, labels.values, reduction="none")

    def predict(self, scores: Scores) -> list[Prediction]:
        """Give the likeliest class's name and its probability."""
        best = scores.x.softmax(-1).max(-1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Prediction(self.classes[index], confidence) for index, confidence in pairs]
