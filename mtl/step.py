"""Step: everything one training step computes, in ONE forward call.

DistributedDataParallel is right in every case only when the wrapped module takes the whole step in one
call; so model and methods live in one module and losses are computed inside its forward.
"""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from mtl.balancing import Balance
from mtl.batch import Batch, Labels
from mtl.head import Task
from mtl.method import Method, Phase, Totals, View
from mtl.model import Model
from mtl.passes import one_by_one, together

TRAIN = "train"
TOUCH = "touch."  # no task may be named so
Each = tuple[Tensor, Tensor | None, tuple[str, ...]]


class Output(NamedTuple):
    """`losses` to add up and run backward on; `sums` = (loss sum, count) per task to report; `each` =
    (losses, labelled rows, ids) per task, looked at only where the step turns out not finite.
    """

    losses: dict[str, Tensor]
    sums: dict[str, Tensor]
    each: dict[str, Each]

    def guilty(self) -> list[str]:
        """Name the examples whose loss is not finite."""
        return [name for each in self.each.values() for name in _not_finite(*each)]


class Read(NamedTuple):
    """A task's loss, and the features that its head read."""

    loss: Tensor
    features: Tensor
    stream: str


class Step(nn.Module):
    """A model, the methods that train it, and what balances its tasks.

    The objective of a stream is the mean over the examples of the GLOBAL batch of the sum of its tasks'
    losses times their weights: an example counts the same whichever task labels it, whichever process
    or accumulation part holds it. Method terms are averaged over processes and parts. With `one_pass`,
    streams of one stem run together, see `mtl.passes`.
    """

    def __init__(
        self,
        model: Model,
        methods: Mapping[str, Method] | None = None,
        balance: Balance | None = None,
        one_pass: bool = False,
    ) -> None:
        super().__init__()
        if one_pass and any(made["name"] == "domain_norm" for made in model.edits):
            raise ValueError("domain_norm needs a pass for each stream: leave out fit.one_pass")
        self.one_pass = one_pass
        self.model = model
        self.balance = balance
        self.methods = nn.ModuleDict(dict(methods or {}))
        heads = [[p.requires_grad for p in head.parameters()] for head in model.heads.values()]
        self.idle = any(held and not any(held) for held in heads)  # some tasks may teach nothing
        for method in self._methods().values():
            method.build(model)
        extra = [phase for method in self._methods().values() for phase in method.phases()]
        self.bare = {phase.name for phase in extra if not phase.features}

    def _methods(self) -> dict[str, Method]:
        return cast(dict[str, Method], dict(self.methods.items()))

    def phases(self) -> list[Phase]:
        """Give all phases, `train` first."""
        extra = [phase for method in self._methods().values() for phase in method.phases()]
        claimed = {id(parameter) for phase in extra for parameter in phase.parameters}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in claimed]
        phases = [Phase(TRAIN, rest, tasks=True), *extra]
        names = [phase.name for phase in phases]
        if len(set(names)) < len(names):
            raise ValueError(f"two phases share a name: {names}")
        return phases

    def forward(
        self, batches: dict[str, Batch], phase: str, tasks: bool, totals: Totals, progress: float
    ) -> Output:
        """Compute the losses of one phase on this process' part of the global batch."""
        return self.compute(batches, phase, tasks, totals, progress)[0]

    def compute(
        self, batches: dict[str, Batch], phase: str, tasks: bool, totals: Totals, progress: float
    ) -> tuple[Output, dict[str, Read]]:
        """Do what `forward` does, and give the features that each task read.

        They are no part of the output: DistributedDataParallel would take what leads to them for used.
        """
        bare = phase in self.bare
        for method in () if bare else self._methods().values():
            batches = method.inputs(batches)
        taps = {tap for method in self._methods().values() for tap in method.taps}
        wanted = {name: taps | self._task_taps(name, batch) for name, batch in batches.items()}
        run = together if self.one_pass else one_by_one
        features = {} if bare else run(self.model, batches, wanted)
        view = View(phase, batches, features, {}, {}, self.model, progress, totals)
        losses: dict[str, Tensor] = {}
        sums: dict[str, Tensor] = {}
        each: dict[str, Each] = {}
        for stream, batch in batches.items():
            weights = torch.ones_like(batch.lengths) if batch.weights is None else batch.weights
            scaled = weights * (totals.processes / max(totals.examples.get(stream, 1), 1))
            own: dict[str, Each] = {}
            asked = (tasks or self.methods) and not bare
            for task in self.model.tasks_of(stream) if asked else ():
                self._task(task, batch, scaled, view, losses if tasks else {}, own)
            sums |= _sums(own, weights)
            each |= own
        for name, method in self._methods().items():
            for term, value in method.terms(view).items():
                if f"{name}/{term}" in sums:
                    raise ValueError(f"two loss terms are named {name}/{term}")
                if value.requires_grad:  # else it is there to be reported
                    losses[f"{name}/{term}"] = value / totals.parts
                sums[f"{name}/{term}"] = torch.stack([value.detach(), torch.ones_like(value)])
        if self.idle and torch.is_grad_enabled():
            losses = {name: loss for name, loss in losses.items() if loss.requires_grad}
        if totals.parts > 1 or (totals.processes > 1 and self.idle and not losses):
            # Accumulation: processes exchange gradients in the last part only, where a head that just
            # an earlier part used must not look unused. And a process that learns nothing takes part, too.
            touched = [
                parameter.sum() for parameter in self.parameters() if parameter.requires_grad
            ]
            losses[TOUCH] = 0.0 * torch.stack(touched).sum()
        read = {
            name: Read(losses[name], view.features[task.stream].at(task.at).x, task.stream)
            for name, task in self.model.tasks.items()
            if name in losses
        }
        return Output(losses, sums, each), read

    def _task_taps(self, stream: str, batch: Batch) -> set[str]:
        read = [t.at for t in self.model.tasks_of(stream) if (t.label or t.name) in batch.labels]
        return {at for at in read if at is not None}

    def _task(
        self,
        task: Task,
        batch: Batch,
        weights: Tensor,
        view: View,
        losses: dict[str, Tensor],
        named: dict[str, Each],
    ) -> None:
        """Add one task's scores and losses to the view and its reduced loss to `losses`."""
        labels = batch.labels.get(task.label or task.name)
        if labels is None:
            return
        features = view.features[task.stream].at(task.at)
        rows, labels = _present(labels)
        if rows is not None:
            features = features.select(rows)
        if not len(features.lengths):
            return
        head = self.model.head(task.name)
        scores = view.scores[task.name] = head.scores(features)
        each = view.losses[task.name] = head.loss(scores, labels)
        weights = (weights if rows is None else weights[rows]).to(each.dtype)
        loss = torch.dot(each, weights)
        losses[task.name] = loss if task.weight == 1 else task.weight * loss
        named[task.name] = (each.detach(), rows, batch.ids)


def _sums(named: Mapping[str, Each], weights: Tensor) -> dict[str, Tensor]:
    """Give (loss sum, count) per task of one stream, of the examples that weigh something."""
    counted = (weights > 0).float()
    whole = [name for name, (_, rows, _) in named.items() if rows is None]
    found = {}
    if whole:  # at once: with many heads, small operations are what a step costs
        stacked = torch.stack([named[name][0].float() for name in whole])
        totals = torch.stack([stacked @ counted, counted.sum().expand(len(whole))], 1)
        found = dict(zip(whole, totals.unbind(), strict=True))
    for name, (each, rows, _) in named.items():
        if rows is not None:
            some = counted[rows]
            found[name] = torch.stack([each.float() @ some, some.sum()])
    return found


def _present(labels: Labels) -> tuple[Tensor | None, Labels]:
    """Give the labelled rows (None for all of them) and their labels."""
    if labels.present is None or bool(labels.present.all()):
        return None, labels
    rows = labels.present.nonzero().flatten()
    return rows, labels.select(rows)


def _not_finite(each: Tensor, rows: Tensor | None, ids: tuple[str, ...]) -> list[str]:
    """Name the examples whose loss is not finite."""
    wrong = (~each.isfinite()).nonzero().flatten()
    wrong = wrong if rows is None else rows[wrong]
    return [ids[row] for row in wrong.tolist()] if ids else []
