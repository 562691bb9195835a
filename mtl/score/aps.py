"""aps: which columns a network is sensitive to, by noise it bears. Rusu et al. 2016. Topic: diagnosis."""

from torch import Tensor


def aps(deviations: Tensor) -> Tensor:
    """Give each column's share of a layer's precision: (K,) -> (K,), float64, summing to 1.

    `deviations[k]` is the standard deviation of the noise on column k that halves the score, infinite where
    none does; the precision is 1 / deviation^2 (Rusu et al. 2016, section 3). NaN where no column matters.
    Raises ValueError for a deviation that is not above 0.

    >>> import torch
    >>> aps(torch.tensor([1.0, 0.5, torch.inf])).tolist()
    [0.2, 0.8, 0.0]
    """
    if not bool((deviations > 0).all()):
        raise ValueError(f"deviations {deviations.tolist()}; all must be above 0")
    precision = 1 / deviations.detach().double().square()
    return precision / precision.sum()
