"""MGDA: the shortest step in the hull of gradients. Désidéri 2012; Sener, Koltun 2018. Topic: balance."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from mtl.ops import on_active

GRADIENTS = True
Array = NDArray[np.float64]


def mgda(losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Give the w >= 0 of sum 1 that minimise |sum_t w_t g_t|: gramian (T, T) -> (T,).

    The step improves all tasks alike, to first order; it is zero only where none can improve without
    another's loss. The shortest gradient tells most, so a task that is nearly learnt holds all others
    up; a gradient of exactly zero would stop them, and gets the weight 0 instead. Sener and Koltun
    2018, equation 3, without normalisation, and solved exactly where theirs is iterated.

    >>> gradients = Tensor([[3.0, 0.0], [0.0, 1.0]]).double()
    >>> mgda(Tensor([1.0, 1.0]), None, gradients @ gradients.T, {}).numpy().round(6).tolist()
    [0.1, 0.9]
    """
    return on_active(gramian, _shortest)


def _shortest(cosines: Array, norms: Array) -> Array:
    """With x = s w, |Gx|^2 + (1 - sum x)^2 is least, over x >= 0, for the w asked for and some s > 0.

    In x norms, columns of the problem are unit gradients, and tiny ones lose no precision.
    """
    values, vectors = np.linalg.eigh(cosines)
    gradients = np.sqrt(values.clip(min=0))[:, None] * vectors.T
    problem = np.vstack([gradients, norms.min() / norms])
    found, _ = nnls(problem, np.append(np.zeros(len(norms)), 1))
    weights: Array = found / norms
    weights /= weights.sum()
    return weights
