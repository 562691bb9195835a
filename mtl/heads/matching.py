"""matching: the classes of the examples that a query attends to. Vinyals et al. 2016, matching networks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.exemplar import Exemplar


def matching(cosines: Tensor, owners: Tensor, ways: int) -> Tensor:
    """Add up each class's attention, a softmax over all examples, as logs: (Q, S), (S,) -> (Q, ways).

    >>> matching(torch.zeros(1, 4), torch.tensor([0, 0, 0, 1]), 2).exp().tolist()
    [[0.75, 0.25]]
    """
    theirs = F.one_hot(owners, ways).T.bool()
    logs = cosines.log_softmax(1)[:, None].masked_fill(~theirs, -torch.inf)
    return logs.logsumexp(2)


class Matching(Exemplar):
    """Logits are the logs of the attention to each class's examples, by `scale` times their cosines.

    The rest is as in `mtl.exemplar.Exemplar`.

    Differs: cosines are scaled, as an attention by plain ones is nearly even; no embedding depends on the
    other examples of its episode (equation 1, without full context embeddings).
    """

    def __init__(
        self,
        classes: Sequence[str] = (),
        width: int = 0,
        rows: Sequence[int] = (),
        scale: float = 10.0,
        pool: str = "mean",
    ) -> None:
        super().__init__(classes, width, rows, pool)
        self.scale = scale

    def compare(self, queries: Tensor, support: Tensor, owners: Tensor, ways: int) -> Tensor:
        """Give the logs of the attention to each class (Q, ways)."""
        cosines = F.normalize(queries, dim=1) @ F.normalize(support, dim=1).T
        return matching(self.scale * cosines, owners, ways)
