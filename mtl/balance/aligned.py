"""Aligned-MTL: gradients made orthogonal and equally long. Senushkin et al. 2023. Topic: balance."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mtl.ops import on_active

GRADIENTS = True
NOISE = float(np.finfo(np.float32).eps)  # relative, by task: what single precision leaves of zero
Array = NDArray[np.float64]


def aligned(
    losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]
) -> Tensor:
    """Weigh T gradients so that their sum is that of the aligned ones: gramian (T, T) -> (T,).

    The aligned matrix is the nearest whose singular values are all the smallest one of the gradients'
    (scale "min"): tasks neither conflict nor dominate. Singular values of noise are left out, also the
    gradients of a task some 1000 times smaller than others. Senushkin et al. 2023, algorithm 1, with
    every task's preference 1, as in the authors' code.

    >>> gradients = Tensor([[3.0, 0.0], [0.0, 1.0]]).double()
    >>> (aligned(Tensor([1.0, 1.0]), None, gradients @ gradients.T, {}) @ gradients).tolist()
    [1.0, 1.0]
    """
    return on_active(gramian, _align)


def _align(cosines: Array, norms: Array) -> Array:
    lengths = norms / norms.max()
    values, vectors = np.linalg.eigh(cosines * np.outer(lengths, lengths))
    kept = values > values.max() * len(norms) * NOISE
    values, vectors = values[kept], vectors[:, kept]
    weights: Array = vectors @ (vectors.sum(0) * np.sqrt(values.min() / values))
    return weights
