"""columns: trunks beside each other, each fed by those before it. Rusu et al. 2016, progressive networks."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder
from mtl.lateral import Lateral
from mtl.packing import pack, unpack
from mtl.routed import Routed

TRACES = "traces"  # in `Flow.extra`: what earlier columns gave, by name


class Trace(NamedTuple):
    """What a column gave: the output of its blocks, and its end, without what laterals add there."""

    blocks: dict[str, Flow]
    end: Features


class Stored(NamedTuple):
    """What is stored of earlier columns: (column, block), "" for the end; widths; whether side by side."""

    places: list[tuple[str, str]]
    widths: list[int]
    aligned: bool


class Columns(Routed):
    """Trunks in the order in which they were grown; a block is a whole column, and `at="fr"` reads its end.

    Every column gets what the stem of the stream gives, whatever its modality: a new stream's stem feeds the
    frozen columns, too, and must be as wide as the first one takes it; a column that takes another width maps
    it there. Block i > 1 of a column gets laterals (see `mtl.lateral`) from the outputs of block i - 1 of its
    `sources`, or of the one at the same relative depth, and its end from theirs: that is the lateral into the
    head, whose linear layer then is part of U. `at="fr.b2"` reads an inner block. A forward pass runs those
    columns alone which what is asked for depends on.

    What is frozen is not run backward, unless the stem learns; it evaluates even while the rest trains.
    Stored inputs of a column (see `mtl.prefix`) hold what earlier ones gave, so that only later ones are run.

    Differs: laterals join behind a block, parallel to all of it; where a block has `weigh` and `activate`,
    between the two, as in the paper. Made by `mtl.tune.progressive`, and saved as the first column and edits.
    """

    def __init__(self, name: str, trunk: Encoder) -> None:
        super().__init__(trunk.dim)
        self.takes = trunk.takes
        self._plans: dict[str, Stored] = {}
        self.grow(name, trunk, ())

    def column(self, name: str) -> "Column":
        """Give a column."""
        return cast(Column, self.there(name))

    def trunk(self, column: str) -> Encoder:
        """Give the trunk of a column."""
        return self.column(column).trunk

    def readers(self, column: str) -> list[str]:
        """Name the columns that have laterals from another."""
        return [name for name in self.blocks if column in self.column(name).sources]

    def grow(self, name: str, trunk: Encoder, sources: Sequence[str]) -> None:
        """Put a trunk beside the others, with laterals from the columns `sources`.

        Raises ValueError for a name that is taken or holds a dot, unknown sources, trunks without blocks, and
        ones that take something else than the first column.
        """
        self.name_new(name)
        for source in sources:
            self.column(source)
        chosen = {source: self.column(source) for source in self.blocks if source in sources}
        if not len(trunk.blocks):
            raise ValueError(f"{type(trunk).__name__} is not cut into blocks: no laterals reach it")
        first = next(iter(self.blocks), name)
        if chosen and (wanted := _input(trunk)) != (there := _input(self.trunk(first))):
            raise ValueError(
                f"{type(trunk).__name__} takes {wanted}, and column {first!r} {there}: columns read one "
                "stem; give another trunk, or no laterals and a stream with a stem of its own"
            )
        given = self.takes if chosen else trunk.takes
        self.blocks[name] = Column(name, trunk, chosen, given)
        self.dim = trunk.dim
        self._plans.clear()

    def remove(self, column: str) -> None:
        """Forget a column."""
        super().remove(column)
        self._plans.clear()

    def forward(
        self, batch: Batch, taps: Iterable[str] = (), start: tuple[str, Flow] | None = None
    ) -> Features:
        """Run what `taps` need, or the newest column; `x` is the end of the last one that was asked for.

        Raises ValueError for taps that are no columns or blocks, or that the stored inputs do not hold.
        """
        wanted, order = self._known(taps), list(self.blocks)
        asked = {tap.partition(".")[0] for tap in wanted} or {order[-1]}
        flow = self.run(batch, asked, start)
        last = max(asked, key=order.index)
        kept = {tap: self.read(tap, flow) for tap in {*wanted, last}}
        return kept[last]._replace(taps=kept)

    def run(
        self, batch: Batch, asked: Iterable[str], start: tuple[str, Flow] | None = None
    ) -> Flow:
        """Run the columns asked for and those that they depend on; what they gave is in `extra[TRACES]`."""
        flow, order = self.entered(batch) if start is None else start[1], list(self.blocks)
        for name in self._needed(asked):
            if name in flow.extra.get(TRACES, {}):
                continue
            if start is not None and order.index(name) < order.index(start[0]):
                raise ValueError(f"column {name!r} is not stored: inputs enter at {start[0]!r}")
            column = self.column(name)
            column.trunk.checkpointing = self.checkpointing
            flow = column(flow)
        return flow

    def _needed(self, asked: Iterable[str]) -> list[str]:
        """Name the columns asked for and all they depend on, in order."""
        found = set(asked)
        for name in reversed(list(self.blocks)):
            if name in found:
                found.update(self.column(name).sources)
        return [name for name in self.blocks if name in found]

    def read(self, tap: str, flow: Flow) -> Features:
        """Give a column's end, or one of its blocks."""
        name, _, block = tap.partition(".")
        traces, column = flow.extra[TRACES], self.column(name)
        if not block:
            return self.ended(name, column.end(traces), flow)
        if block not in traces[name].blocks:
            raise ValueError(f"block {tap!r} is not stored: read the column's end")
        return column.trunk.tap(traces[name].blocks[block])

    def awaited(self, at: str | None) -> str | None:
        """Name the column that must run for a task: none where stored inputs hold what it reads."""
        name, _, block = (at or "").partition(".")
        newest = list(self.blocks)[-1]
        read = [place for each in self.column(newest).reads.values() for place in each]
        held = (name, block) in read if block else not name or name in self._needed([newest])
        return None if held else name

    def _stored(self, start: str) -> Stored:
        """Say what the columns from `start` on need of earlier ones, and how it is stored."""
        if start not in self._plans:
            order = list(self.blocks)
            late = order[order.index(start) :]
            early = [name for name in self._needed(late) if name not in late]
            read = {p for name in late for each in self.column(name).reads.values() for p in each}
            inner = [(name, block) for name in early for block in self.trunk(name).blocks]
            places = [(name, "") for name in early] + [place for place in inner if place in read]
            widths = [self.trunk(name).dim_at(block or None) for name, block in places]
            probe, trunks = torch.arange(1, 65), [self.trunk(name) for name in early]
            aligned = all(
                trunk.takes and not trunk.maps and trunk.frames(probe).equal(probe)
                for trunk in trunks
            )
            self._plans[start] = Stored(places, widths, aligned)
        return self._plans[start]

    def store(self, flow: Flow, block: str) -> list[Tensor]:
        """Cut into examples what arrives at a column: the stem's output, and what earlier columns gave.

        Side by side, (T, sum of widths), where all are sequences as long as the stem's; else packed.
        """
        traces, parts = flow.extra.get(TRACES, {}), [Features(flow.x, flow.lengths)]
        places, _, aligned = self._stored(block)
        for name, inner in places:
            found = traces[name].blocks[inner] if inner else traces[name].end
            parts.append(Features(found.x, found.lengths))
        if not aligned:
            return pack(parts)
        joined = torch.cat([part.x for part in parts], 2) if places else flow.x
        return super().store(flow._replace(x=joined), block)

    def rejoin(self, batch: Batch) -> Flow:
        """Take apart what `store` joined."""
        places, widths, aligned = self._stored(batch.start)
        if not places:
            return super().rejoin(batch)
        if aligned:
            split = torch.split(batch.inputs, [batch.inputs.shape[2] - sum(widths), *widths], 2)
            first, *parts = [Features(x, batch.lengths) for x in split]
        else:
            first, *parts = unpack(batch.inputs, 1 + len(places))
        traces: dict[str, Any] = {}
        for (name, block), (x, lengths, _) in zip(places, parts, strict=True):
            if block:
                traces[name].blocks[block] = Flow(x, lengths, batch.groups)
            else:  # these come first
                traces[name] = Trace({}, Features(x, lengths))
        return Flow(first.x, first.lengths, batch.groups, {TRACES: traces})


class Column(nn.Module):
    """A trunk and its laterals; Flow to Flow, which carries the stem's output and the traces of columns."""

    def __init__(self, name: str, trunk: Encoder, sources: dict[str, "Column"], given: int) -> None:
        super().__init__()
        self.name, self.trunk, self.sources, self.dim = name, trunk, list(sources), trunk.dim
        self.inward: nn.Module | None = None
        if given and trunk.takes and given != trunk.takes:
            maps = trunk.maps == "first"
            self.inward = (
                nn.Conv2d(given, trunk.takes, 1) if maps else nn.Linear(given, trunk.takes)
            )
        self.laterals, self.last = nn.ModuleDict(), None
        self.reads: dict[str, list[tuple[str, str]]] = {}
        if not sources:
            return
        kinds, depth = [each.trunk.maps for each in sources.values()], len(trunk.blocks)
        for number, block in enumerate(trunk.blocks):
            if number:
                read = {n: abreast(each.trunk, number, depth) for n, each in sources.items()}
                widths = [each.trunk.dim_at(read[n]) for n, each in sources.items()]
                self.reads[block] = list(read.items())
                self.laterals[block] = Lateral(widths, kinds, trunk.dim_at(block), trunk.maps)
        ends = [each.dim for each in sources.values()]
        self.last = Lateral(ends, [""] * len(ends), trunk.dim)

    def forward(self, flow: Flow) -> Flow:
        """Run the column, and add its trace."""
        traces = flow.extra.get(TRACES, {})
        x = flow.x if self.inward is None else self.inward(flow.x)
        inner = self.trunk.entered(Batch(x, flow.lengths, groups=flow.groups))
        kept = {}
        for block in self.trunk.blocks:
            sources = [traces[name].blocks[other] for name, other in self.reads.get(block, ())]
            beside = partial(self.laterals[block], sources) if sources else None
            inner = kept[block] = self.trunk.advance(block, inner, beside)
        trace = Trace(kept, self.trunk.leave(inner))
        return flow._replace(extra={**flow.extra, TRACES: {**traces, self.name: trace}})

    def end(self, traces: dict[str, Trace]) -> Features:
        """Give what heads read: the column's end, with the lateral from those of others."""
        end = traces[self.name].end
        if self.last is None:
            return end
        added = self.last([traces[name].end for name in self.sources], end)
        kept = torch.arange(end.x.shape[1], device=added.device) < end.lengths[:, None]
        return end._replace(x=end.x + added * kept[..., None].to(added.dtype))

    def train(self, mode: bool = True) -> "Column":
        """Set the training mode; a frozen column keeps evaluating."""
        learns = mode and any(parameter.requires_grad for parameter in self.parameters())
        if learns or self.training or not mode:
            super().train(learns)
        return self


def _input(trunk: Encoder) -> str:
    """Say what a trunk takes from a stem."""
    if not trunk.takes:
        return "raw signals"
    return "maps" if trunk.maps else "sequences"


def abreast(trunk: Encoder, number: int, depth: int) -> str:
    """Name the block as deep in a trunk as the `number`-th of `depth`, counted from 1."""
    blocks = list(trunk.blocks)
    return blocks[max(1, round(number * len(blocks) / depth)) - 1]
