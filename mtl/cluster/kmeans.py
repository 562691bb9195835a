"""kmeans: units for frames of speech without labels, as HuBERT has. Hsu et al. 2021. Topic: self-taught."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin


def kmeans(rows: ArrayLike, units: int, seed: int = 0, batch: int = 10000) -> NDArray[np.float64]:
    """Find centres (units, D) of rows (N, D), such as frames: each is the mean of those that are near it.

    Turning, moving or scaling all rows does the same to the centres; scaling one column does not, so make
    all of like deviation. Found by mini-batches of `batch` rows (Sculley 2010), with the settings of HuBERT.
    Raises ValueError for fewer different rows than units.

    >>> kmeans([[0.0], [0.2], [5.0], [5.2]], units=2).round(1).ravel().tolist()
    [5.1, 0.1]
    """
    x = np.asarray(rows, np.float64)
    different = len(np.unique(x, axis=0)) if len(x) else 0
    if not 1 <= units <= different:
        raise ValueError(f"{units} units of {different} different rows; give 1 to {different}")
    learner = MiniBatchKMeans(
        units,
        batch_size=batch,
        n_init=20,
        max_no_improvement=100,
        reassignment_ratio=0.0,
        random_state=seed,
    )
    centres: NDArray[np.float64] = learner.fit(x).cluster_centers_
    return centres


def nearest(rows: ArrayLike, centres: ArrayLike) -> NDArray[np.int64]:
    """Give each row's nearest centre, its unit: (N, D) and (V, D) -> (N,), from 0 to V - 1.

    >>> nearest([[0.1], [9.0], [4.0]], [[5.0], [0.0]]).tolist()
    [1, 0, 0]
    """
    return np.asarray(pairwise_distances_argmin(np.asarray(rows), np.asarray(centres)), np.int64)
