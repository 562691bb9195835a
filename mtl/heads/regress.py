"""regress: one or several numbers per example, learnt in standard deviations from their mean."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.batch import Labels
from mtl.head import Prediction, Scores
from mtl.pooled import Pooled


class Regress(Pooled):
    """Standardised numbers (B, K); raw labels and predictions are numbers, or lists of K > 1, in their units.

    `mean` and `std` (K,) are those of the training labels; `Regress.of` takes them from the labels. With
    `delta` the error is Huber's, linear beyond so many standard deviations, and squared without. `pool`,
    `dropout` and `norm` are as in `mtl.pooled.Pooled`. Numbers of unlike units are better tasks of their
    own: the metric is the mean over all of them. Raises ValueError for a `std` that is not above 0, or not
    as long as `mean`.

    >>> head = Regress([170.0], [10.0])
    >>> head.encode(185.0).tolist(), head.predict(Scores(torch.tensor([[1.5]])))[0].value
    ([1.5], 185.0)
    """

    metrics = ("mae",)

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        delta: float = 0.0,
        pool: str = "mean",
        dropout: float = 0.0,
        norm: float = 0.0,
    ) -> None:
        if not mean or len(mean) != len(std):
            raise ValueError(f"mean is {mean} and std {std}; give one of each per number")
        if not (all(map(math.isfinite, [*mean, *std])) and min(std) > 0 and delta >= 0):
            raise ValueError(f"mean is {mean}, std {std}, delta {delta}; std must be above 0")
        super().__init__(len(mean), pool, dropout, norm)
        self.mean, self.std, self.delta = list(mean), list(std), delta
        self.blank = self._value(self.mean)

    @classmethod
    def of(cls, labels: Sequence[Any], **settings: Any) -> "Regress":
        """Make a head for numbers like these raw labels, of which None is a missing one.

        Raises ValueError where they are all alike, not finite, or lists of unlike lengths.

        >>> head = Regress.of([[1.0, 10.0], [3.0, 30.0]], delta=1.0)
        >>> head.mean, head.std
        ([2.0, 20.0], [1.0, 10.0])
        """
        known = [label for label in labels if label is not None]
        if len({np.shape(label) for label in known}) > 1:
            raise ValueError(f"{len(known)} labels of unlike lengths; give as many numbers in each")
        values = np.asarray(known, dtype=np.float64).reshape(len(known) or 1, -1)
        if not values.size or not np.isfinite(values).all() or not values.std(0).all():
            raise ValueError(f"{len(known)} labels; give finite numbers that differ")
        return cls(values.mean(0).tolist(), values.std(0).tolist(), **settings)

    def encode(self, label: Any) -> Tensor:
        """Standardise (K,); raises ValueError as `reference` does."""
        values = np.asarray(self.reference(label), dtype=np.float64).reshape(-1)
        return torch.from_numpy((values - self.mean) / self.std).float()

    def reference(self, label: Any) -> Any:
        """Give the number, or the list of several.

        Raises ValueError for what is no number, not finite, or of another count.
        """
        try:
            values = np.asarray(label, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise ValueError(f"label {label!r:.40} is no number") from error
        if len(values) != self.outputs:
            raise ValueError(f"label {label!r:.40} holds {len(values)} numbers, not {self.outputs}")
        if not np.isfinite(values).all():
            raise ValueError(f"label {label!r} is not finite; leave out what is not known")
        return self._value(values.tolist())

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the squared or Huber's error (B,) in standard deviations, the mean over the numbers."""
        targets = labels.values.to(scores.x.dtype)
        if self.delta:
            return F.huber_loss(scores.x, targets, reduction="none", delta=self.delta).mean(1)
        return F.mse_loss(scores.x, targets, reduction="none").mean(1)

    def predict(self, scores: Scores) -> list[Prediction]:
        """Give the numbers in their units; how sure they are is not known: NaN."""
        mean, std = (torch.tensor(values).double() for values in (self.mean, self.std))
        rows = scores.x.cpu().double() * std + mean
        return [Prediction(self._value(row), math.nan) for row in rows.tolist()]

    def _value(self, numbers: list[float]) -> Any:
        return numbers[0] if len(numbers) == 1 else numbers
