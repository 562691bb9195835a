"""CAGrad: near the mean gradient, the best for the worst-off task. Liu et al. 2021. Topic: balance."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, nnls
from torch import Tensor

from mtl.ops import on_active

GRADIENTS = True
C = 0.4  # how far the step may lie from the mean, in lengths of the mean
NEAR = 1e-6  # least t; below it no task can be helped, and the step goes as far as it helps
Array = NDArray[np.float64]


def cagrad(
    losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]
) -> Tensor:
    """Give the weights of d / (1 + C^2), d the best step near the mean gradient: (T, T) -> (T,).

    d maximises min_t g_t . d in the ball of radius C |g_0| around the mean g_0. With g_w the convex
    combination that minimises g_w . g_0 + C |g_0| |g_w|, d = g_0 + C |g_0| g_w / |g_w|. Liu et al. 2021
    ("Conflict-averse gradient descent"), algorithm 1, with the scale of the authors' code.

    Differs: solved exactly where they use SLSQP.

    >>> gradients = Tensor([[1.0, 0.0], [0.0, 1.0]]).double()
    >>> step = cagrad(Tensor([1.0, 1.0]), None, gradients @ gradients.T, {}) @ gradients
    >>> (step * (1 + C**2) / (1 + C)).numpy().round(6).tolist()
    [0.5, 0.5]
    """
    return on_active(gramian, _averse)


def _averse(cosines: Array, norms: Array) -> Array:
    """Find the t = |g_w| / (C |g_0|) for which g_w is the shortest g_w + t g_0.

    As |g_w| <= |g_w|^2 / 2a + a / 2 with equality at a = |g_w|, minimising over a = t C |g_0| as well
    changes nothing, and g_w for a given t is one small problem. Between its corners |g_w|^2 is a line
    in t^2, so the search in t^2 ends quickly.
    """
    values, vectors = np.linalg.eigh(cosines)
    gradients = np.sqrt(values.clip(min=0))[:, None] * vectors.T * (norms / norms.max())
    mean = gradients.mean(1)
    radius = C * float(np.linalg.norm(mean))
    even = np.full(len(norms), 1 / len(norms))
    if radius < 1e-8:  # in lengths of the longest: what rounding leaves of no mean at all
        return even / (1 + C**2)
    squares = NEAR**2, (2 / radius) ** 2

    def excess(square: float) -> float:
        shortest = gradients @ _shortest(gradients + np.sqrt(square) * mean[:, None])
        return float(shortest @ shortest - radius**2 * square)

    found = squares[0] if excess(squares[0]) <= 0 else brentq(excess, *squares, xtol=1e-15)
    t = np.sqrt(found)
    weights: Array = even + _shortest(gradients + t * mean[:, None]) / t
    return weights / (1 + C**2)


def _shortest(points: Array) -> Array:
    """Give the convex weights (A,) of the shortest combination of the columns (D, A)."""
    problem = np.vstack([points, np.ones(points.shape[1])])
    found, _ = nnls(problem, np.append(np.zeros(len(points)), 1))
    weights: Array = found / found.sum()
    return weights
