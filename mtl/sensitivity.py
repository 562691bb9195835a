"""sensitivity: what a task takes from each column of a progressive network. Rusu et al. 2016, section 3."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from mtl.batch import Batch, Example, Flow, Labels, collate
from mtl.evaluate import evaluate
from mtl.head import Task
from mtl.model import Model
from mtl.ops import valid
from mtl.predict import chunks
from mtl.score.afs import afs
from mtl.score.aps import aps
from mtl.stream import Data
from mtl.trunks.columns import TRACES, Columns, abreast

Shares = dict[str, dict[str, float]]  # by column, then by block of the task's own column
LIMITS = (2.0**-10, 2.0**10)  # of the noise, in units of what it is added to


def fisher_sensitivity(model: Model, data: Data, task: str, batch: float = 60.0) -> Shares:
    """Give the average Fisher sensitivity of a task: each block's shares, over all columns, sum to 1.

    `data` needs labels of the task, which stand for samples of what the model believes; a forward and a
    backward pass over them is all it costs. Columns of unequal widths are compared by their sums over units.
    Raises ValueError for a task that reads no column's end, and data without its labels.
    """
    trunk, own, found = _columns(model, task), model.tasks[task], _Moments()
    layers = _layers(trunk, cast(str, own.at))
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for labelled in _labelled(data, own, batch):
        found.add(_derivatives(model, labelled.to(next(model.parameters()).device), own, layers))
    for module, mode in modes.items():
        module.training = mode
    if not found.count:
        raise ValueError(f"no example has a label of task {task!r}")
    return _table(layers, {block: afs(found.fisher(at.values())) for block, at in layers.items()})


def perturbation_sensitivity(
    model: Model, data: Data, task: str, *, batch: float = 60.0, rounds: int = 7
) -> Shares:
    """Give the average perturbation sensitivity of a task, in the shape of `fisher_sensitivity`.

    For each block of each column it seeks the noise that takes half of 1 - error away, with `rounds`
    evaluations of the data, each of which halves an interval of 20 octaves.

    Differs: noise is in units of the root mean square of what it is added to, so that columns of several
    scales compare; and half of what is above chance, which noise on the last block of all columns leaves.
    Raises ValueError as `fisher_sensitivity` does, and for a task that does not do better than chance.
    """
    trunk, own = _columns(model, task), model.tasks[task]
    layers = _layers(trunk, cast(str, own.at))
    only = _Only(data, own.label or task)

    def score(places: Iterable[tuple[str, str]], deviation: float) -> float:
        with ExitStack() as stack:
            for place in places:
                stack.enter_context(_noise(trunk, ".".join(place), deviation))
            return max(0.0, 1 - evaluate(model, {own.stream: only}, batch=batch).score())

    clean, chance = score([], 0.0), score(list(layers.values())[-1].values(), LIMITS[1])
    if clean <= chance:
        raise ValueError(
            f"task {task!r} scores {clean:.3f}, no better than with noise: train it first"
        )

    def halved(place: tuple[str, str], deviation: float) -> bool:
        return score([place], deviation) <= (clean + chance) / 2

    bearable = {
        place: _halving(partial(halved, place), rounds)
        for layer in layers.values()
        for place in layer.values()
    }
    found = {
        block: aps(torch.tensor([bearable[place] for place in layer.values()]))
        for block, layer in layers.items()
    }
    return _table(layers, found)


class Noise(nn.Module):
    """Adds noise of a `deviation`, in units of the root mean square of the batch, the same at every use."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation, self.drawn = deviation, torch.Generator().manual_seed(0)

    def forward(self, flow: Flow) -> Flow:
        """Add the noise."""
        noise = torch.randn(flow.x.shape, generator=self.drawn).to(flow.x)
        return flow._replace(x=flow.x + self.deviation * flow.x.square().mean().sqrt() * noise)


class _Moments:
    """Sums over examples of units' activations and squared derivatives, by (column, block)."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str], Tensor] = {}
        self.count = 0

    def add(self, found: Mapping[tuple[str, str], tuple[Tensor, Tensor]]) -> None:
        """Take in a batch: activations (N, M) and derivatives (N, M) of N frames or places."""
        self.count += 1
        for place, (x, g) in found.items():
            x, g = x.double(), g.double()
            new = torch.stack([torch.ones_like(x[0]) * len(x), x.sum(0), x.square().sum(0)])
            new = torch.cat([new, g.square().sum(0, keepdim=True)])
            self.sums[place] = self.sums[place] + new if place in self.sums else new

    def fisher(self, places: Any) -> Tensor:
        """Give (K, M), times the variance of each unit: of derivatives with respect to normalised units."""
        rows = []
        for place in places:
            count, total, squares, derivative = self.sums[place]
            rows.append((squares / count - (total / count).square()).clamp(min=0) * derivative)
        return torch.stack(
            rows if len({len(row) for row in rows}) == 1 else [r.sum()[None] for r in rows]
        )


def _columns(model: Model, task: str) -> Columns:
    """Give the columns. Raises ValueError where the task does not read the end of one."""
    model.head(task)
    at = model.tasks[task].at
    if not isinstance(model.trunk, Columns) or at not in list(model.trunk.blocks):
        raise ValueError(f"task {task!r} reads {at or 'the trunk'}, which is no column's end")
    return model.trunk


def _layers(trunk: Columns, own: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Give, for each block of a column, the blocks of all columns that stand abreast: (column, block)."""
    column, found = trunk.column(own), {}
    names, depth = [*column.sources, own], len(column.trunk.blocks)
    for number, block in enumerate(column.trunk.blocks, 1):
        found[block] = {n: (n, abreast(trunk.trunk(n), number, depth)) for n in names}
    return found


def _table(layers: Mapping[str, Mapping[str, Any]], shares: Mapping[str, Tensor]) -> Shares:
    columns = list(next(iter(layers.values())))
    return {
        column: {block: float(shares[block][row]) for block in layers}
        for row, column in enumerate(columns)
    }


def _labelled(data: Data, task: Task, batch: float) -> Iterator[Batch]:
    """Load the examples that have a label of the task."""
    for chunk in chunks(data.seconds, batch):
        examples = [data.example(index) for index in chunk]
        if kept := [each for each in examples if (task.label or task.name) in each.labels]:
            yield collate(kept)


def _derivatives(
    model: Model, batch: Batch, task: Task, layers: Mapping[str, Mapping[str, tuple[str, str]]]
) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    """Give activations, and derivatives of the examples' log-likelihood, as rows of units."""
    trunk = cast(Columns, model.trunk)
    with torch.enable_grad():
        stemmed = model.stem(task.stream)(batch)
        x = stemmed.x.detach().requires_grad_()  # so that frozen columns keep their graph
        flow = trunk.run(batch._replace(inputs=x, lengths=stemmed.lengths), [cast(str, task.at)])
        head, features = model.head(task.name), trunk.read(cast(str, task.at), flow)
        labels: Labels = batch.labels[task.label or task.name]
        loss = head.loss(head.scores(features), labels).sum()
        places = dict.fromkeys(place for layer in layers.values() for place in layer.values())
        flows = {(n, b): flow.extra[TRACES][n].blocks[b] for n, b in places}
        found = torch.autograd.grad(loss, [each.x for each in flows.values()], allow_unused=True)
    rows = {}
    for ((name, block), each), gradient in zip(flows.items(), found, strict=True):
        gradient = torch.zeros_like(each.x) if gradient is None else gradient
        kind = trunk.trunk(name).maps
        rows[name, block] = _rows(each, each.x, kind), _rows(each, gradient, kind)
    return rows


def _rows(flow: Flow, x: Tensor, maps: str) -> Tensor:
    """Lay out valid frames, or the places of maps, as rows (N, M)."""
    x = x.detach()
    if maps:
        return (x if maps == "last" else x.permute(0, 2, 3, 1)).flatten(0, 2)
    return x[valid(flow.lengths, x.shape[1])]


def _halving(halved: Callable[[float], bool], rounds: int) -> float:
    """Find the least deviation at which `halved` says yes; infinite where it never does."""
    low, high = LIMITS
    if not halved(high):
        return math.inf
    for _ in range(rounds):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if halved(middle) else (middle, high)
    return math.sqrt(low * high)


@contextmanager
def _noise(trunk: Columns, place: str, deviation: float) -> Iterator[None]:
    """Put noise behind a block for a while."""
    column, _, block = place.partition(".")
    trunk.put_after(place, "noise", Noise(deviation))
    behind = trunk.trunk(column).after
    try:
        yield
    finally:
        inside = cast(nn.ModuleDict, behind[block])
        del inside["noise"]
        if not len(inside):
            del behind[block]


class _Only:
    """A data set with one kind of labels."""

    def __init__(self, data: Data, label: str) -> None:
        self.data, self.label = data, label
        self.seconds, self.ids = data.seconds, data.ids

    def __len__(self) -> int:
        return len(self.data)

    def column(self, name: str) -> Any:
        """Give a property of every example."""
        return self.data.column(name)

    def labels(self, index: int) -> Mapping[str, Any]:
        """Give the label of an example, if it has one."""
        return {name: v for name, v in self.data.labels(index).items() if name == self.label}

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Give an example."""
        return self.data.example(index, draw, targets)
