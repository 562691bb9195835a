"""siamese: the class whose examples are likeliest of the same class as the query. Koch et al. 2015."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.exemplar import Exemplar


def siamese(queries: Tensor, support: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Give the logits of two examples being of one class: sum_j w_j |q_j - s_j| + b, (Q, S).

    >>> weight, bias = torch.tensor([-1.0, -2.0]), torch.ones(1)
    >>> siamese(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]]), weight, bias)
    tensor([[-4.]])
    """
    return (queries[:, None] - support[None]).abs() @ weight + bias


class Siamese(Exemplar):
    """Logits are the logs of the mean probability that a class's examples are of the query's class.

    In episodes each query is paired with all examples, and pairs of one class count as much as the others.
    The rest is as in `mtl.exemplar.Exemplar`.
    """

    def __init__(
        self,
        classes: Sequence[str] = (),
        width: int = 0,
        rows: Sequence[int] = (),
        pool: str = "mean",
    ) -> None:
        super().__init__(classes, width, rows, pool)

    def build(self, dim: int) -> None:
        """Make the projection, and weights that take the nearer for likelier."""
        super().build(dim)
        self.weight = nn.Parameter(torch.full((self.outputs,), -1 / self.outputs))
        self.bias = nn.Parameter(torch.ones(1))

    def compare(self, queries: Tensor, support: Tensor, owners: Tensor, ways: int) -> Tensor:
        """Give the logs of the classes' mean probabilities (Q, ways)."""
        pairs = siamese(queries, support, self.weight, self.bias)
        theirs = F.one_hot(owners, ways).T.bool()
        logs = F.logsigmoid(pairs)[:, None].masked_fill(~theirs, -torch.inf)
        return logs.logsumexp(2) - theirs.sum(1).log()

    def lacking(
        self, queries: Tensor, targets: Tensor, support: Tensor, owners: Tensor, ways: int
    ) -> Tensor:
        """Give each query's cross entropy (Q,) of its pairs, in nats, one class and others alike."""
        pairs = siamese(queries, support, self.weight, self.bias)
        same = (owners == targets[:, None]).float()
        each = F.binary_cross_entropy_with_logits(pairs, same, reduction="none")
        sides = [(each * side).sum(1) / side.sum(1).clamp(min=1) for side in (same, 1 - same)]
        return (sides[0] + sides[1]) / 2
