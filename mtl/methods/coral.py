"""CORAL: the covariances of source and target meet. Sun, Feng, Saenko 2016. Topic: adaptation.

Sun and Saenko 2016 (Deep CORAL) make it a loss.
"""

import math

import torch
from torch import Tensor

from mtl.domains import Aligning


def coral(zs: Tensor, zt: Tensor) -> Tensor:
    """Give ||C_s - C_t||^2 / (4 D^2), (), of the covariances of (N, D) and (M, D), in float32 at least.

    Sun and Saenko 2016, equations 1 to 3. Values of 1e-6 are usual: choose a weight that makes it as large
    as the task's loss at the end of training. With fewer rows than columns the covariances are never made:
    the norm follows from the products of the rows. Raises ValueError for fewer than 2 rows.

    >>> coral(torch.tensor([[1.0], [-1.0]]), torch.tensor([[3.0], [5.0], [4.0]]))
    tensor(0.2500)
    """
    if min(len(zs), len(zt)) < 2:
        raise ValueError(
            f"{len(zs)} source and {len(zt)} target rows; a covariance needs 2 of each at least"
        )
    with torch.autocast(zs.device.type, enabled=False):
        rows, width = torch.cat([_centred(zs), _centred(zt)]), zs.shape[1]
        signs = torch.ones_like(rows[:, 0])
        signs[len(zs) :] = -1
        if len(rows) < width:  # ||X'SX||^2 is the trace of (SXX')^2, where S holds the signs
            half = torch.dot(signs, (rows @ rows.detach().T).square() @ signs)
            norm = 2 * half - half.detach()  # both factors have one gradient: computed once
        else:
            norm = ((signs[:, None] * rows).T @ rows).square().sum()
        return norm / (4 * width**2)


def _centred(z: Tensor) -> Tensor:
    """Centre rows, so that the covariance is the plain product."""
    z = z if z.dtype == torch.float64 else z.float()
    return (z - z.mean(0)) / math.sqrt(len(z) - 1)


def recolour(source: Tensor, target: Tensor, ridge: float = 1.0) -> Tensor:
    """Give source rows the covariance of the target, in closed form: (N, D) and (M, D) -> (N, D).

    Sun, Feng, Saenko 2016, algorithm 1: whitened by their own covariance, then coloured with the target's, to
    both of which `ridge` times the identity is added. Make both sets have mean 0 and deviation 1 before.

    >>> wide, narrow = torch.tensor([[-3.0], [0.0], [3.0]]), torch.tensor([[-1.0], [0.0], [1.0]])
    >>> recolour(wide, narrow, ridge=0.0).round().tolist()
    [[-1.0], [0.0], [1.0]]
    """
    own, other = (_covariance(z.double()) for z in (source, target))
    return (source.double() @ _power(own, -0.5, ridge) @ _power(other, 0.5, ridge)).to(source)


def _covariance(z: Tensor) -> Tensor:
    return torch.cov(z.T).view(z.shape[1], z.shape[1])


def _power(matrix: Tensor, power: float, ridge: float) -> Tensor:
    """Raise a positive matrix, plus `ridge` times the identity, to a power."""
    values, vectors = torch.linalg.eigh(matrix)
    powers = (values.clamp(min=0) + ridge) ** power
    raised: Tensor = (vectors * powers) @ vectors.T
    return raised


class CORAL(Aligning):
    """A task's loss plus `weight` times the distance of the covariances, terms by place.

    The paper compares the class scores: `CORAL(at=(), scores=["digit"])`. The arguments are those of
    `mtl.domains.Aligning`.
    """

    def distance(self, zs: Tensor, zt: Tensor) -> Tensor:
        """Give the distance of the covariances."""
        return coral(zs, zt)
