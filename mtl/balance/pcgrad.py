"""PCGrad: gradients lose what conflicts with others. Yu et al. 2020. Topic: balance."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.ops import on_active

GRADIENTS = True
Array = NDArray[np.float64]


def fresh(tasks: int) -> dict[str, Tensor]:
    """Count the steps: the order of the projections is drawn from their number alone."""
    return {"step": torch.zeros((), dtype=torch.int64)}


def pcgrad(
    losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]
) -> Tensor:
    """Weigh T gradients so that their sum is that of the projected ones: gramian (T, T) -> (T,).

    Each gradient loses its part along every other one that it points against, one after the other in
    random order. With two tasks the sum conflicts with neither. Yu et al. 2020, algorithm 1.

    >>> gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0]]).double()
    >>> weights = pcgrad(torch.ones(2), None, gradients @ gradients.T, fresh(2))
    >>> (weights @ gradients).tolist()  # (0.5, 0.5) and (0, 1)
    [0.5, 1.5]
    """
    rng = np.random.default_rng(int(state["step"]))
    state["step"].add_(1)
    return on_active(gramian, partial(_project, rng))


def _project(rng: np.random.Generator, cosines: Array, norms: Array) -> Array:
    tasks = np.arange(len(norms))
    parts = np.eye(len(norms))  # row i: the i-th projected gradient, in unit gradients
    for others in rng.permuted(np.tile(tasks, (len(tasks), 1)), axis=1).T:
        along = np.einsum("ij,ij->i", parts, cosines[others])
        parts[tasks, others] -= np.where(others != tasks, along.clip(max=0), 0)
    weights: Array = norms @ parts / norms
    return weights
