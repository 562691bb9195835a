"""Measures: what is counted on one example of several labels, of numbers and of maps.

Each gives a numerator and a denominator, as `mtl.metrics` adds them up.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = tuple[float, float]


def f1(reference: Collection[str], prediction: Collection[str]) -> Counts:
    """Twice the labels in both, and the labels in either, counted in each: sums give the micro F1.

    >>> f1(["cat", "dog"], ["dog"])
    (2.0, 3.0)
    """
    a, b = set(reference), set(prediction)
    return 2.0 * len(a & b), float(len(a) + len(b))


def mae(reference: Any, prediction: Any) -> Counts:
    """Absolute errors and how many: of a number, a list or a map of numbers; NaN has no reference.

    >>> mae([1.0, 2.0], [1.5, 4.0])
    (2.5, 2.0)
    """
    wanted = np.asarray(reference, dtype=np.float64)
    known = np.isfinite(wanted)
    return float(np.abs(wanted - prediction)[known].sum()), float(known.sum())


def spread(references: Sequence[Any]) -> float:
    """Mean absolute deviation from the mean, as large as the error of always saying the mean; 1 for 0.

    The places of a list are each compared with their own mean, the pixels of maps with that of all.

    >>> spread([[0.0, 10.0], [2.0, 30.0]])
    5.5
    """
    arrays = [np.asarray(each, dtype=np.float64) for each in references]
    if arrays[0].ndim < 2:
        values = np.stack([each.reshape(-1) for each in arrays])
    else:
        values = np.concatenate([each.reshape(-1, 1) for each in arrays])
        values = values[np.isfinite(values)][:, None]
    return float(np.abs(values - values.mean(0)).mean() or 1.0) if values.size else 1.0


def pixel_accuracy(reference: Any, prediction: Any) -> Counts:
    """Pixels of the right class, and pixels; a reference below 0 is not labelled.

    >>> pixel_accuracy([[0, 1], [1, -1]], [[0, 1], [0, 0]])
    (2.0, 3.0)
    """
    wanted = np.asarray(reference)
    known = wanted >= 0
    return float(((wanted == prediction) & known).sum()), float(known.sum())


def iou(reference: Any, prediction: Any) -> Counts:
    """One picture's intersection over union, the mean over the classes in either map; and 1.

    The figure for a set is then the mean over its pictures, in which small things count as much as large
    ones (Wang et al. 2023, mIoU per image); `mean_iou` pools the pixels of a set instead.

    >>> iou([[0, 0], [1, -1]], [[0, 1], [1, 1]])
    (0.5, 1.0)
    """
    table = _confusion(reference, prediction)
    return (_mean_iou(table), 1.0) if table.any() else (0.0, 0.0)


def mean_iou(references: Sequence[Any], predictions: Sequence[Any]) -> float:
    """Intersection over union of all pictures' pixels together, the mean over the classes that occur.

    Maps are integer arrays; a reference below 0 is not labelled. Raises ValueError where nothing is.

    >>> mean_iou([[[0, 0]], [[1, -1]]], [[[0, 1]], [[1, 1]]])
    0.5
    """
    tables = [_confusion(*pair) for pair in zip(references, predictions, strict=True)]
    size = max((len(table) for table in tables), default=0)
    total = np.zeros((size, size), np.int64)
    for table in tables:
        total[: len(table), : len(table)] += table
    if not total.any():
        raise ValueError(f"{len(tables)} maps without a labelled pixel; there is nothing to count")
    return _mean_iou(total)


def _mean_iou(table: NDArray[np.int64]) -> float:
    # The first row and column hold what is no class: a prediction that was not made.
    union = (table.sum(0) + table.sum(1) - table.diagonal())[1:]
    return float((table.diagonal()[1:][union > 0] / union[union > 0]).mean())


def _confusion(reference: Any, prediction: Any) -> NDArray[np.int64]:
    """Count labelled pixels by class plus 1: rows the reference, columns the prediction."""
    wanted = np.asarray(reference).astype(np.int64) + 1
    said = np.broadcast_to(np.asarray(prediction).astype(np.int64) + 1, wanted.shape)
    size = int(max(wanted.max(initial=0), said.max(initial=0))) + 1
    known = wanted > 0
    counts = np.bincount(wanted[known] * size + said[known], minlength=size**2)
    return counts.reshape(size, size)
