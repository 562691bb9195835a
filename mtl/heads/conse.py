"""conse: a mix of the likely seen classes' vectors, and the class nearest to it. Norouzi et al. 2014."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mtl.batch import Labels
from mtl.described import Described, Vectors
from mtl.head import Scores


def conse(posteriors: Tensor, signatures: Tensor, top: int) -> Tensor:
    """Mix the vectors of the `top` likeliest classes by their probabilities: (B, S), (S, A) -> (B, A).

    Equation 1: the probabilities are divided by the sum of those kept.

    >>> import torch
    >>> conse(torch.tensor([[0.6, 0.2, 0.2]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]), 2).tolist()
    [[0.75, 0.25]]
    """
    kept = posteriors.topk(min(top, posteriors.shape[1]), dim=1)
    shares = kept.values / kept.values.sum(1, keepdim=True)
    mixed: Tensor = (shares[..., None] * signatures[kept.indices]).sum(1)
    return mixed


class ConSE(Described):
    """Logits of the seen classes (B, S), learnt as in classification; others are told from these.

    What fits is the cosine between a class's vector and the mix of the `top` likeliest seen ones. The
    rest is as in `mtl.described.Described`.
    """

    def __init__(
        self,
        classes: list[str],
        vectors: Vectors,
        seen: int | None = None,
        penalty: float = 0.0,
        top: int = 10,
        pool: str = "mean",
    ) -> None:
        super().__init__(classes, vectors, seen, penalty, pool)
        if top < 1:
            raise ValueError(f"top is {top}; mix 1 class or more")
        self.top, self.outputs = top, self.seen

    def check(self, name: str, vector: Sequence[float]) -> None:
        """Raise ValueError for zeros, which have no angle to anything."""
        if not any(vector):
            raise ValueError(f"class {name!r} has a vector of zeros: ConSE compares directions")

    def fit_of(self, scores: Scores) -> Tensor:
        """Give the cosines with all classes (B, C)."""
        mixed = conse(scores.x.softmax(1), self.signatures[: self.seen], self.top)
        return F.normalize(mixed, dim=1) @ F.normalize(self.signatures, dim=1).T

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the cross entropy (B,) in nats, over the seen classes."""
        return F.cross_entropy(scores.x, labels.values, reduction="none")
