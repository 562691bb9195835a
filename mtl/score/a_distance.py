"""A-distance: how well a classifier tells two domains apart. Ben-David et al. 2007. Topic: adaptation."""

import numpy as np
from numpy.typing import ArrayLike

from mtl.apart import log_odds


def a_distance(source: ArrayLike, target: ArrayLike, folds: int = 5, seed: int = 0) -> float:
    """Give the proxy A-distance of features (N, D) and (M, D): 2 (1 - 2 error), from 0 (alike) to 2.

    The error is that of a logistic regression on examples that it was not trained on, the mean over both
    domains (Ben-David et al. 2007, section 5): those it was trained on, wide features always tell apart.
    Where several examples stem from one speaker or picture, keep one of them: the classifier would know it
    again. Raises ValueError where a domain has fewer than `folds` examples.

    >>> a_distance([[0.0], [1.0], [0.5]] * 5, [[8.0], [9.0], [9.5]] * 5)
    2.0
    """
    own, other = log_odds(source, target, folds, seed)
    error = (np.mean(own > 0) + np.mean(other <= 0)) / 2
    return float(np.clip(2 * (1 - 2 * error), 0, 2))
