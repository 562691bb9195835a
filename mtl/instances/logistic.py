"""logistic: the ratio of two densities, from a classifier of domains. Bickel et al. 2007. Topic: adaptation.

Bickel, Brückner, Scheffer: discriminative learning for differing training and test distributions.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtl.apart import log_odds


def logistic(
    source: ArrayLike, target: ArrayLike, folds: int = 5, seed: int = 0
) -> NDArray[np.float64]:
    """Estimate p_target(x) / p_source(x) of each source row: (N, D) and (M, D) -> (N,), above 0.

    More weight, more like the target: of use where the domains differ in p(x) alone. A row's odds come from
    a logistic regression that was not trained on it, in which both domains weigh the same. It is right where
    the logarithm of the ratio is linear in x. Moving columns or scaling each by its own factor changes
    nothing. As `Batch.weights`, divide by the mean. Raises ValueError for samples of fewer rows than `folds`.

    >>> weights = logistic([[0.0], [1.0], [2.0]] * 5, [[1.0], [2.0], [3.0]] * 5)
    >>> bool((np.diff(weights[:3]) > 0).all())
    True
    """
    return np.exp(log_odds(source, target, folds, seed)[0])
