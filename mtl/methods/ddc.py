"""DDC: the means of source and target meet (deep domain confusion). Tzeng et al. 2014. Topic: adaptation."""

from collections.abc import Sequence

from torch import Tensor

from mtl.domains import Aligning


def ddc(zs: Tensor, zt: Tensor) -> Tensor:
    """Give the squared distance () of the means of (N, D) and (M, D): the MMD of a linear kernel, biased.

    Tzeng et al. 2014, equation 1, squared as in equation 2.

    >>> import torch
    >>> ddc(torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0]]))
    tensor(9.)
    """
    return (zs.mean(0) - zt.mean(0)).square().sum()


class DDC(Aligning):
    """A task's loss plus `weight` times the squared distance of the means, terms by place.

    Give the trunk a narrow last block (256 units in the paper) to be the adaptation layer. Its width and
    place are those at which `ddc` is least before adaptation. The other arguments are those of
    `mtl.domains.Aligning`.

    Differs: the new layer learns at the rate of all others, not at ten times theirs.
    """

    least = 1

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        at: str | Sequence[str] = "",
        scores: str | Sequence[str] = (),
        weight: float = 0.25,
    ) -> None:
        super().__init__(source, target, at, scores, weight)

    def distance(self, zs: Tensor, zt: Tensor) -> Tensor:
        """Give the squared distance of the means."""
        return ddc(zs, zt)
