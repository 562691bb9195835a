"""dense: a class or a number for each pixel, from the map that a trunk leaves."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl.batch import Features, Labels
from mtl.head import Head, Prediction, Scores
from mtl.pooled import refuse_repeats

UNLABELLED = -1  # in encoded maps of classes; NaN in maps of numbers


class Dense(Head):
    """Scores (B, C, size, size) of classes, or (B, 1, size, size) where `classes` is empty: of numbers.

    The places of the trunk's square map are read one by one and enlarged to the pictures' `size`; with
    `detail` each place gives detail x detail pixels before that, which makes edges sharper. `ahead` counts
    the frames that come before the map, such as a class token. A trunk that ends in few places has little
    to say of pixels: read an inner block (`Task.at`).

    Raw labels are maps (size, size) of class numbers 0 to C - 1, or of numbers, which are learnt in `std`
    from `mean`, by squared error. What equals `ignore`, or is NaN in maps of numbers, is not labelled.

    >>> head = Dense(["ground", "thing"], size=2, ignore=255)
    >>> head.encode([[0, 1], [255, 1]]).tolist()
    [[0, 1], [-1, 1]]
    """

    def __init__(
        self,
        classes: Sequence[str],
        size: int,
        mean: float = 0.0,
        std: float = 1.0,
        ignore: float | None = None,
        detail: int = 1,
        ahead: int = 0,
    ) -> None:
        super().__init__()
        refuse_repeats(list(classes))
        if size < 1 or detail < 1 or ahead < 0 or not std > 0:
            raise ValueError(
                f"size is {size}, detail {detail}, ahead {ahead}, std {std}; give size and detail "
                "from 1, and std above 0"
            )
        self.classes, self.size, self.mean, self.std = list(classes), size, mean, std
        self.ignore, self.detail, self.ahead = ignore, detail, ahead
        self.metrics = ("iou", "pixel_accuracy") if classes else ("mae",)
        self.blank = UNLABELLED if classes else mean

    def build(self, dim: int) -> None:
        """Make the layer that reads a place."""
        self.output = nn.Linear(dim, max(len(self.classes), 1) * self.detail**2)

    def encode(self, label: Any) -> Tensor:
        """Give class numbers, -1 where not labelled, or standardised numbers, NaN there: (size, size).

        Raises ValueError as `reference` does, and where no pixel is labelled.
        """
        values = self.reference(label)
        if problem := self.unknown(values):
            raise ValueError(problem)
        found = torch.from_numpy(values)
        return found.long() if self.classes else (found - self.mean) / self.std

    def reference(self, label: Any) -> Any:
        """Give the map as an array, -1 or NaN where it is not labelled.

        Raises ValueError for a map of another size, and a value that is no class or infinite.
        """
        values = self._read(label)
        return np.nan_to_num(values, nan=UNLABELLED).astype(np.int16) if self.classes else values

    def unknown(self, reference: Any) -> str:
        """Say that no pixel is labelled."""
        known = reference != UNLABELLED if self.classes else ~np.isnan(reference)
        hint = "no pixel of the map is labelled; leave such a map out, or correct `ignore`"
        return "" if known.any() else hint

    def _read(self, label: Any) -> NDArray[np.float32]:
        """Give a raw label as an array of its own, NaN where it is not labelled."""
        values = np.asarray(label, dtype=np.float32).copy()
        if values.shape != (self.size, self.size):
            raise ValueError(
                f"a map of {values.shape}; this head takes {(self.size, self.size)}, as its pictures are"
            )
        if self.ignore is not None:
            values[values == self.ignore] = np.nan
        self._refuse_strange(values[~np.isnan(values)])
        return values

    def _refuse_strange(self, known: NDArray[np.float32]) -> None:
        """Raise ValueError for a value that is no class or infinite."""
        if not self.classes:
            if np.isinf(known).any():
                raise ValueError("a map holds infinite values; write NaN where nothing is known")
            return
        strange = known[(known < 0) | (known >= len(self.classes)) | (known != known.round())]
        if len(strange):
            unlabelled = "give ignore=..." if self.ignore is None else f"{self.ignore:g}"
            raise ValueError(
                f"a map holds {strange[0]:g}, which is no class; this head has 0 to "
                f"{len(self.classes) - 1} ({', '.join(self.classes)}); not labelled: {unlabelled}"
            )

    def scores(self, f: Features) -> Scores:
        """Read each place and enlarge. Raises ValueError for frames that are no square map."""
        # The single frame with which a model tries a head has nothing ahead.
        x = f.x[:, self.ahead :] if f.x.shape[1] > self.ahead else f.x
        side = math.isqrt(x.shape[1])
        if side**2 != x.shape[1]:
            raise ValueError(
                f"{f.x.shape[1]} frames, {self.ahead} of them ahead, are no square map, which this "
                "head reads; it is for pictures"
            )
        maps = self.output(x).float().mT.unflatten(2, (side, side))
        maps = F.pixel_shuffle(maps, self.detail)
        size = (self.size, self.size)
        return Scores(F.interpolate(maps, size, mode="bilinear", align_corners=False))

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the cross entropy or squared error (B,), the mean over the labelled pixels; 0 without any."""
        if self.classes:
            known = labels.values != UNLABELLED
            targets = labels.values.where(known, 0)
            each = F.cross_entropy(scores.x, targets, reduction="none")
        else:
            known = ~labels.values.isnan()
            each = (scores.x[:, 0] - labels.values.where(known, 0.0)).square()
        total = (each * known).flatten(1).sum(1)
        return total / known.flatten(1).sum(1).clamp(min=1)

    def predict(self, scores: Scores) -> list[Prediction]:
        """Give maps (size, size) of class numbers, with their mean probability, or of numbers, with NaN."""
        if not self.classes:
            numbers = (scores.x[:, 0] * self.std + self.mean).cpu().numpy()
            return [Prediction(map_, math.nan) for map_ in numbers]
        best = scores.x.softmax(1).max(1)
        maps = best.indices.to(torch.int16).cpu().numpy()  # an evaluation holds all of them
        sure = best.values.flatten(1).mean(1).tolist()
        return [Prediction(map_, confidence) for map_, confidence in zip(maps, sure, strict=True)]
