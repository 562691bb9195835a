"""UPGrad: each gradient, made to harm no task, then their mean. Quinton, Rey 2024. Topic: balance."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from mtl.ops import on_active

GRADIENTS = True
Array = NDArray[np.float64]


def upgrad(
    losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]
) -> Tensor:
    """Weigh T gradients so that their sum is the mean of the projected ones: gramian (T, T) -> (T,).

    Each gradient is projected onto the dual cone, the vectors that have no negative product with any
    gradient; so the mean conflicts with none, and grows with each gradient's length. Quinton and Rey
    2024, section 3: (1/T) sum_i projection(g_i).

    Differs: the projections are exact, where the authors' code regularises the Gramian.

    >>> gradients = Tensor([[1.0, 0.0], [-1.0, 1.0]]).double()
    >>> weights = upgrad(Tensor([1.0, 1.0]), None, gradients @ gradients.T, {})
    >>> (weights @ gradients).numpy().round(6).tolist()  # of (0.5, 0.5) and (0, 1)
    [0.25, 0.75]
    """
    return on_active(gramian, _project)


def _project(cosines: Array, norms: Array) -> Array:
    """The projection of g adds to it the v >= 0 of the gradients that leave |g + sum_j v_j g_j| least."""
    values, vectors = np.linalg.eigh(cosines)
    gradients = np.sqrt(values.clip(min=0))[:, None] * vectors.T
    added = np.array([nnls(gradients, -gradient)[0] for gradient in gradients.T])
    weights: Array = norms @ (np.eye(len(norms)) + added) / norms
    return weights / len(norms)
