"""eszsl: a product of features and class vectors in closed form. Romera-Paredes and Torr 2015."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from mtl.batch import Features, Labels
from mtl.described import Described, Vectors
from mtl.head import Scores


def eszsl(x: Tensor, y: Tensor, signatures: Tensor, gamma: float, lam: float) -> Tensor:
    """Solve for V in x V s^T = y: (X^T X + gamma I)^-1 X^T Y S (S^T S + lam I)^-1, (D, A), in float64.

    Equation 7 of the paper with examples as rows: x (N, D), y (N, C) in {-1, 1}, `signatures` (C, A).
    Raises ValueError for weights that are not above 0.

    >>> eszsl(torch.eye(2), torch.tensor([[1, -1], [-1, 1]]), torch.eye(2), 1.0, 1.0).tolist()
    [[0.25, -0.25], [-0.25, 0.25]]
    """
    if not (gamma > 0 and lam > 0):
        raise ValueError(f"gamma is {gamma} and lam {lam}; both must be above 0")
    x, y, s = x.double(), y.double(), signatures.double()
    left = torch.linalg.solve(_ridge(x, gamma), x.T @ y @ s)
    solved: Tensor = torch.linalg.solve(_ridge(s, lam), left.T)
    return solved.T


def _ridge(rows: Tensor, weight: float) -> Tensor:
    return rows.T @ rows + weight * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)


class ESZSL(Described):
    """Scores (B, C) of a product that `solve` finds for given features, without training by steps.

    Training by steps, from zero, lowers the squared error to 1 for the right seen class and -1 for the
    others, without the two weights. The rest is as in `mtl.described.Described`.
    """

    def __init__(
        self,
        classes: list[str],
        vectors: Vectors,
        seen: int | None = None,
        penalty: float = 0.0,
        gamma: float = 1.0,
        lam: float = 1.0,
        pool: str = "mean",
    ) -> None:
        super().__init__(classes, vectors, seen, penalty, pool)
        self.gamma, self.lam = gamma, lam

    def build(self, dim: int) -> None:
        """Make the product, of zeros."""
        super().build(dim)
        torch.nn.init.zeros_(self.output.weight)
        torch.nn.init.zeros_(self.output.bias)

    def solve(self, x: ArrayLike | Tensor, labels: Sequence[str], standardise: bool = True) -> None:
        """Learn from pooled features (N, D), such as `mtl.extract` gives, and the names of their classes.

        `standardise` brings each feature to mean 0 and deviation 1 first, which then is part of the product.
        Raises ValueError for classes that are not seen, another count, and a pool that is learnt.
        """
        rows = torch.as_tensor(x).double().cpu()
        if len(rows) != len(labels):
            raise ValueError(f"{len(rows)} features, but {len(labels)} labels: give each its own")
        if self.pool == "attention":
            raise ValueError("pool 'attention' is learnt by steps, which solve takes none of")
        targets = torch.stack([self.encode(label) for label in labels])
        mean, std = torch.zeros(rows.shape[1]).double(), torch.ones(rows.shape[1]).double()
        if standardise:
            mean, std = rows.mean(0), rows.std(0, correction=0)
            std = std.where(std > 0, 1.0)
        y = 2 * F.one_hot(targets, self.seen) - 1
        v = eszsl((rows - mean) / std, y, self.signatures[: self.seen].cpu(), self.gamma, self.lam)
        with torch.no_grad():
            self.output.weight.copy_((v / std[:, None]).T)
            self.output.bias.copy_(-(mean / std) @ v)

    def scores(self, f: Features) -> Scores:
        """Compare with every class (B, C), in float32."""
        return Scores((super().scores(f).x @ self.signatures.T).float())

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the squared error (B,), the mean over the seen classes."""
        wanted = 2.0 * F.one_hot(labels.values, self.seen) - 1
        return (scores.x[:, : self.seen] - wanted).square().mean(1)
