"""attribute: how alike an example and its class's description are, for unseen classes. Akata et al. 2013.

The score is f(x) . g(y). Losses: hinge (Akata et al. 2015, SJE), devise (Frome et al. 2013), ale (Akata et
al. 2013), softmax, squared.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Features, Labels
from mtl.described import Described, Vectors
from mtl.head import Scores


def hinge(scores: Tensor, targets: Tensor, margin: float = 1.0) -> Tensor:
    """Ask the right class to beat the best wrong one: max(0, k - s_n + max s_m), (B, C) -> (B,).

    >>> hinge(torch.tensor([[2.0, 1.5, 0.0]]), torch.tensor([0])).tolist()
    [0.5]
    """
    return _violations(scores, targets, margin).amax(1)


def devise(scores: Tensor, targets: Tensor, margin: float = 0.1) -> Tensor:
    """Ask the right class to beat every wrong one, and sum what each lacks: (B, C) -> (B,).

    >>> devise(torch.tensor([[2.0, 1.5, 1.25]]), torch.tensor([0]), margin=1.0).tolist()
    [0.75]
    """
    return _violations(scores, targets, margin).sum(1)


def ale(scores: Tensor, targets: Tensor, margin: float = 1.0) -> Tensor:
    """Weigh the sum by the right class's rank r, the wrong ones too close: (1 + ... + 1/r) / r.

    The top of the ranking so counts most (Akata et al. 2013, equation 9): (B, C) -> (B,).

    >>> ale(torch.tensor([[2.0, 1.5, 1.25]]), torch.tensor([0])).tolist()
    [0.5625]
    """
    lacking = _violations(scores, targets, margin)
    ranks = (lacking > 0).sum(1)
    places = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    sums = F.pad((1 / places).cumsum(0), (1, 0))  # of no places: 0
    return lacking.sum(1) * sums[ranks] / ranks.clamp(min=1)


def _violations(scores: Tensor, targets: Tensor, margin: float) -> Tensor:
    """Give by how much each wrong class comes too close, 0 for the right one: (B, C)."""
    right = scores.gather(1, targets[:, None])
    wrong = torch.ones_like(scores).scatter(1, targets[:, None], 0.0)
    return (margin - right + scores).clamp(min=0) * wrong


RANKINGS = {"hinge": hinge, "devise": devise, "ale": ale}
LOSSES = (*RANKINGS, "softmax", "squared")


class Attribute(Described):
    """Products f(x) . g(y) of a projection of the features and the class's vector: scores (B, C).

    With `hidden`, g is a network of so many units over the vector, learnt too. `kind` is the loss over the
    seen classes, one of LOSSES, and `margin` what its ranking asks for. "squared" is the squared distance
    from f(x) to g(y), and the scores are then its negative: only for g that is not learnt, as it is
    least where f and g map everything to one point. The rest is as in `mtl.described.Described`.

    >>> head = Attribute(["horse", "tiger", "zebra"], [[1, 0], [0, 1], [1, 1]], seen=2)
    >>> head.build(4)
    >>> head.scores(Features(torch.ones(1, 3, 4), torch.tensor([3]))).x.shape
    torch.Size([1, 3])
    """

    def __init__(
        self,
        classes: list[str],
        vectors: Vectors,
        seen: int | None = None,
        penalty: float = 0.0,
        kind: str = "hinge",
        margin: float = 1.0,
        hidden: int = 0,
        pool: str = "mean",
    ) -> None:
        super().__init__(classes, vectors, seen, penalty, pool)
        if kind not in LOSSES:
            raise ValueError(f"kind {kind!r} is no loss; choose one of {', '.join(LOSSES)}")
        self.kind, self.margin, self.hidden = kind, margin, hidden
        self.outputs = hidden or self.outputs

    def build(self, dim: int) -> None:
        """Make f and, where it is learnt, g."""
        super().build(dim)
        if self.hidden:
            first = nn.Linear(self.signatures.shape[1], self.hidden)
            self.embed = nn.Sequential(first, nn.ReLU(), nn.Linear(self.hidden, self.hidden))

    def scores(self, f: Features) -> Scores:
        """Compare with every class (B, C), in float32."""
        told = super().scores(f).x
        classes = self.embed(self.signatures).float() if self.hidden else self.signatures
        if self.kind == "squared":
            return Scores(-torch.cdist(told, classes).square())
        return Scores((told @ classes.T).float())

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the loss (B,) over the seen classes."""
        seen = scores.x[:, : self.seen]
        if self.kind == "softmax":
            return F.cross_entropy(seen, labels.values, reduction="none")
        if self.kind == "squared":
            return -seen.gather(1, labels.values[:, None])[:, 0]
        return RANKINGS[self.kind](seen, labels.values, self.margin)
