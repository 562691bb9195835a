"""MMD: how far two samples lie apart, by Gaussian kernels. Gretton et al. 2012. Topic: adaptation.

Every estimate is of the SQUARED distance. The unbiased ones fall below 0 where the two are alike.
"""

from typing import NamedTuple

import torch
from torch import Tensor

SCALES = tuple(2.0 ** (step / 2) for step in range(-16, 17))  # of DAN: times the median


class Distances(NamedTuple):
    """Squared distances between all rows of two samples: `squared` (N + M, N + M), the N sources first."""

    squared: Tensor
    sources: int

    def median(self) -> Tensor:
        """Give the median () over all pairs, sources and targets pooled; no gradient, never 0."""
        rows = len(self.squared)
        over = torch.triu_indices(rows, rows, 1, device=self.squared.device)
        pairs = self.squared.detach()[over[0], over[1]]
        # Where most rows are equal the median is 0, and says nothing of how far apart the others are.
        return torch.where(pairs.median() > 0, pairs.median(), pairs.mean()).clamp(min=1e-30)

    def kernels(self, gammas: Tensor) -> Tensor:
        """Give exp(-squared / gamma) for each of `gammas` (U,): (U, N + M, N + M)."""
        return torch.exp(-self.squared / gammas[:, None, None])

    def estimate(self, kernels: Tensor, biased: bool = False) -> Tensor:
        """Give the squared MMD (U,) by each of `kernels` (U, N + M, N + M)."""
        n, m = self.sources, len(self.squared) - self.sources
        weights = kernels.new_full((n + m, n + m), -1 / (n * m))
        for block, rows in ((slice(n), n), (slice(n, None), m)):
            weights[block, block] = 1 / rows**2 if biased else 1 / (rows * (rows - 1))
        if not biased:
            weights.fill_diagonal_(0.0)
        with torch.autocast(kernels.device.type, enabled=False):
            return kernels.flatten(1) @ weights.flatten()


def distances(zs: Tensor, zt: Tensor) -> Distances:
    """Compare the rows of two samples: (N, D) and (M, D), in float32 at least.

    >>> distances(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0]])).squared.int().tolist()
    [[0, 9, 1], [9, 0, 4], [1, 4, 0]]
    """
    with torch.autocast(zs.device.type, enabled=False):
        rows = torch.cat([zs, zt])
        rows = rows if rows.dtype == torch.float64 else rows.float()
        # Distances stay the same, and large numbers that nearly cancel do not arise.
        rows = rows - rows.detach().mean(0)
        norms = rows.square().sum(1)
        squared = (norms[:, None] + norms - 2 * rows @ rows.T).clamp(min=0.0)
        own = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        return Distances(squared.masked_fill(own, 0.0), len(zs))


def mmd_unbiased(zs: Tensor, zt: Tensor, gammas: Tensor | None = None) -> Tensor:
    """Give the squared MMD by the kernels exp(-d^2 / gamma): (N, D), (M, D) and (U,) -> (U,).

    Gretton et al. 2012, equation 3: no row is compared with itself. The default gamma is the median of
    all squared distances. Raises ValueError for fewer than 2 rows.

    >>> here, there = torch.tensor([[0.0], [1.0]]), torch.tensor([[8.0], [9.0]])
    >>> [round(mmd_unbiased(here, other).item(), 2) for other in (here, there)]
    [-0.63, 1.41]
    """
    _enough(zs, zt)
    return _estimate(zs, zt, gammas, biased=False)


def mmd_biased(zs: Tensor, zt: Tensor, gammas: Tensor | None = None) -> Tensor:
    """Give the same with every row compared with itself too: at least 0, and too large by about 1/N + 1/M.

    Gretton et al. 2012, equation 5.

    >>> mmd_biased(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]])).item()
    0.0
    """
    return _estimate(zs, zt, gammas, biased=True)


def mmd_linear(zs: Tensor, zt: Tensor, gammas: Tensor) -> Tensor:
    """Give terms whose mean is the squared MMD, in time linear in N: (N, D), (M, D), (U,) -> (U, R).

    Gretton et al. 2012, lemma 14: each of the R = min(N, M) // 2 terms takes two rows of each sample that no
    other takes, so rows should stand in random order.

    >>> mmd_linear(torch.zeros(5, 1), torch.ones(4, 1), torch.ones(1)).shape
    torch.Size([1, 2])
    """
    used = min(len(zs), len(zt)) // 2 * 2
    s1, s2, t1, t2 = zs[:used:2], zs[1:used:2], zt[:used:2], zt[1:used:2]

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-(a - b).square().sum(1) / gammas[:, None])

    return kernel(s1, s2) + kernel(t1, t2) - kernel(s1, t2) - kernel(s2, t1)


def _estimate(zs: Tensor, zt: Tensor, gammas: Tensor | None, biased: bool) -> Tensor:
    found = distances(zs, zt)
    gammas = found.median()[None] if gammas is None else gammas
    return found.estimate(found.kernels(gammas), biased)


def _enough(zs: Tensor, zt: Tensor) -> None:
    if min(len(zs), len(zt)) < 2:
        raise ValueError(
            f"{len(zs)} source and {len(zt)} target rows; give 2 of each at least, or take mmd_biased"
        )
