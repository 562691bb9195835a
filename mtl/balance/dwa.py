"""DWA: tasks whose loss falls slowest count most. Liu, Johns, Davison 2019. Topic: balance."""

import torch
from torch import Tensor

GRADIENTS = False
TEMPERATURE = 2.0
WINDOW = 100  # losses of a task that are averaged
STEEPEST = 10.0  # ratio of losses; more would be an accident, and overflow


def fresh(tasks: int) -> dict[str, Tensor]:
    """Start without averages: all (T,), `older` and `newer` NaN until their windows are full."""
    zeros = torch.zeros(tasks, dtype=torch.float64)
    return {"sum": zeros, "count": zeros.clone(), "older": zeros / 0, "newer": zeros / 0}


def dwa(losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Give T softmax(r / TEMPERATURE), r = mean loss now / mean loss before: losses (T,) -> (T,).

    All weights are 1 while fewer than two windows are full. Weights of tasks whose loss is finite sum to
    their number; the others take no part. Liu et al. 2019, equation 7.

    Differs: averages are over windows of `WINDOW` losses of a task, where the paper's are over epochs,
    which streams that repeat at different rates do not share.

    >>> state = fresh(2)
    >>> for step in range(2 * WINDOW):
    ...     falling, level = 2.0 if step < WINDOW else 1.0, 5.0
    ...     weights = dwa(torch.tensor([falling, level]), None, torch.eye(2), state)
    >>> [round(weight, 3) for weight in weights.tolist()]
    [0.876, 1.124]
    """
    total, count, older, newer = (
        state[name].cpu().double() for name in ("sum", "count", "older", "newer")
    )
    seen = losses.isfinite()
    total, count = total + losses.where(seen, 0.0), count + seen
    full = count == WINDOW
    older, newer = newer.where(full, older), (total / WINDOW).where(full, newer)
    state["older"].copy_(older)
    state["newer"].copy_(newer)
    state["sum"].copy_(total.where(~full, 0.0))
    state["count"].copy_(count.where(~full, 0.0))
    ratio = (newer / older).where(older > 0, 1.0).clamp(0, STEEPEST)
    each = torch.exp(ratio / TEMPERATURE)
    return each * seen.sum() / each[seen].sum() if seen.any() else torch.ones_like(each)
