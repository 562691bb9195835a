"""flat: features as points on a plane, for a look: like ones lie together. van der Maaten and Hinton 2008."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def flat(features: ArrayLike, seed: int = 0) -> NDArray[np.float64]:
    """Give the t-SNE map of features: (N, D) -> (N, 2), from -1 to 1.

    Neighbours are to be trusted; distances between groups, and their sizes, are not. Raises ValueError for
    fewer than 4 rows.

    >>> flat(np.eye(5)).shape
    (5, 2)
    """
    from sklearn.manifold import TSNE

    rows = np.asarray(features, np.float64)
    if len(rows) < 4:
        raise ValueError(f"{len(rows)} rows; a map needs 4 at least")
    perplexity = min(30.0, (len(rows) - 1) / 3)
    # Random, as the first components do not exist where all rows are equal.
    placed = TSNE(perplexity=perplexity, init="random", random_state=seed).fit_transform(rows)
    most = np.abs(placed).max()
    return np.asarray(placed / most if most > 0 else placed, np.float64)
