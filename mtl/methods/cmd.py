"""CMD: the central moments of source and target meet. Zellinger et al. 2017. Topic: adaptation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl.domains import Aligning


def cmd(zs: Tensor, zt: Tensor, moments: int = 5, span: float = 1.0) -> Tensor:
    """Give the central moment discrepancy () of (N, D) and (M, D), which lie in an interval `span` wide.

    ||E zs - E zt|| / span + sum over k = 2 ... `moments` of ||c_k(zs) - c_k(zt)|| / span^k, with c_k the k-th
    central moments of each coordinate (Zellinger et al. 2017, equation 8). The span of sigmoids is 1, that
    of tanh 2. Raises ValueError where values lie further apart: there it measures nothing.

    >>> cmd(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [0.5]]), moments=2).item()
    0.25
    """
    zs, zt = (z if z.dtype == torch.float64 else z.float() for z in (zs, zt))
    low, high = (float(x) for x in torch.cat([zs, zt]).detach().aminmax())
    if high - low > 1.001 * span:
        raise ValueError(
            f"values from {low:.3g} to {high:.3g} do not lie in an interval of span {span}; squash them "
            "by a sigmoid (span 1) or tanh (span 2) first"
        )
    means = zs.mean(0), zt.mean(0)
    centred = (zs - means[0]) / span, (zt - means[1]) / span
    powers = centred
    total: Tensor = torch.linalg.vector_norm((means[0] - means[1]) / span)
    for _ in range(2, moments + 1):
        powers = powers[0] * centred[0], powers[1] * centred[1]
        # Its gradient at 0 is 0, where that of a root of squares is not a number.
        total = total + torch.linalg.vector_norm(powers[0].mean(0) - powers[1].mean(0))
    return total


class CMD(Aligning):
    """A task's loss plus `weight` times the discrepancy of `moments` moments, terms by place.

    Features pass a sigmoid first, unless `span` says how wide the interval is in which they lie already
    (2 for a trunk that ends in tanh). The other arguments are those of `mtl.domains.Aligning`.

    Differs: the sigmoid is no part of the network; heads read what is before it.
    """

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        at: str | Sequence[str] = "",
        weight: float = 1.0,
        moments: int = 5,
        span: float = 0.0,
    ) -> None:
        super().__init__(source, target, at, (), weight)
        if moments < 1 or span < 0:
            raise ValueError(f"moments is {moments}, span is {span}; give at least 1 and 0")
        self.moments, self.span = moments, span

    def distance(self, zs: Tensor, zt: Tensor) -> Tensor:
        """Give the discrepancy."""
        if self.span:
            return cmd(zs, zt, self.moments, self.span)
        return cmd(zs.sigmoid(), zt.sigmoid(), self.moments)
