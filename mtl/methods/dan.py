"""DAN: samples meet in several layers, under the kernels that tell them apart best. Long et al. 2015.

Topic: adaptation.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from mtl.domains import Aligning
from mtl.model import Model
from mtl.score.mmd import SCALES, Distances, distances

RATE = 0.1  # of the mean over steps that the kernels' weights come from
Array = NDArray[np.float64]


def dan(zs: Tensor, zt: Tensor, beta: Tensor, scales: Sequence[float] = SCALES) -> Tensor:
    """Give the squared MMD () under the kernel sum_u beta_u exp(-d^2 / gamma_u): (N, D), (M, D), (U,).

    gamma_u is `scales[u]` times the median of all squared distances. It is unbiased, so below 0 where the
    samples are alike. Kernels of weight 0 cost nothing.

    >>> dan(torch.tensor([[0.0], [0.1]]), torch.tensor([[5.0], [5.1]]), torch.ones(1), [1.0]).item() > 1
    True
    """
    return _mixed(distances(zs, zt), beta, scales)


def _mixed(found: Distances, beta: Tensor, scales: Sequence[float]) -> Tensor:
    used = beta > 0
    gammas = found.median() * torch.tensor(scales).to(found.squared)[used]
    return (beta[used].to(gammas) * found.estimate(found.kernels(gammas))).sum()


def best_kernels(gaps: Array, spread: Array, ridge: float = 1e-3) -> Array:
    """Give the weights beta >= 0 (U,), of sum 1, of the most powerful two-sample test.

    They maximise (gaps @ beta)^2 / beta' (spread + ridge I) beta, from the squared MMD (U,) of each kernel
    and the covariance (U, U) of its terms (Long et al. 2015, equation 9; Gretton et al. 2012b). All are
    equal where no kernel sees a difference.

    >>> best_kernels(np.array([0.2, 0.2, -0.1]), np.diag([1.0, 3.0, 1.0]), ridge=0.0).round(3).tolist()
    [0.75, 0.25, 0.0]
    """
    even = np.full(len(gaps), 1 / len(gaps))
    if not (np.isfinite(gaps).all() and np.isfinite(spread).all() and (gaps > 0).any()):
        return even
    # min beta' A beta with gaps @ beta = 1 is, but for the length, min |R beta - R'^-1 gaps| with A = R'R.
    root = np.linalg.cholesky(spread + ridge * np.eye(len(gaps))).T
    beta: Array = nnls(root, np.linalg.solve(root.T, gaps))[0]
    return beta / beta.sum() if beta.sum() > 0 else even


def kernel_statistics(found: Distances, scales: Sequence[float] = SCALES) -> tuple[Tensor, Tensor]:
    """Give the squared MMD (U,) of each kernel and the covariance (U, U) of its terms; no gradient.

    A term compares two sources and two targets: k(s, s') + k(t, t') - k(s, t') - k(s', t). All pairs of the
    first min(N, M) rows of both samples make one.
    """
    n, squared = found.sources, found.squared.detach()
    rows = min(n, len(squared) - n)
    i, j = torch.triu_indices(rows, rows, 1, device=squared.device)
    gammas = (found.median() * torch.tensor(scales).to(squared))[:, None]
    within = torch.exp(-squared[i, j] / gammas) + torch.exp(-squared[n + i, n + j] / gammas)
    across = torch.exp(-squared[i, n + j] / gammas) + torch.exp(-squared[j, n + i] / gammas)
    terms = within - across
    return terms.mean(1), torch.cov(terms, correction=0)


class DAN(Aligning):
    """A task's loss plus `weight` times the MMD in each of several blocks, terms by place.

    Name the last few blocks in `at`, and tasks in `scores`: general layers below need no adaptation. Each
    place has its own kernel weights `beta` (places, U), solved anew in every step from means over the last
    steps. The other arguments are those of `mtl.domains.Aligning`.

    Differs: the quadratic-time estimate where the paper takes the linear one, of which the batches of a
    step have too few terms; for the same reason the covariance is taken over all pairs of rows.
    """

    beta: Tensor
    gaps: Tensor
    spread: Tensor

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        at: str | Sequence[str] = "",
        scores: str | Sequence[str] = (),
        weight: float = 1.0,
        kernels: Sequence[float] = SCALES,
    ) -> None:
        super().__init__(source, target, at, scores, weight)
        self.kernels = tuple(kernels)
        if not self.kernels or min(self.kernels) <= 0:
            raise ValueError(f"kernels {list(kernels)}: give multiples of the median, above 0")

    def build(self, model: Model) -> None:
        """Start with equal weights."""
        super().build(model)
        size = (len(self.places), len(self.kernels))
        self.register_buffer("beta", torch.full(size, 1 / size[1]))
        self.register_buffer("gaps", torch.full(size, torch.nan, dtype=torch.float64))
        self.register_buffer("spread", torch.zeros(*size, size[1], dtype=torch.float64))

    def compare(self, place: int, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Choose the kernels, then give the mean MMD by them."""
        found = [distances(zs, zt) for zs, zt in pairs]
        if self.training and len(self.kernels) > 1:
            self._weigh(place, found)
        mixed = [_mixed(each, self.beta[place], self.kernels) for each in found]
        return torch.stack(mixed).mean()

    @torch.no_grad()
    def _weigh(self, place: int, found: Sequence[Distances]) -> None:
        """Take in what a step saw at a place, and solve for its kernels."""
        seen = [kernel_statistics(each, self.kernels) for each in found]
        gaps, spread = (torch.stack(each).mean(0).double() for each in zip(*seen, strict=True))
        rate = 1.0 if bool(self.gaps[place].isnan().any()) else RATE
        self.gaps[place] = gaps if rate == 1 else self.gaps[place].lerp(gaps, rate)
        self.spread[place] = self.spread[place].lerp(spread, rate)
        beta = best_kernels(self.gaps[place].cpu().numpy(), self.spread[place].cpu().numpy())
        self.beta[place] = torch.from_numpy(beta)
