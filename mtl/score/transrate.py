"""transrate: what features say of classes, by coding rates. Huang et al. 2022. Topic: transferability."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def transrate(features: ArrayLike, labels: ArrayLike, eps: float = 1e-4) -> float:
    """Give R(Z) - R(Z | Y) in nats, of target classes (N,) and a source's features (N, D).

    R(Z) = 1/2 log det(1 + Z'Z / (N eps)) is the rate that codes centred rows up to an error of `eps`; given
    the class, it is the mean over examples of the rate of their class (Huang et al. 2022). More is
    better, 0 at least: compare sources on ONE target and the same examples, and scale their features alike:
    larger and wider ones have more. Moving or turning all features changes nothing, nor do names of
    classes or each example twice. Raises ValueError for shapes that do not fit, and an `eps` not above 0.

    Differs: classes weigh as many examples as they have, where the authors' code weighs all the same.

    >>> features = [[1.0], [1.0], [-1.0], [-1.0]]
    >>> round(transrate(features, [0, 0, 1, 1]), 6), transrate([[1.0, 0.0], [0.0, 1.0]], [0, 1]) > 0
    (0.0, True)
    """
    f, y = np.asarray(features, np.float64), np.asarray(labels)
    if f.ndim != 2 or y.shape != f.shape[:1] or not f.size or eps <= 0:
        raise ValueError(
            f"features {f.shape}, labels {y.shape}, eps {eps}; give (N, D), (N,), and an eps above 0"
        )
    f = f - f.mean(0)
    within = sum((y == name).mean() * _rate(f[y == name], eps) for name in np.unique(y))
    return float(_rate(f, eps) - within)


def _rate(rows: NDArray[np.float64], eps: float) -> float:
    """Give the rate of rows, from the smaller of the two tables of products."""
    products = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    return float(np.linalg.slogdet(np.eye(len(products)) + products / (len(rows) * eps))[1] / 2)
