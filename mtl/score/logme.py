"""logme: how well features explain classes, by evidence. You et al. 2021. Topic: transferability."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

Array = NDArray[np.float64]
GRID = np.linspace(-30, 30, 121)  # log(alpha / beta), where the largest singular value is 1


def logme(features: ArrayLike, labels: ArrayLike) -> float:
    """Give the log evidence, in nats per example, of target classes (N,) given a source's features (N, D).

    The mean over classes of the `evidence` that an example is of that class, 1, or of another, 0. More is
    better, and it has no bound: compare sources on ONE target and the same examples; their widths may
    differ. Turning or scaling all features changes nothing, nor do names of classes; moving features
    does, as there is no constant term. Raises ValueError for fewer than 2 classes.

    >>> rng = np.random.default_rng(0)
    >>> labels, noise = np.arange(60) % 3, rng.normal(size=(60, 3))
    >>> logme(5 * np.eye(3)[labels] + noise, labels) > logme(np.eye(3)[labels] + noise, labels)
    True
    """
    y = np.asarray(labels)
    classes = np.unique(y)
    if y.ndim != 1 or len(classes) < 2:
        raise ValueError(f"labels {y.shape} of {len(classes)} classes; give (N,), of 2 at least")
    return evidence(features, y[:, None] == classes)


def evidence(features: ArrayLike, values: ArrayLike) -> float:
    """Give the greatest log evidence, in nats per example, of values (N, K) given features (N, D).

    Values are linear in the features, with weights N(0, 1 / alpha) and noise N(0, 1 / beta); alpha and beta
    are the likeliest, for each of the K columns its own (You et al. 2021), of whose evidence the
    mean is given. Values may be numbers of any kind: centre them. Raises ValueError for shapes that do not
    fit and features that are not finite.

    Differs: the greatest evidence is searched for, as the paper's iteration stops short where it is flat.

    >>> round(evidence([[1.0], [1.0]], [[1.0], [-1.0]]), 4)  # no use: -log(2 pi e) / 2, of noise alone
    -1.4189
    """
    f, v = np.asarray(features, np.float64), np.asarray(values, np.float64)
    if f.ndim != 2 or v.ndim != 2 or len(f) != len(v) or not f.size * v.size:
        raise ValueError(f"features {f.shape}, values {v.shape}; give (N, D) and (N, K)")
    if not (np.isfinite(f).all() and np.isfinite(v).all()):
        raise ValueError("features or values are not finite; leave out the examples that are not")
    left, singular, _ = np.linalg.svd(f, full_matrices=False)
    squares = (singular / max(singular[0], 1e-300)) ** 2
    inside = (left.T @ v) ** 2  # (R, K)
    outside = ((v - left @ (left.T @ v)) ** 2).sum(0)

    found = [_greatest(len(f), squares, *parts) for parts in zip(inside.T, outside, strict=True)]
    return float(np.mean(found) / len(f))


def _greatest(n: int, squares: Array, inside: Array, outside: float) -> float:
    """Give the greatest log evidence of one column over alpha / beta.

    `squares` (R,) are squared singular values, `inside` (R,) the squared parts of the column along the left
    singular vectors, `outside` the rest. For a ratio the best beta is known; so the search has one dimension.
    """

    def minus(log_ratio: float) -> float:
        ratio = np.exp(log_ratio)
        shares = ratio / (squares + ratio)
        error = max(outside + shares @ inside, 1e-300)  # beta is n over it
        total: float = n * np.log(2 * np.pi * np.e * error / n) - np.log(shares).sum()
        return total / 2

    best = int(np.argmin([minus(point) for point in GRID]))
    around = GRID[max(best - 1, 0)], GRID[min(best + 1, len(GRID) - 1)]
    found = minimize_scalar(minus, bounds=around, method="bounded", options={"xatol": 1e-9})
    return -min(float(found.fun), minus(GRID[best]))
