"""Exemplar: heads that know classes by examples: learnt in episodes, then told new ones by `register`."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Features, Labels
from mtl.head import Prediction, Scores
from mtl.pooled import Pooled, refuse_repeats


class Exemplar(Pooled):
    """Embeddings (B, W) that are compared with those of each class's examples, in `support` (S, W).

    `width` is that of a projection of the pooled features, 0 for none. Labels are classes (B,) that are
    registered, or (B, 3) of `mtl.episodes.Episodes`: the episode, the class within it, and whether the
    example is a query (1) of it or one of its support (0). `rows` counts the rows of `support` of each of
    the `classes`. `pool` is as in `mtl.pooled.Pooled`. Raises ValueError for classes that repeat or have
    other rows.
    """

    metrics = ("accuracy",)
    support: Tensor

    def __init__(
        self, classes: Sequence[str], width: int, rows: Sequence[int], pool: str = "mean"
    ) -> None:
        super().__init__(width, pool)
        refuse_repeats(list(classes))
        if len(rows) != len(classes) or min(rows, default=1) < 1:
            raise ValueError(f"{len(classes)} classes, but rows of {list(rows)}: give each its own")
        self.classes, self.width, self.rows = list(classes), width, list(rows)

    def build(self, dim: int) -> None:
        """Make the projection, and room for the examples, which a saved model fills."""
        wide = self.width or dim
        if hasattr(self, "support"):  # without weights of its own it looks new to every model
            if self.support.shape[1] != wide:
                raise ValueError(
                    f"features of width {wide}; this head's examples have {self.support.shape[1]}"
                )
            return
        self.outputs = wide
        super().build(dim)
        # Distances do not change with a bias, which an optimizer would then move by rounding errors.
        projection = nn.Linear(dim, wide, bias=False) if self.width else nn.Identity()
        self.output = projection  # type: ignore[assignment]
        self.register_buffer("support", torch.zeros(sum(self.rows), wide))

    def scores(self, f: Features) -> Scores:
        """Embed (B, W), in float32. Raises ValueError for features of another width than the examples."""
        found = super().scores(f)
        if found.x.shape[1] != self.support.shape[1]:
            raise ValueError(
                f"features of width {found.x.shape[1]}; this head's examples have {self.support.shape[1]}"
            )
        return found

    def compare(self, queries: Tensor, support: Tensor, owners: Tensor, ways: int) -> Tensor:
        """Give logits (Q, ways) for queries (Q, W), from examples (S, W) and their classes (S,)."""
        raise NotImplementedError

    def lacking(
        self, queries: Tensor, targets: Tensor, support: Tensor, owners: Tensor, ways: int
    ) -> Tensor:
        """Give each query's loss (Q,): by default its cross entropy, in nats."""
        fit = self.compare(queries, support, owners, ways)
        return F.cross_entropy(fit, targets, reduction="none")

    def kept(self, examples: Tensor) -> Tensor:
        """Give what is kept of a class's examples (K, W): by default all."""
        return examples

    def register(self, name: str, f: Features) -> None:
        """Know a class by its examples, one or more; a name that is known gets these instead.

        Raises ValueError for an empty name.
        """
        if not name.strip():
            raise ValueError(f"class {name!r} is empty; give it a name")
        with torch.no_grad():
            new = self.kept(self.scores(f).x).to(self.support)
        parts = dict(zip(self.classes, torch.split(self.support, self.rows), strict=True)) | {
            name: new
        }
        self.classes, self.rows = list(parts), [len(part) for part in parts.values()]
        self.support = torch.cat(list(parts.values()))

    def fit_of(self, scores: Scores) -> Tensor:
        """Say how well each registered class fits (B, C). Raises ValueError where there is none."""
        if not self.classes:
            raise ValueError("no class is registered yet: give this head examples of some")
        counts = torch.tensor(self.rows, device=self.support.device)
        owners = torch.arange(len(self.rows), device=counts.device).repeat_interleave(counts)
        return self.compare(scores.x, self.support, owners, len(self.classes))

    def encode(self, label: Any) -> Tensor:
        """Give the index () of a registered class; raises ValueError for others."""
        if label not in self.classes:
            known = ", ".join(self.classes) or "none"
            raise ValueError(
                f"class {label!r} is not registered; this head has: {known} (to learn from classes that "
                "it has not, give the stream mtl.episodes.Episodes)"
            )
        return torch.tensor(self.classes.index(label))

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the loss (B,); in episodes that of queries alone, of support 0, with the queries' mean."""
        if labels.values.dim() == 1:
            return F.cross_entropy(self.fit_of(scores), labels.values, reduction="none")
        losses = 0 * scores.x.sum(1)
        for episode in set(labels.values[:, 0].tolist()):
            rows = (labels.values[:, 0] == episode).nonzero()[:, 0]
            z, (ways, query) = scores.x[rows], labels.values[rows, 1:].T
            known, owners = torch.unique(ways[query == 0], return_inverse=True)
            # An example that cannot be read may have been all the support of its class.
            asked = ((query == 1) & torch.isin(ways, known)).nonzero()[:, 0]
            if not len(asked):
                continue
            targets = torch.searchsorted(known, ways[asked])
            each = self.lacking(z[asked], targets, z[query == 0], owners, len(known))
            losses = losses.index_add(0, rows[asked], each * len(rows) / len(asked))
        return losses

    def predict(self, scores: Scores) -> list[Prediction]:
        """Give the registered class that fits best, and its share in the softmax over all."""
        best = self.fit_of(scores).float().softmax(-1).max(-1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Prediction(self.classes[index], confidence) for index, confidence in pairs]
