"""generalised: classes seen and unseen told among each other, and the bias to the seen. Chao et al. 2016."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Generalised(NamedTuple):
    """Accuracies, fractions, of classes seen and unseen, chosen among all; and their harmonic mean."""

    seen: float
    unseen: float
    harmonic: float


class Curve(NamedTuple):
    """Accuracies (K,) of classes seen and unseen at all that a `penalty` (K,) can do, from -inf on."""

    penalty: Array
    seen: Array
    unseen: Array

    def area(self) -> float:
        """Give the area under the curve of one accuracy against the other (AUSUC), a fraction."""
        return float(np.trapezoid(self.unseen[::-1], self.seen[::-1]))


def harmonic(seen: float, unseen: float) -> float:
    """Give the harmonic mean, 0 where either is.

    >>> harmonic(0.75, 0.25)
    0.375
    """
    return 2 * seen * unseen / (seen + unseen) if seen and unseen else 0.0


def per_class(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Give the accuracy that is the mean over the classes in `labels` (N,), however frequent each is.

    >>> per_class([0, 0, 0, 1], [0, 0, 0, 0])
    0.5
    """
    wanted = np.asarray(labels)
    right = wanted == np.asarray(predictions)
    return float(np.mean([right[wanted == name].mean() for name in np.unique(wanted)]))


def generalised(
    scores: ArrayLike, labels: ArrayLike, unseen: ArrayLike, penalty: float = 0.0
) -> Generalised:
    """Choose among all classes, `penalty` taken from the seen ones: scores (N, C), labels (N,), unseen (C,).

    Accuracies are means over classes (Xian et al. 2017). Raises ValueError as `curve` does.

    >>> scores, unseen = [[3.0, 2.0], [3.0, 2.5]], [False, True]
    >>> generalised(scores, [0, 1], unseen), generalised(scores, [0, 1], unseen, 0.75)
    (Generalised(seen=1.0, unseen=0.0, harmonic=0.0), Generalised(seen=1.0, unseen=1.0, harmonic=1.0))
    """
    x, y, new = _checked(scores, labels, unseen)
    said = np.where(new, x, x - penalty).argmax(1)
    s, u = (per_class(y[new[y] == side], said[new[y] == side]) for side in (False, True))
    return Generalised(s, u, harmonic(s, u))


def curve(scores: ArrayLike, labels: ArrayLike, unseen: ArrayLike) -> Curve:
    """Give both accuracies for every penalty that makes a difference; arguments as in `generalised`.

    Raises ValueError for shapes that do not go together, and where examples of seen or of unseen classes
    are missing.
    """
    x, y, new = _checked(scores, labels, unseen)
    sides = [np.where(new == side, x, -np.inf) for side in (False, True)]
    # The penalty from which on an example is taken for an unseen class.
    turns = sides[0].max(1) - sides[1].max(1)
    ends = np.unique(turns)
    penalties = np.concatenate([[-np.inf], (ends[1:] + ends[:-1]) / 2, [np.inf]])
    accuracies = []
    for side in (False, True):
        mine = new[y] == side
        right = sides[side][mine].argmax(1) == y[mine]
        order = np.argsort(turns[mine])
        sizes = np.bincount(y[mine], minlength=len(new))[y[mine]]
        share = (right / sizes / len(np.unique(y[mine])))[order]
        turned = np.concatenate([[0.0], share.cumsum()])
        before = turned[np.searchsorted(turns[mine][order], penalties)]
        accuracies.append(before if side else turned[-1] - before)
    return Curve(penalties, *accuracies)


def calibrate(scores: ArrayLike, labels: ArrayLike, unseen: ArrayLike) -> float:
    """Give the penalty with the best harmonic mean; of several that are as good, the one in the middle.

    For validation: `unseen` are classes that were seen, but held out of a training of their own. Raises
    ValueError as `curve` does, and where no penalty tells classes of both sides.

    >>> calibrate([[3.0, 2.0], [3.0, 2.5]], [0, 1], [False, True])
    0.75
    """
    found = curve(scores, labels, unseen)
    means = np.array([harmonic(s, u) for s, u in zip(found.seen, found.unseen, strict=True)])
    if not means.any():
        raise ValueError("no penalty gives both seen and unseen classes any right answer")
    best = np.flatnonzero(means >= means.max() - 1e-12)
    return float(found.penalty[best[len(best) // 2]])


def _checked(
    scores: ArrayLike, labels: ArrayLike, unseen: ArrayLike
) -> tuple[Array, NDArray[np.int64], NDArray[np.bool_]]:
    """Give the arrays, or say how they do not go together."""
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    new = np.asarray(unseen, dtype=bool)
    if x.ndim != 2 or y.shape != x.shape[:1] or new.shape != x.shape[1:]:
        raise ValueError(
            f"scores {x.shape}, labels {y.shape}, unseen {new.shape}: give (N, C), (N,) and (C,)"
        )
    if not np.isfinite(x).all():
        raise ValueError("scores hold NaN or infinity; give them without a penalty")
    if not len(y) or y.min() < 0 or y.max() >= len(new):
        raise ValueError(f"labels must be from 0 to {len(new) - 1}, and at least one")
    if new[y].all() or not new[y].any():
        side = "seen" if new[y].all() else "unseen"
        raise ValueError(f"no example of {side} classes: both are needed")
    return x, y, new
