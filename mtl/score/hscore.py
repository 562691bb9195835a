"""hscore: how far classes lie apart in a source's features. Bao et al. 2019. Topic: transferability.

Ibrahim, Ponomareva, Mazumder 2022 (Newer is not always better) regularise it.
"""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.covariance import ledoit_wolf_shrinkage


def hscore(features: ArrayLike, labels: ArrayLike, shrinkage: float | None = None) -> float:
    """Give tr(C^-1 C_between) of target classes (N,) in a source's features (N, D).

    C is the covariance, C_between that of the means of classes (Bao et al. 2019). More is
    better, from 0 to min(D, classes - 1): compare sources on ONE target and the same examples.
    `shrinkage` a makes it (1 - a) tr(((1 - a) C + a m 1)^-1 C_between), where m is the mean variance; by
    default that of Ledoit and Wolf (Ibrahim et al. 2022). Without, wide features always look good; with it,
    those that vary alike in all directions may get 0. Moving, turning or scaling all features changes
    nothing; with a shrinkage of 0, neither does any invertible matrix. Raises ValueError for fewer than 2
    classes, and a shrinkage outside 0 to 1.

    >>> labels = [0, 0, 1, 1]
    >>> [round(hscore([[0.0], [1.0], [gap], [1.0 + gap]], labels, 0.0), 2) for gap in (0.0, 1.0, 9.0)]
    [0.0, 0.5, 0.99]
    """
    f, y = np.asarray(features, np.float64), np.asarray(labels)
    if f.ndim != 2 or y.shape != f.shape[:1] or len(set(y.tolist())) < 2:
        raise ValueError(
            f"features {f.shape}, labels {y.shape} of {len(set(y.ravel().tolist()))} classes; "
            "give (N, D) and (N,), 2 classes at least"
        )
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage is {shrinkage}; it is a share, from 0 to 1")
    f = f - f.mean(0)
    share = (
        float(ledoit_wolf_shrinkage(f, assume_centered=True)) if shrinkage is None else shrinkage
    )
    _, numbers = np.unique(y, return_inverse=True)
    members = np.eye(numbers.max() + 1)[numbers]
    means = (members.T @ f) / members.sum(0)[:, None]
    between = (means.T * members.mean(0)) @ means
    covariance = f.T @ f / len(f)
    level = np.trace(covariance) / f.shape[1]
    shrunk = (1 - share) * covariance + share * level * np.eye(f.shape[1])
    return float((1 - share) * np.trace(np.linalg.pinv(shrunk, hermitian=True) @ between))
