"""uLSIF: the ratio of two densities, fitted by least squares. Kanamori et al. 2009. Topic: adaptation.

Kanamori, Hido, Sugiyama: a least-squares approach to direct importance estimation.
"""

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist, pdist

Array = NDArray[np.float64]
WIDTHS = tuple(
    10.0 ** (step / 2) for step in range(-4, 5)
)  # times the median: gammas to choose from
RIDGES = tuple(10.0 ** (step / 2) for step in range(-6, 3))


def ulsif(
    source: ArrayLike,
    target: ArrayLike,
    gamma: float | None = None,
    ridge: float | None = None,
    centres: int = 100,
    seed: int = 0,
) -> Array:
    """Estimate p_target(x) / p_source(x) of each source row: (N, D) and (M, D) -> (N,), 0 or more.

    More weight, more like the target: of use where the domains differ in p(x) alone. The ratio is a sum of
    kernels exp(-|x - c|^2 / gamma) at target rows c, at most `centres` of them, of the least squared error
    (Kanamori et al. 2009). What is None of `gamma` and `ridge` is chosen by
    leaving out one row of each sample in turn, gammas around the median of all squared distances: then
    turning, moving or scaling both samples changes nothing. As `Batch.weights`, divide by the mean. Raises
    ValueError for samples of unequal width or fewer than 2 rows, and settings that are not above 0.

    >>> weights = ulsif([[0.0], [1.0], [2.0], [3.0]], [[2.0], [2.5], [3.0]])
    >>> bool(weights[:2].max() < weights[2:].min())
    True
    """
    own, other = (np.asarray(each, np.float64) for each in (source, target))
    if own.ndim != 2 or own.shape[1:] != other.shape[1:] or min(len(own), len(other)) < 2:
        raise ValueError(
            f"samples of {own.shape} and {other.shape}; give (N, D) and (M, D), 2 rows at least"
        )
    if centres < 1 or any(given is not None and given <= 0 for given in (gamma, ridge)):
        raise ValueError(f"gamma is {gamma}, ridge {ridge}, centres {centres}; all are above 0")
    rng = np.random.default_rng(seed)
    order, drawn = rng.permutation(len(own)), rng.permutation(len(other))
    chosen = other[drawn[:centres]]
    squared = [cdist(rows, chosen, "sqeuclidean") for rows in (own, other[drawn])]
    if gamma is None:
        pairs = pdist(np.concatenate([own, other]), "sqeuclidean")
        median = float(np.median(pairs) or pairs.mean() or 1)
    gammas = [median * width for width in WIDTHS] if gamma is None else [gamma]
    found = []
    for width, penalty in product(gammas, RIDGES if ridge is None else [ridge]):
        below, above = (np.exp(-each / width) for each in squared)
        found.append((_left_out(below[order], above, penalty), width, penalty))
    _, width, penalty = min(found)
    below, above = (np.exp(-each / width) for each in squared)
    moments = below.T @ below / len(own) + penalty * np.eye(len(chosen))
    weights: Array = below @ np.linalg.solve(moments, above.mean(0)).clip(min=0)
    return weights


def _left_out(below: Array, above: Array, ridge: float) -> float:
    """Give the error 1/2 w(s)^2 - w(t) of rows left out of the fit, the mean over pairs of rows.

    `below` (N, B) and `above` (M, B) are the kernels of source and target rows; pair i is row i of each.
    The inverse without a row follows from that with it.
    """
    n, m = len(below), len(above)
    pairs = min(n, m)
    moments = below.T @ below + (n - 1) * ridge * np.eye(below.shape[1])  # n - 1 times
    solved = np.linalg.solve(moments, np.concatenate([below[:pairs], above[:pairs]]).T).T
    own, other = solved[:pairs], solved[pairs:]
    mean = np.linalg.solve(moments, above.sum(0))
    rows = below[:pairs]
    without = mean - other  # from the inverse WITH the row
    shares = (rows * without).sum(1) / (1 - (rows * own).sum(1))
    alphas = ((n - 1) / (m - 1) * (without + shares[:, None] * own)).clip(min=0)
    at_source, at_target = (rows * alphas).sum(1), (above[:pairs] * alphas).sum(1)
    return float((at_source**2 / 2 - at_target).mean())
