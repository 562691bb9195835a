"""multilabel: any number of classes per example at once, each a yes or no of its own."""

from collections.abc import Collection, Hashable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.batch import Labels
from mtl.head import Prediction, Scores
from mtl.pooled import Pooled, no_class, refuse_none


class MultiLabel(Pooled):
    """Logits (B, C), one per class; raw labels are the names of the classes that an example has.

    A class is said to be there where its probability exceeds `threshold`. `pool`, `dropout` and `norm` are
    as in `mtl.pooled.Pooled`. Raises ValueError for classes that repeat or are none, and a threshold that
    is no fraction.

    >>> MultiLabel(["round", "red", "big"]).encode(["big", "round"]).tolist()
    [1.0, 0.0, 1.0]
    """

    metrics = ("f1", "exact")

    def __init__(
        self,
        classes: list[str],
        pool: str = "mean",
        dropout: float = 0.0,
        norm: float = 0.0,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(len(classes), pool, dropout, norm)
        refuse_none(classes)
        if not 0 < threshold < 1:
            raise ValueError(f"threshold is {threshold}; give a fraction between 0 and 1")
        self.classes, self.threshold = list(classes), threshold

    def encode(self, label: Any) -> Tensor:
        """Give 1 for the classes named and 0 for the others (C,); raises ValueError for unknown ones."""
        if problem := self.unknown(self.reference(label)):
            raise ValueError(problem)
        return torch.tensor([float(name in label) for name in self.classes])

    def reference(self, label: Any) -> Any:
        """List the names in the order of `classes`, those that this head lacks behind them.

        Raises ValueError for what is no list.
        """
        names = isinstance(label, Collection) and not isinstance(label, str)
        if not names or not all(isinstance(name, Hashable) for name in label):
            raise ValueError(f"label {label!r} is no list of classes; write ['name', ...], or []")
        strange = sorted(set(label) - set(self.classes), key=str)
        return [name for name in self.classes if name in label] + strange

    def unknown(self, reference: Any) -> str:
        """Say which class is not known."""
        strange = [name for name in reference if name not in self.classes]
        return no_class(strange[0], self.classes) if strange else ""

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the binary cross entropy (B,) in nats, the mean over the classes."""
        targets = labels.values.to(scores.x.dtype)
        each = F.binary_cross_entropy_with_logits(scores.x, targets, reduction="none")
        return each.mean(1)

    def predict(self, scores: Scores) -> list[Prediction]:
        """List the names of the likely classes, and the probability that just these are there."""
        shares = scores.x.sigmoid()
        there = shares > self.threshold
        sure = torch.where(there, shares, 1 - shares).prod(1)
        return [
            Prediction([c for c, yes in zip(self.classes, row, strict=True) if yes], confidence)
            for row, confidence in zip(there.tolist(), sure.tolist(), strict=True)
        ]
