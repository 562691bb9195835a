"""KMM: source weights that let the means meet in a kernel's space. Huang et al. 2006. Topic: adaptation.

Huang, Smola, Gretton, Borgwardt, Schölkopf 2006: kernel mean matching.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.spatial.distance import cdist, pdist

Array = NDArray[np.float64]
STEPS, NEAR = 5000, 1e-7  # of the descent: the most steps, and a change of weights that is none


def kmm(
    source: ArrayLike,
    target: ArrayLike,
    gamma: float | None = None,
    bound: float = 1000.0,
    slack: float | None = None,
    ridge: float = 1.0,
) -> Array:
    """Estimate p_target(x) / p_source(x) of each source row: (N, D) and (M, D) -> (N,), from 0 to `bound`.

    More weight, more like the target: of use where the domains differ in p(x) alone. The weights minimise
    1/2 w'Kw - k'w with K_ij = exp(-|s_i - s_j|^2 / gamma) and k_i = N/M sum_j exp(-|s_i - t_j|^2 / gamma),
    while |mean(w) - 1| <= slack (Huang et al. 2006). They need N^2 numbers of memory. As
    `Batch.weights`, divide them by their mean. Turning, moving or scaling both samples changes nothing as
    long as `gamma` is the default, the median of all squared distances, and neither does the target twice.
    `slack` is by default the paper's, (sqrt(N) - 1) / sqrt(N). Raises ValueError for samples of unequal
    width, and settings that no weights satisfy.

    Differs: `ridge` times the identity is added to K. Without (0), neighbours get weights that differ wildly.

    >>> weights = kmm([[0.0], [1.0], [2.0], [3.0]], [[2.0], [2.5], [3.0]])
    >>> bool((np.diff(weights) > 0).all())
    True
    """
    own, other = (np.asarray(each, np.float64) for each in (source, target))
    n = len(own)
    slack = 1 - max(n, 1) ** -0.5 if slack is None else slack
    _check(own, other, {"gamma": gamma, "bound": bound, "slack": slack, "ridge": ridge})
    if gamma is None:
        pairs = pdist(np.concatenate([own, other]), "sqeuclidean")
        gamma = float(np.median(pairs) or pairs.mean() or 1)
    kernel = np.exp(-cdist(own, own, "sqeuclidean") / gamma) + ridge * np.eye(n)
    aim = n * np.exp(-cdist(own, other, "sqeuclidean") / gamma).mean(1)
    return _descend(kernel, aim, bound, (n * (1 - slack), n * (1 + slack)))


def _check(own: Array, other: Array, settings: dict[str, float | None]) -> None:
    if (
        own.ndim != 2
        or other.ndim != 2
        or own.shape[1] != other.shape[1]
        or not own.size * len(other)
    ):
        raise ValueError(f"samples of {own.shape} and {other.shape}; give (N, D) and (M, D)")
    bound, slack, ridge = (settings[name] or 0 for name in ("bound", "slack", "ridge"))
    gamma = settings["gamma"]
    fits = (gamma is None or gamma > 0) and min(slack, ridge) >= 0
    if not fits or bound < 1 - slack:
        said = ", ".join(f"{name} is {value}" for name, value in settings.items())
        raise ValueError(f"{said}; gamma is above 0, slack and ridge not below, bound 1 or more")


def _descend(kernel: Array, aim: Array, bound: float, sums: tuple[float, float]) -> Array:
    """Minimise 1/2 w'Kw - k'w, 0 <= w <= bound, sum(w) within `sums` (FISTA, with restarts)."""
    rate = 1 / np.linalg.eigvalsh(kernel)[-1]
    w = ahead = _nearest(np.ones(len(aim)), bound, sums)
    pace = 1.0
    for _ in range(STEPS):
        new = _nearest(ahead - rate * (kernel @ ahead - aim), bound, sums)
        if (ahead - new) @ (new - w) > 0:  # momentum led uphill
            pace = 1.0
        quicker = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        moved, ahead = np.abs(new - w).max(), new + (pace - 1) / quicker * (new - w)
        w, pace = new, quicker
        if moved < NEAR:
            break
    return w


def _nearest(w: Array, bound: float, sums: tuple[float, float]) -> Array:
    """Give the nearest weights that keep to the bounds: all are lowered by the same, then clipped."""

    def lowered(step: float) -> Array:
        clipped: Array = np.clip(w - step, 0, bound)
        return clipped

    low, high = sums
    total = lowered(0).sum()
    if low <= total <= high:
        return lowered(0)
    aim = low if total < low else high
    return lowered(brentq(lambda step: lowered(step).sum() - aim, w.min() - bound, w.max()))
