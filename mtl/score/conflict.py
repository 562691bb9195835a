"""conflict: how far the gradients of tasks point against each other. Yu et al. 2020. Topic: diagnosis."""

import torch
from torch import Tensor


def conflict(gramian: Tensor) -> Tensor:
    """Give the cosines of gradients from their inner products: gramian (T, T) -> (T, T), float64.

    Below 0, what lowers one loss raises the other (Yu et al. 2020, definition 1). The row and column of a
    gradient that is zero are NaN. Raises ValueError where the Gramian is not square.

    >>> gradients = torch.tensor([[3.0, 0.0], [-1.0, 0.0]])
    >>> conflict(gradients @ gradients.T).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    _square("gramian", gramian)
    inner = gramian.detach().double()
    norms = inner.diagonal().sqrt()
    # One division after the other: the product of two tiny norms may be zero.
    return (inner / norms[:, None] / norms).clamp(-1, 1)


def share(cosines: Tensor) -> float:
    """Give the share of the pairs of tasks whose cosine is below 0: (T, T) -> 0 to 1.

    Pairs that are NaN do not count; NaN where none is left. Raises ValueError as `conflict` does.

    >>> share(torch.tensor([[1.0, -0.5, 0.5], [-0.5, 1.0, torch.nan], [0.5, torch.nan, 1.0]]))
    0.5
    """
    _square("cosines", cosines)
    pairs = cosines[torch.ones_like(cosines, dtype=torch.bool).triu(1)]
    return float((pairs[~pairs.isnan()] < 0).double().mean())


def _square(name: str, matrix: Tensor) -> None:
    if matrix.dim() != 2 or len(set(matrix.shape)) != 1:
        raise ValueError(f"{name} has shape {tuple(matrix.shape)}; give (T, T), a row per task")
