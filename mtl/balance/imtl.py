"""IMTL-G: a step with the same part along every task's gradient. Liu et al. 2021. Topic: balance."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mtl.ops import on_active

GRADIENTS = True
LEAST = 1e-8  # eigenvalue of the cosines that counts; dependent gradients would give none
SIGNED = 0.1  # how far the weights' sum may fall below the sum of their sizes
Array = NDArray[np.float64]


def imtl(losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Give weights of sum 1 with equal products of the step and all unit gradients: (T, T) -> (T,).

    The direction does not depend on the gradients' lengths. Weights may be negative. Liu et al. 2021
    ("Towards impartial multi-task learning"), the closed form of section 3.1, here by the inverse of the
    matrix of cosines.

    Differs: where negative weights bring the sum near 0, or below, the closed form gives boundless steps,
    or uphill ones; there the sizes of the weights sum to 1 / SIGNED instead.

    >>> gradients = Tensor([[3.0, 0.0], [0.0, 1.0]]).double()
    >>> weights = imtl(Tensor([1.0, 1.0]), None, gradients @ gradients.T, {})
    >>> weights.tolist(), (weights @ gradients).tolist()
    ([0.25, 0.75], [0.75, 0.75])
    """
    return on_active(gramian, _impartial)


def _impartial(cosines: Array, norms: Array) -> Array:
    values, vectors = np.linalg.eigh(cosines)
    weights: Array = vectors @ (vectors.sum(0) / values.clip(min=LEAST)) / norms
    weights /= max(weights.sum(), SIGNED * np.abs(weights).sum())
    return weights
