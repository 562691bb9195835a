"""UW: tasks count by learnt uncertainties. Kendall, Gal, Cipolla 2018. Topic: balance."""

import torch
from torch import Tensor

GRADIENTS = False
RATE = 0.01  # of the descent on s: the weights follow the losses in about 1 / RATE steps
BOUND = 7.0  # of s in both directions: weights between 1/1100 and 1100


def fresh(tasks: int) -> dict[str, Tensor]:
    """Start with s = log sigma^2 (T,) at 0, where every weight is 1."""
    return {"s": torch.zeros(tasks, dtype=torch.float64)}


def uw(losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Give the weights exp(-s), after a step of descent of s on exp(-s) L + s: losses (T,) -> (T,).

    A loss that stays at L ends with the weight 1 / L, so tasks on other scales count alike. A loss that
    is not finite leaves its s as it was. Kendall et al. 2018, equation 7, twice over.

    Differs: one form for regression and classification, where the paper halves s for the latter; s is
    learnt by its own rate, its slope is held within 1 and s within `BOUND`, so that a wild loss, or one
    at 0 or below, does not run away with the step.

    >>> state = fresh(2)
    >>> for _ in range(1000):
    ...     weights = uw(torch.tensor([4.0, 0.5]), None, torch.eye(2), state)
    >>> [round(weight, 3) for weight in weights.tolist()]
    [0.25, 2.0]
    """
    s = state["s"].cpu().double()
    slope = (1 - torch.exp(-s) * losses).clamp(-1, 1)
    s = (s - RATE * slope.where(losses.isfinite(), 0.0)).clamp(-BOUND, BOUND)
    state["s"].copy_(s)
    return torch.exp(-s)
