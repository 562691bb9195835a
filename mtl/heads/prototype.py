"""prototype: the class whose examples' mean is nearest. Snell et al. 2017, prototypical networks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl.exemplar import Exemplar


def prototype(support: Tensor, owners: Tensor, ways: int) -> Tensor:
    """Average each class's examples: (S, W) and their classes (S,) -> (ways, W).

    >>> prototype(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]), 2).tolist()
    [[2.0], [5.0]]
    """
    sums = support.new_zeros(ways, support.shape[1]).index_add(0, owners, support)
    return sums / owners.bincount(minlength=ways)[:, None]


class Prototype(Exemplar):
    """Logits are minus the squared distances to the classes' means (equation 2); one is kept of each.

    The rest is as in `mtl.exemplar.Exemplar`.

    >>> from mtl.batch import Features
    >>> head = Prototype()
    >>> head.build(2)
    >>> head.register("left", Features(torch.tensor([[[-1.0, 0.0]]]), torch.tensor([1])))
    >>> head.register("right", Features(torch.tensor([[[1.0, 0.0]]]), torch.tensor([1])))
    >>> heard = Features(torch.tensor([[[0.8, 0.3]]]), torch.tensor([1]))
    >>> head.predict(head.scores(heard))[0].value
    'right'
    """

    def __init__(self, classes: Sequence[str] = (), width: int = 0, pool: str = "mean") -> None:
        super().__init__(classes, width, [1] * len(classes), pool)

    def kept(self, examples: Tensor) -> Tensor:
        """Keep the mean."""
        return examples.mean(0, keepdim=True)

    def compare(self, queries: Tensor, support: Tensor, owners: Tensor, ways: int) -> Tensor:
        """Give minus the squared distances to the classes' means (Q, ways)."""
        return -torch.cdist(queries, prototype(support, owners, ways)).square()
