"""Described: heads that know classes by vectors that describe them, also classes they never saw."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mtl.head import Prediction, Scores
from mtl.pooled import Pooled, no_class, refuse_repeats

Vectors = Sequence[Sequence[float]]


class Described(Pooled):
    """Classes and their vectors (C, A), such as attributes or word embeddings; a subclass compares.

    The first `seen` classes (default: all) are learnt from examples, the others by their vectors alone.
    `penalty` is taken from what fits the seen classes before the best is chosen, which they would
    otherwise always be (Chao et al. 2016, calibrated stacking); infinity chooses among the unseen. `pool`
    is as in `mtl.pooled.Pooled`. Raises ValueError where classes and vectors do not go together.
    """

    metrics = ("accuracy",)
    signatures: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        vectors: Vectors,
        seen: int | None = None,
        penalty: float = 0.0,
        pool: str = "mean",
    ) -> None:
        matrix = self._matrix(classes, vectors)
        super().__init__(matrix.shape[1], pool)
        self.seen = len(classes) if seen is None else seen
        if not 1 <= self.seen <= len(classes):
            raise ValueError(f"seen is {seen}; of {len(classes)} classes, 1 or more must be")
        if penalty != penalty:
            raise ValueError(f"penalty is {penalty}; give a number, 0 for none")
        self.classes, self.penalty = list(classes), penalty
        # The configuration holds them: no file of weights can disagree with its classes.
        self.register_buffer("signatures", matrix, persistent=False)

    @property
    def vectors(self) -> list[list[float]]:
        """Give the classes' vectors (C, A)."""
        rows: list[list[float]] = self.signatures.tolist()
        return rows

    def add(self, described: Mapping[str, Sequence[float]]) -> None:
        """Know more classes, by name and vector (A,), without any example.

        Raises ValueError for a name that is known, and a vector of another length.
        """
        classes = [*self.classes, *described]
        matrix = self._matrix(classes, [*self.vectors, *described.values()])
        self.classes, self.signatures = classes, matrix.to(self.signatures.device)

    def check(self, name: str, vector: Sequence[float]) -> None:
        """Raise ValueError for a vector that the head cannot take; by default it takes all."""

    def _matrix(self, classes: Sequence[str], vectors: Vectors) -> Tensor:
        """Give the vectors as a matrix (C, A), or say what is wrong with them."""
        refuse_mismatch(classes, vectors)
        for name, vector in zip(classes, vectors, strict=True):
            self.check(name, vector)
        return torch.tensor(np.asarray(vectors, dtype=np.float32))

    def encode(self, label: Any) -> Tensor:
        """Give the index () of a seen class; raises ValueError for others, lest they be learnt from."""
        learnt = self.classes[: self.seen]
        if label not in learnt:
            known = "described only" if label in self.classes else "not known"
            raise ValueError(f"class {label!r} is {known}; this head learns: {', '.join(learnt)}")
        return torch.tensor(learnt.index(label))

    def unknown(self, reference: Any) -> str:
        """Say that a class is neither learnt nor described."""
        return no_class(reference, self.classes)

    def fit_of(self, scores: Scores) -> Tensor:
        """Say how well each class fits (B, C), before any penalty: by default, the scores."""
        return scores.x

    def predict(self, scores: Scores) -> list[Prediction]:
        """Give the class that fits best, and its share in the softmax over all."""
        fit = self.fit_of(scores).float()
        seen = torch.arange(fit.shape[1], device=fit.device) < self.seen
        fit = torch.where(seen, fit - self.penalty, fit)
        best = fit.softmax(-1).max(-1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Prediction(self.classes[index], confidence) for index, confidence in pairs]


def unit(vectors: ArrayLike) -> list[list[float]]:
    """Scale vectors (C, A) to length 1. Raises ValueError for one of zeros.

    >>> unit([[3.0, 4.0]])
    [[0.6, 0.8]]
    """
    rows = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError(f"vector {int(norms[:, 0].argmin())} is zero: it has no direction")
    scaled: list[list[float]] = (rows / norms).tolist()
    return scaled


def refuse_mismatch(classes: Sequence[str], vectors: Vectors) -> None:
    """Raise ValueError where classes and vectors do not go together."""
    refuse_repeats(list(classes))
    if not len(classes) or len(classes) != len(vectors):
        raise ValueError(
            f"{len(classes)} classes, but {len(vectors)} vectors: give each class its own, in order"
        )
    wide = len(vectors[0])
    for name, vector in zip(classes, vectors, strict=True):
        if len(vector) != wide or not wide:
            raise ValueError(
                f"class {name!r} has a vector of {len(vector)} numbers, {classes[0]!r} of {wide}; "
                "all must be as long"
            )
        if not np.isfinite(np.asarray(vector, dtype=np.float64)).all():
            raise ValueError(f"class {name!r} has a vector with NaN or infinity: mend or drop it")
