"""apart: a classifier that tells two samples apart, on examples that it was not trained on."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def log_odds(
    source: ArrayLike, target: ArrayLike, folds: int = 5, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give log p(target) - log p(source) of each row: (N, D) and (M, D) -> (N,) and (M,).

    Each comes from the logistic regression of the other folds, in which both samples weigh the same: so it
    estimates the logarithm of the ratio of densities. Raises ValueError for fewer rows than folds.

    >>> source, target = log_odds([[0.0], [1.0], [2.0]] * 5, [[7.0], [8.0], [9.0]] * 5)
    >>> bool(source.max() < 0 < target.min())
    True
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    samples = [np.asarray(each, np.float64) for each in (source, target)]
    sizes = [len(each) for each in samples]
    if min(sizes) < folds:
        raise ValueError(f"samples of {sizes} rows; {folds} folds need {folds} of each at least")
    rows, side = np.concatenate(samples), np.repeat([0, 1], sizes)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    odds = cross_val_predict(regression(), rows, side, cv=parts, method="decision_function")
    return odds[side == 0], odds[side == 1]


def regression() -> Any:
    """Make a logistic regression of standardised columns, in which all classes weigh the same."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    logistic = LogisticRegression(class_weight="balanced", max_iter=10000)
    return make_pipeline(StandardScaler(), logistic)
