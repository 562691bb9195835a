"""affinity: whose losses a step on one task lowers (TAG). Fifty et al. 2021. Topic: diagnosis.

Differs: a loss is compared with its size, so that more is better also where losses are negative.
"""

import torch
from torch import Tensor


def affinity(before: Tensor, after: Tensor) -> Tensor:
    """Give Z[i, j] = 1 - after[i, j] / before[j]: losses (T,) and (T, T) -> (T, T), float64.

    `after[i, j]` is the loss of task j once the shared weights took a step on task i alone. Above 0, task i
    helps task j (Fifty et al. 2021, equation 1). NaN where a loss is 0 before. Raises ValueError where the
    shapes do not fit.

    >>> affinity(torch.tensor([1.0, 2.0]), torch.tensor([[0.5, 2.5], [1.0, 1.0]])).tolist()
    [[0.5, -0.25], [0.0, 0.5]]
    """
    size = len(before)
    if before.shape != (size,) or after.shape != (size, size):
        shapes = f"{tuple(before.shape)} and {tuple(after.shape)}"
        raise ValueError(f"losses before and after have shapes {shapes}; give (T,) and (T, T)")
    start, end = before.detach().double(), after.detach().double()
    return torch.where(start == 0, torch.nan, (start - end) / start.abs())
