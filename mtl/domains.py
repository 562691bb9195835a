"""domains: what methods of domain adaptation share: which streams they compare, and where."""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.method import Method, View
from mtl.model import Model
from mtl.ops import masked_mean

OUTPUT = "output"  # the place behind the trunk, as terms name it


class Adapting(Method):
    """A method that compares source and target streams; of the target it sees no label.

    Frames and places of an example are averaged first, padding left out. Raises ValueError for streams
    that the model lacks, and for one that is on both sides.
    """

    def __init__(self, source: str | Sequence[str], target: str | Sequence[str]) -> None:
        super().__init__()
        self.source, self.target = tupled(source), tupled(target)

    @property
    def streams(self) -> tuple[str, ...]:
        """All streams, the sources first: the place of a stream is the number of its domain."""
        return self.source + self.target

    def build(self, model: Model) -> None:
        """Check the streams."""
        for side, names in (("source", self.source), ("target", self.target)):
            if not names or (odd := [name for name in names if name not in model.streams]):
                raise ValueError(
                    f"{side} stream {odd[0] if names else ''!r} is none of this model, which has: "
                    f"{', '.join(model.streams)}; give {side}=[...]"
                )
        if len(set(self.streams)) < len(self.streams):
            raise ValueError(f"streams {list(self.streams)}: one of them is named twice")

    def pooled(self, view: View, stream: str, place: str = "") -> Tensor:
        """Average an example's frames behind the block `place` (empty: the trunk): (B, D) in float32."""
        if stream not in view.features:
            raise ValueError(
                f"{type(self).__name__} compares stream {stream!r}; fit was given: "
                f"{', '.join(view.features)}"
            )
        f = view.features[stream].at(place or None)
        return masked_mean(f.x.float(), f.lengths)


class Aligning(Adapting):
    """A method whose loss is a distance between two samples: `weight` times its mean over all pairs of a
    source and a target, one term for each place.

    Compared are the features behind the blocks `at` (empty text: behind the trunk), and the scores that
    the tasks `scores` give to either domain. A distance is no mean over examples: it is computed from the
    rows of all processes, so their number does not matter; but with accumulation part by part, as with
    smaller batches. A batch of fewer than `least` rows has no term.
    """

    least = 2

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        at: str | Sequence[str] = "",
        scores: str | Sequence[str] = (),
        weight: float = 1.0,
    ) -> None:
        super().__init__(source, target)
        self.at, self.scores, self.weight = tupled(at), tupled(scores), weight
        self.taps = tuple(place for place in self.at if place)
        if not self.at and not self.scores:
            raise ValueError("nothing to compare: name blocks in `at`, or tasks in `scores`")
        if weight < 0:
            raise ValueError(f"weight is {weight}; it may not be below 0")

    @property
    def places(self) -> list[str]:
        """Name all that is compared."""
        return [place or OUTPUT for place in self.at] + [f"{task} scores" for task in self.scores]

    def build(self, model: Model) -> None:
        """Check streams and places."""
        super().build(model)
        model.trunk.block_dims(place for place in self.at if place)
        inner = [model.tasks[task].at for task in self.scores if model.head(task)]
        self.taps = tuple(dict.fromkeys([*self.taps, *filter(None, inner)]))

    def distance(self, zs: Tensor, zt: Tensor) -> Tensor:
        """Give the distance () of samples (N, D) and (M, D)."""
        raise NotImplementedError

    def compare(self, place: int, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Give the mean distance () at the place of this number."""
        return torch.stack([self.distance(zs, zt) for zs, zt in pairs]).mean()

    def terms(self, view: View) -> dict[str, Tensor]:
        """Compare each source with each target, in the phase of the tasks."""
        if view.phase != "train":
            return {}
        terms = {}
        for number, place in enumerate(self.places):
            rows = {stream: view.gather(stream, z) for stream, z in self._rows(view, number)}
            pairs = [(rows[s], rows[t]) for s, t in product(self.source, self.target)]
            enough = [pair for pair in pairs if min(map(len, pair)) >= self.least]
            if enough:
                with torch.autocast(enough[0][0].device.type, enabled=False):
                    terms[place] = self.weight * self.compare(number, enough)
        return terms

    def _rows(self, view: View, number: int) -> Iterator[tuple[str, Tensor]]:
        """Give each stream's rows (B, D) at a place."""
        for stream in self.streams:
            if number < len(self.at):
                yield stream, self.pooled(view, stream, self.at[number])
                continue
            found = view.model.scores(self.scores[number - len(self.at)], view.features[stream])
            scores = found.x.float()
            lengths = found.lengths
            yield stream, scores.flatten(1) if lengths is None else masked_mean(scores, lengths)


def domain_classifier(
    model: Model, at: str, domains: int, hidden: int, dropout: float = 0.0
) -> nn.Module:
    """Make a network from pooled features to domain logits: (B, D) -> (B, domains).

    It has one hidden layer of `hidden` units; with 0 it is linear.
    """
    dim = model.trunk.block_dims([at])[at] if at else model.trunk.dim
    if not hidden:
        return nn.Linear(dim, domains)
    layers = [nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, domains)]
    return nn.Sequential(*layers)


def tell_apart(view: View, streams: Sequence[str], logits: Sequence[Tensor]) -> dict[str, Tensor]:
    """Give the cross entropy () of domain logits (B, domains), one for each stream, and the `accuracy` ().

    Both are averaged over a stream's examples, then over streams: a domain counts the same whatever its
    batch size.
    """
    losses, right = [], []
    for domain, (stream, each) in enumerate(zip(streams, logits, strict=True)):
        truth = torch.full((len(each),), domain, device=each.device)
        losses.append(view.mean(stream, F.cross_entropy(each.float(), truth, reduction="none")))
        right.append(view.mean(stream, (each.argmax(1) == truth).float()))
    return {"domain": torch.stack(losses).mean(), "accuracy": torch.stack(right).mean()}


def ramp(progress: float, gamma: float = 10.0) -> float:
    """Give 2 / (1 + exp(-gamma progress)) - 1, from 0 towards 1; progress is held to 0 to 1.

    >>> [round(ramp(progress), 3) for progress in (0.0, 0.1, 1.0, 7.0)]
    [0.0, 0.462, 1.0, 1.0]
    """
    return math.tanh(gamma * min(max(progress, 0.0), 1.0) / 2)


def tupled(names: str | Sequence[str]) -> tuple[str, ...]:
    """Let one name stand for itself.

    >>> tupled("source"), tupled(["a", "b"])
    (('source',), ('a', 'b'))
    """
    return (names,) if isinstance(names, str) else tuple(names)
