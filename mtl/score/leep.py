"""leep: how well source classes foretell the target's. Nguyen et al. 2020. Topic: transferability."""

import numpy as np
from numpy.typing import ArrayLike


def leep(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Give the mean log-likelihood of target classes (N,), in nats, from a source model's (N, Z).

    `probabilities` is what the source model, untrained on the target, thinks of target examples. A target
    class is foretold by P(y | z), counted on these very examples (Nguyen et al. 2020, equation 2). More
    is better, 0 at most; as classes get more and rarer it falls, so compare source models on ONE target.
    The names and the order of classes do not matter, nor does each example twice. Raises ValueError for
    rows that do not sum to 1, or one label per row is missing.

    >>> sure = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    >>> leep(sure, ["a", "a", "b", "b"]), round(leep(sure, ["a", "b", "a", "b"]), 6)
    (0.0, -0.693147)
    """
    theta, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    if theta.ndim != 2 or y.shape != theta.shape[:1] or not y.size:
        raise ValueError(f"probabilities {theta.shape}, labels {y.shape}; give (N, Z) and (N,)")
    if (theta < 0).any() or not np.allclose(theta.sum(1), 1, atol=1e-3):
        raise ValueError(f"rows of probabilities sum to {theta.sum(1).min():.3g} at least; give 1")
    classes, numbers = np.unique(y, return_inverse=True)
    joint = np.eye(len(classes))[numbers].T @ theta  # (Y, Z)
    given = joint / np.maximum(
        joint.sum(0), 1e-300
    )  # a class that nobody is taken for plays no part
    likelihood = (theta * given[numbers]).sum(1)
    return float(np.log(likelihood).mean())
