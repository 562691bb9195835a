"""Stream: which examples make up a step. The global batch is a function of (seed, step) alone.

Batches hold examples of like duration, drawn from groups (languages, say) in given proportions. Any
process computes any step's batch directly, so an interrupted run resumes exactly, also with another
number of processes, and workers do not change the order.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from mtl.batch import Batch, Example, collate
from mtl.device import one_thread
from mtl.mix import Mix, quotas, shares

# Frames to round up to. CPUs compile kernels for every new shape: 4 % of padding buys 15 % of time.
MULTIPLE = 24
SPARES = 16  # examples tried where none of a batch can be used, before giving up


class Data(Protocol):
    """A data set: `seconds` (N,) is the cost of each example (ones for images), `ids` names them.

    It may have a text `settings`; a run does not resume on data with other ids, costs or settings. An
    integer `multiple` takes the place of MULTIPLE. `empty` may list labels that tasks learn and no example
    has: a stream refuses them. With an integer `unit`, so many examples in a row are drawn together and go
    to one process, such as the episodes of `mtl.episodes`.
    """

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Give each example's cost."""

    @property
    def ids(self) -> Sequence[str]:
        """Give each example's name."""

    def __len__(self) -> int:
        """Count the examples."""

    def column(self, name: str) -> Sequence[str]:
        """Give a property of every example, such as its language."""

    def labels(self, index: int) -> Mapping[str, Any]:
        """Give an example's raw labels by name."""

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Load an example, `targets` with its encoded labels; `draw` numbers its augmentation, None
        is plain. Raises ValueError naming the item where it cannot be used.
        """


class Subset:
    """Some examples of a data set, as a data set."""

    def __init__(self, data: Data, indices: Sequence[int]) -> None:
        self.data, self.indices = data, list(indices)
        self.seconds = data.seconds[self.indices]
        self.ids = [data.ids[index] for index in self.indices]
        self.settings = getattr(data, "settings", "")
        self.multiple: int = getattr(data, "multiple", MULTIPLE)
        self.unit: int = getattr(data, "unit", 1)

    def __len__(self) -> int:
        return len(self.indices)

    def column(self, name: str) -> Sequence[str]:
        """Give a property of every example."""
        values = self.data.column(name)
        return [values[index] for index in self.indices]

    def labels(self, index: int) -> Mapping[str, Any]:
        """Give an example's raw labels."""
        return self.data.labels(self.indices[index])

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Load an example."""
        return self.data.example(self.indices[index], draw, targets)


class Draw(NamedTuple):
    """One example of a batch, and how often it was drawn before (its epoch)."""

    example: int
    epoch: int


class Plan(NamedTuple):
    """An epoch: `order` (N,) unit indices, `passes` (N,) their epochs, `cuts` (batches + 1,)."""

    order: NDArray[np.int64]
    passes: NDArray[np.int64]
    cuts: NDArray[np.int64]


@dataclass
class Stream:
    """A data set cut into global batches of about `batch` seconds (or examples, where all cost 1).

    `mix` shares the draws between the values of the column `by`: "proportional", "uniform", a
    temperature T (share ~ size ** (1 / T)), or explicit shares, where groups not named divide the rest
    in proportion to their sizes. A batch exceeds `batch` by at most its longest unit (an example, see
    `Data`); a little more where `mix` leaves examples out and an epoch drew long ones.
    """

    data: Data
    batch: float
    mix: Mix = "proportional"
    by: str = "lang"
    jitter: float = 0.02

    def __post_init__(self) -> None:
        if not len(self.data):
            raise ValueError("a stream needs at least one example; its data set is empty")
        if lost := getattr(self.data, "empty", ()):
            raise ValueError(
                f"no example has the label {lost[0]!r}, which a task of this stream learns; label some, "
                "or let data with other labels be a stream of their own: Model(..., streams=...)"
            )
        if not self.batch > 0:
            raise ValueError(f"batch is {self.batch}; give seconds of audio (or images) per step")
        self.unit: int = getattr(self.data, "unit", 1)
        if len(self.data) % self.unit:
            raise ValueError(f"{len(self.data)} examples are no whole units of {self.unit}")
        units = self.data.seconds.reshape(-1, self.unit)
        self._seconds, self._longest = units.sum(1), units.max(1)
        groups: dict[str, list[int]] = {}
        for index, value in enumerate(self.data.column(self.by)[:: self.unit]):
            groups.setdefault(value, []).append(index)
        self._groups = {name: np.array(groups[name]) for name in sorted(groups)}
        sizes = {name: len(members) for name, members in self._groups.items()}
        self.shares = shares(sizes, self.mix)
        self._quotas = quotas(self.shares, len(self._seconds))
        mean = {n: float(self._seconds[m].mean()) for n, m in self._groups.items()}
        total = sum(mean[name] * quota for name, quota in self._quotas.items())
        wanted = max(math.ceil(total / self.batch - 1e-9), 1)
        self._batches = min(wanted, sum(self._quotas.values()))
        self._plans: dict[tuple[int, int], Plan] = {}

    def __len__(self) -> int:
        return self._batches

    def draws(self, step: int, seed: int = 0) -> list[Draw]:
        """Give the global batch of a step."""
        epoch, place = divmod(step, len(self))
        plan = self.plan(epoch, seed)
        part = slice(plan.cuts[place], plan.cuts[place + 1])
        pairs = zip(plan.order[part].tolist(), plan.passes[part].tolist(), strict=True)
        size = self.unit
        return [Draw(unit * size + place, epoch) for unit, epoch in pairs for place in range(size)]

    def plan(self, epoch: int, seed: int = 0) -> Plan:
        """Lay out one epoch; the last one is remembered."""
        if (epoch, seed) not in self._plans:
            self._plans = {(epoch, seed): self._make(epoch, seed)}
        return self._plans[epoch, seed]

    def _make(self, epoch: int, seed: int) -> Plan:
        drawn = [self._draw(n, epoch, seed) for n, quota in self._quotas.items() if quota]
        index = np.concatenate([part[0] for part in drawn])
        passes = np.concatenate([part[1] for part in drawn])
        seconds = self._seconds[index]
        rng = np.random.default_rng([seed, epoch, 1])
        jitter = 1 + self.jitter * rng.uniform(-1, 1, len(index))
        order = np.argsort(seconds * jitter, kind="stable")
        ends = np.cumsum(seconds[order])
        marks = ends[-1] * np.arange(1, len(self)) / len(self)
        # An example falls into the batch that holds its middle.
        inner = np.searchsorted(ends - seconds[order] / 2, marks)
        cuts = np.concatenate([[0], inner, [len(index)]])
        steps = np.arange(len(cuts))  # every batch keeps at least one example
        cuts = np.minimum(np.maximum.accumulate(cuts - steps) + steps, len(index) - steps[::-1])
        shuffled = rng.permutation(len(self))
        parts = [order[cuts[place] : cuts[place + 1]] for place in shuffled]
        final = np.concatenate(parts)
        lengths = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        return Plan(index[final], passes[final], lengths)

    def _draw(self, name: str, epoch: int, seed: int) -> tuple[Any, Any]:
        """Take a group's share of an epoch from its endless sequence of permutations."""
        members, quota = self._groups[name], self._quotas[name]
        start, stop = epoch * quota, (epoch + 1) * quota
        first, last = start // len(members), (stop - 1) // len(members)
        place = list(self._groups).index(name)
        rounds = [
            np.random.default_rng([seed, place, number, 2]).permutation(len(members))
            for number in range(first, last + 1)
        ]
        window = slice(start - first * len(members), stop - first * len(members))
        chosen = np.concatenate(rounds)[window]
        return members[chosen], np.arange(start, stop) // len(members)

    def first(self, count: int) -> "Stream":
        """Give a stream of the first `count` examples, in proportion; of units, whole ones."""
        few = Subset(self.data, range(min(count + -count % self.unit, len(self.data))))
        return replace(self, data=few, mix="proportional")

    def largest(self, seed: int = 0) -> list[Draw]:
        """Give the batch of the first epoch that takes most memory, padding included."""
        return self.draws(int(np.argmax(self._padded(self.plan(0, seed)))), seed)

    def padding_efficiency(self, epoch: int = 0, seed: int = 0) -> float:
        """Give the share of an epoch's computation that falls on real data, 0 to 1."""
        plan = self.plan(epoch, seed)
        return float(self._seconds[plan.order].sum() / self._padded(plan).sum())

    def _padded(self, plan: Plan) -> NDArray[np.float64]:
        counts = np.diff(plan.cuts) * self.unit
        longest = np.maximum.reduceat(self._longest[plan.order], plan.cuts[:-1])
        padded: NDArray[np.float64] = longest * counts
        return padded


class Part(NamedTuple):
    """One process' part of a step: batches by stream, global example counts, skipped (id, reason)."""

    batches: dict[str, Batch]
    examples: dict[str, int]
    skipped: list[tuple[str, str]]


class Parts(Dataset[Part]):
    """The parts of all steps, addressed by (step, part)."""

    def __init__(
        self,
        streams: Mapping[str, Stream],
        seed: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        augment: bool = True,
    ) -> None:
        self.streams = dict(streams)
        self.seed, self.rank, self.world, self.accumulate = seed, rank, world, accumulate
        self.augment = augment

    def __getitem__(self, key: tuple[int, int]) -> Part:
        step, part = key
        draws = {name: stream.draws(step, self.seed) for name, stream in self.streams.items()}
        with one_thread():  # as in worker processes: several would round differently
            return self.load(draws, part)

    def load(self, draws: Mapping[str, list[Draw]], part: int = 0) -> Part:
        """Load this process' share of the given global batches."""
        batches, skipped = {}, []
        for name, drawn in draws.items():
            size = self.streams[name].unit
            units = [drawn[start : start + size] for start in range(0, len(drawn), size)]
            own = units[self.rank :: self.world][part :: self.accumulate]
            mine = [draw for unit in own for draw in unit]
            batches[name], failed = self._load(self.streams[name].data, mine, drawn)
            skipped += failed
        return Part(batches, {name: len(drawn) for name, drawn in draws.items()}, skipped)

    def _load(
        self, data: Data, mine: list[Draw], drawn: list[Draw]
    ) -> tuple[Batch, list[tuple[str, str]]]:
        """Load and pad. A process that has nothing, or nothing usable, computes a spare at weight 0."""
        examples: list[Example] = []
        failed: list[tuple[str, str]] = []
        others = range(0, len(data), max(len(data) // SPARES, 1))
        for place, draw in enumerate([*mine, *drawn, *(Draw(index, 0) for index in others)]):
            spare = place >= len(mine)
            if spare and examples:
                break
            try:
                example = data.example(draw.example, draw.epoch if self.augment else None)
                examples.append(example._replace(weight=0.0) if spare else example)
            except ValueError as error:
                failed.append((data.ids[draw.example], str(error)))
        if not examples:
            tried = len(dict(failed))  # spares may be those of the batch again
            raise ValueError(f"none of {tried} examples can be used; first: {failed[0][1]}")
        return collate(examples, getattr(data, "multiple", MULTIPLE)), failed
