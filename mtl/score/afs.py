"""afs: which columns a network is sensitive to, by Fisher information. Rusu et al. 2016. Topic: diagnosis."""

from torch import Tensor


def afs(fisher: Tensor) -> Tensor:
    """Give each column's share of a layer's information: (K columns, M units) -> (K,), float64, summing to 1.

    `fisher[k, m]` is the mean squared derivative of the log-likelihood with respect to unit m of column k,
    normalised to variance 1. Shares are taken unit by unit and averaged (Rusu et al. 2016, section 3).
    Units of which no column has any information are left out; NaN where none is left. Raises ValueError for
    other shapes.

    >>> import torch
    >>> afs(torch.tensor([[1.0, 0.0, 0.0], [1.0, 4.0, 0.0]])).tolist()
    [0.25, 0.75]
    """
    if fisher.dim() != 2:
        raise ValueError(f"fisher has shape {tuple(fisher.shape)}; give (K columns, M units)")
    values = fisher.detach().double()
    informed = values[:, values.sum(0) > 0]
    return (informed / informed.sum(0)).mean(1)
