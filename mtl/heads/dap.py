"""dap: predict attributes, then take the class that has them. Lampert et al. 2009."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mtl.batch import Labels
from mtl.described import Described, Vectors
from mtl.head import Scores


def dap(logits: Tensor, signatures: Tensor, priors: Tensor) -> Tensor:
    """Give each class's log posterior, up to a constant: sum over m of log p(a_m | x) / p(a_m), (B, C).

    `logits` (B, A) are of each attribute being there, `signatures` (C, A) from 0 to 1, `priors` (A,) how
    often it is; classes are equally likely (equation 2).

    >>> import torch
    >>> found = dap(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.full((2,), 0.5))
    >>> found.abs().max().item() < 1e-6
    True
    """
    told = F.logsigmoid(logits) @ signatures.T + F.logsigmoid(-logits) @ (1 - signatures).T
    usual = signatures @ priors.log() + (1 - signatures) @ (1 - priors).log()
    return told - usual


class DAP(Described):
    """Attribute logits (B, A), learnt with the mean cross entropy; vectors hold numbers from 0 to 1.

    With `prior` an attribute counts by how much likelier it is than among the seen classes, one that all or
    none of these have as if half of them had it; without, the nearest signature wins. The rest is as in
    `mtl.described.Described`.
    """

    def __init__(
        self,
        classes: list[str],
        vectors: Vectors,
        seen: int | None = None,
        penalty: float = 0.0,
        prior: bool = True,
        pool: str = "mean",
    ) -> None:
        super().__init__(classes, vectors, seen, penalty, pool)
        self.prior = prior

    def check(self, name: str, vector: Sequence[float]) -> None:
        """Raise ValueError for what is not from 0 to 1."""
        if not all(0 <= value <= 1 for value in vector):
            raise ValueError(
                f"class {name!r} has attributes from {min(vector):g} to {max(vector):g}; DAP takes "
                "probabilities, from 0 to 1"
            )

    def fit_of(self, scores: Scores) -> Tensor:
        """Give the classes' log posteriors (B, C), up to a constant."""
        priors = self.signatures[: self.seen].mean(0)
        certain = (priors == 0) | (priors == 1)
        priors = priors.where(~certain & self.prior, 0.5)
        return dap(scores.x, self.signatures, priors)

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the cross entropy (B,) in nats, the mean over the attributes."""
        wanted = self.signatures[labels.values]
        return F.binary_cross_entropy_with_logits(scores.x, wanted, reduction="none").mean(1)
