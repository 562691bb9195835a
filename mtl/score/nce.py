"""nce: how much source classes say of the target's. Tran, Nguyen, Hassner 2019. Topic: transferability."""

import numpy as np
from numpy.typing import ArrayLike


def nce(source: ArrayLike, labels: ArrayLike) -> float:
    """Give the negative conditional entropy -H(Y | Z) of target classes (N,) given source ones (N,), in nats.

    `source` holds each target example's source class, such as the likeliest by a source model (Tran et al.
    2019). More is better, from -H(Y) where they are independent to 0; but a source of very many
    classes knows each example by its own. Compare source models on ONE target. The names and the order of
    classes do not matter, nor does each example twice. Raises ValueError where sizes differ.

    >>> nce([7, 7, 3], ["a", "a", "b"]), round(nce([7, 7], ["a", "b"]), 6)
    (0.0, -0.693147)
    """
    z, y = np.asarray(source), np.asarray(labels)
    if z.ndim != 1 or z.shape != y.shape or not z.size:
        raise ValueError(f"source classes {z.shape}, labels {y.shape}; give (N,) of both")
    (_, own), (_, other) = (np.unique(each, return_inverse=True) for each in (z, y))
    joint = np.zeros((own.max() + 1, other.max() + 1))
    np.add.at(joint, (own, other), 1)
    given = joint / joint.sum(1, keepdims=True)
    return float(np.log(given[own, other]).mean())
