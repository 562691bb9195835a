"""Uniform: the plain sum. Topic: balance."""

import torch
from torch import Tensor

GRADIENTS = False


def uniform(
    losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]
) -> Tensor:
    """Give each of the T tasks the weight 1: losses (T,) -> (T,); the rest is not looked at.

    What the methods beside it must beat: tuned as well as they are, it often does as well (Kurin et al.
    2022).

    >>> uniform(torch.tensor([3.0, 1.0]), None, torch.eye(2), {}).tolist()
    [1.0, 1.0]
    """
    return torch.ones(len(losses), dtype=torch.float64)
