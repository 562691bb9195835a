"""GradVac: gradients turn until they agree as much as they used to. Wang et al. 2021. Topic: balance."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.ops import active, on_active

GRADIENTS = True
BETA = 0.01  # of the running mean of cosines
ALIKE = 1 - 1e-6  # highest target: to reach a cosine of 1 takes an infinite gradient
Array = NDArray[np.float64]


def fresh(tasks: int) -> dict[str, Tensor]:
    """Count the steps, and aim at right angles (T, T) in the first."""
    targets = torch.zeros(tasks, tasks, dtype=torch.float64)
    return {"step": torch.zeros((), dtype=torch.int64), "targets": targets}


def gradvac(
    losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]
) -> Tensor:
    """Weigh T gradients so that their sum is that of the turned ones: gramian (T, T) -> (T,).

    Gradient i gets as much of gradient j as brings their cosine up to the running mean of what it was
    before, for one j after the other in random order. With targets at 0 this is PCGrad. Targets of
    tasks without a gradient stay as they are. Wang et al. 2021, algorithm 1.

    Differs: one target for a pair of tasks, where the paper has one for each layer or matrix as well.

    >>> gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0]]).double()
    >>> state = fresh(2)
    >>> weights = gradvac(torch.ones(2), None, gradients @ gradients.T, state)
    >>> (weights @ gradients).tolist(), round(state["targets"][0, 1].item(), 6)
    ([0.5, 1.5], -0.007071)
    """
    rng = np.random.default_rng(int(state["step"]))
    state["step"].add_(1)
    targets = state["targets"].cpu().double().numpy().copy()
    there = active(gramian)
    block = np.ix_(there, there)
    kept = targets[block]
    weights = on_active(gramian, partial(_turn, rng, kept))
    targets[block] = kept
    state["targets"].copy_(torch.from_numpy(targets))
    return weights


def _turn(rng: np.random.Generator, targets: Array, cosines: Array, norms: Array) -> Array:
    """Turn each gradient towards the others and move the `targets` (A, A), in place."""
    tasks = np.arange(len(norms))
    parts = np.eye(len(norms))  # row i: the i-th turned gradient, in unit gradients
    for others in rng.permuted(np.tile(tasks, (len(tasks), 1)), axis=1).T:
        along = np.einsum("ij,ij->i", parts, cosines[others])
        length = np.sqrt(np.einsum("ij,ij->i", parts @ cosines, parts).clip(min=0))
        pair = (others != tasks) & (length > 1e-7)  # below it, rounding has the direction
        now = (along / np.where(pair, length, 1)).clip(-1, 1)
        aim = targets[tasks, others].clip(max=ALIKE)
        turn = aim * np.sqrt((1 - now**2) / np.where(pair, 1 - aim**2, 1)) - now
        parts[tasks, others] += np.where(pair & (now < aim), length * turn, 0)
        targets[tasks, others] += np.where(pair, BETA * (now - targets[tasks, others]), 0)
    weights: Array = norms @ parts / norms
    return weights
