"""Episodes: small tasks of N classes with K examples each, drawn anew at every step. Vinyals et al. 2016.

data = Episodes(Images(pictures, model), "label", ways=20, shots=1, queries=5, count=100)
fit(model, {"images": Stream(data, batch=4 * data.unit)})  # four whole episodes a step
found = accuracies(model.head("label"), extract(model, tests, "images"), labels, ways=5, shots=1)
seed_interval(found)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mtl.batch import Example, Features
from mtl.exemplar import Exemplar
from mtl.stream import MULTIPLE, Data


class Sampler:
    """Draws episodes from classes (N,): `ways` of them, and of each `shots` and `queries` examples.

    Raises ValueError, naming a class, where there are not enough.
    """

    def __init__(self, classes: Sequence[Any], ways: int, shots: int, queries: int) -> None:
        if ways < 2 or shots < 1 or queries < 1:
            raise ValueError(
                f"{ways} ways, {shots} shots, {queries} queries: give at least 2, 1 and 1"
            )
        self.ways, self.shots, self.queries = ways, shots, queries
        names = np.asarray(classes, dtype=str)
        self._members = [np.flatnonzero(names == name) for name in np.unique(names)]
        if len(self._members) < ways:
            raise ValueError(f"{len(self._members)} classes, but episodes of {ways}: lower ways")
        few = min(self._members, key=len)
        if len(few) < shots + queries:
            raise ValueError(
                f"class {str(names[few[0]])!r} has {len(few)} examples, an episode takes {shots} and "
                f"{queries}: lower shots or queries, or leave it out"
            )

    def __call__(self, *seed: int) -> NDArray[np.int64]:
        """Draw an episode: the indices of its examples (ways, shots + queries)."""
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(self._members))[: self.ways]
        each = self.shots + self.queries
        rows = [rng.permutation(self._members[place])[:each] for place in chosen]
        return np.stack(rows).astype(np.int64)


class Episodes:
    """Labelled examples of a stream as `count` episodes an epoch, each a unit that no process shares.

    An episode is a function of the seed, its number and the epoch. `label` names what an `Exemplar` head
    learns from: a task's name, or its label. Examples have no other labels. Raises ValueError for examples
    that lack it, and what `Sampler` raises.
    """

    def __init__(
        self,
        data: Data,
        label: str,
        *,
        ways: int,
        shots: int,
        queries: int,
        count: int = 100,
        seed: int = 0,
    ) -> None:
        labels = [data.labels(index).get(label) for index in range(len(data))]
        if None in labels:
            raise ValueError(f"{data.ids[labels.index(None)]} has no label {label!r}: leave it out")
        if count < 1:
            raise ValueError(f"count is {count}; draw 1 episode or more an epoch")
        self.sampler = Sampler(labels, ways, shots, queries)
        self.data, self.label, self.count, self.seed = data, label, count, seed
        self.unit = ways * (shots + queries)
        # Which examples an episode draws is not known before: each costs as much as they do on average.
        self.seconds = np.full(len(self), float(data.seconds.mean()))
        self.ids = [f"episode {n}, {place}" for n in range(count) for place in range(self.unit)]
        self.multiple: int = getattr(data, "multiple", MULTIPLE)
        plan = (ways, shots, queries, seed, list(data.ids))
        self.settings = f"{getattr(data, 'settings', '')} {label} {plan}"

    def __len__(self) -> int:
        return self.count * self.unit

    def column(self, name: str) -> list[str]:
        """Give nothing: an episode is of all classes, languages and speakers."""
        return [""] * len(self)

    def labels(self, index: int) -> Mapping[str, Any]:
        """Give none: what an example is called holds in its episode alone."""
        return {}

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Load an example; its label is (3,): the episode, the class within it, and 1 for a query."""
        number, place = divmod(index, self.unit)
        number += (draw or 0) * self.count
        way, turn = divmod(place, self.sampler.shots + self.sampler.queries)
        chosen = int(self.sampler(self.seed, number)[way, turn])
        example = self.data.example(chosen, None if draw is None else number, targets=False)
        role = torch.tensor([number, way, int(turn >= self.sampler.shots)])
        return example._replace(labels={self.label: role} if targets else {})


def accuracies(
    head: Exemplar,
    features: ArrayLike,
    labels: Sequence[Any],
    *,
    ways: int,
    shots: int,
    queries: int = 15,
    count: int = 600,
    seed: int = 0,
) -> list[float]:
    """Give the accuracy in each of `count` episodes, of pooled features (N, D) with these labels (N,).

    `mtl.extract` gives the features, `mtl.metrics.seed_interval` the interval of their mean over episodes.
    Episodes have the same number of queries of each class. Raises ValueError as `Sampler` does, and for
    another number of labels.
    """
    x = torch.as_tensor(features)
    if len(x) != len(labels):
        raise ValueError(f"{len(x)} features, but {len(labels)} labels: give each its own")
    sampler = Sampler(labels, ways, shots, queries)
    place = next((tensor.device for tensor in head.state_dict().values()), x.device)
    wanted = torch.arange(ways).repeat_interleave(queries)
    owners = torch.arange(ways, device=place).repeat_interleave(shots)
    found = []
    with torch.inference_mode():
        ones = torch.ones(len(x), dtype=torch.long, device=place)
        z = head.scores(Features(x.to(place)[:, None], ones)).x
        for number in range(count):
            rows = torch.from_numpy(sampler(seed, number)).to(place)
            support, asked = z[rows[:, :shots].flatten()], z[rows[:, shots:].flatten()]
            said = head.compare(asked, support, owners, ways).argmax(1).cpu()
            found.append((said == wanted).double().mean().item())
    return found
