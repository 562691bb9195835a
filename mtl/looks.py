"""Looks: how the gradients of tasks agree while they are trained, seen without touching the training."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import combinations, product
from typing import Any

import torch
from torch import Tensor, nn

from mtl.method import Phase, Totals
from mtl.score.affinity import affinity
from mtl.score.conflict import conflict
from mtl.step import Step
from mtl.stream import Part

Run = Callable[[], Iterator[dict[str, Tensor]]]  # gives each part's losses by task


class Looks:
    """Looks at what a step is about to learn: who conflicts with whom, and who helps whom.

    Conflict is the cosine between the gradients of two tasks, over all weights of stems and trunk that learn
    in `phase`; those that only one of the two reaches count in its length alone. Affinity (TAG, Fifty et al.
    2021) takes a plain gradient step on one task from the weights as they are, at the rates of the moment,
    heads left alone, and sees what becomes of all losses. A look costs a backward and a forward pass per
    task, and memory for a gradient of each.

    All of it is computed in 32 bit, since bf16 would round away what one step changes, and with the dropout
    that the training step is going to draw. Weights, buffers and gradients stay what they were, to the bit.
    """

    def __init__(self, step: Step, accelerator: Any, phase: Phase) -> None:
        self.step, self.accelerator, self.phase = step, accelerator, phase
        self._seen: list[tuple[Tensor, Tensor]] = []

    def look(
        self,
        parts: Sequence[Part],
        progress: float,
        groups: Iterable[Mapping[str, Any]],
        seed: Callable[[], None],
    ) -> None:
        """Look at the parts of a step; `groups` are the optimizer's, and `seed` seeds as for the step.

        Nothing is seen where there are fewer than two tasks, where nothing that they share learns, or where
        a loss or gradient is not finite.
        """
        rates = self._rates(groups)
        if len(self.step.model.tasks) < 2 or not rates:
            return
        totals = Totals(parts[0].examples, self.accelerator.num_processes, len(parts))
        device = self.accelerator.device
        moved = [{n: batch.to(device) for n, batch in part.batches.items()} for part in parts]
        run = partial(self._losses, moved, totals, progress, seed)
        with _kept(self.step.buffers()):
            before, rows = self._gradients(run, list(rates))
            after = torch.stack([self._after(run, row, rates) for row in rows])
        after[~rows.any(1)] = torch.nan  # no step on a task without examples
        if all(bool(found.isfinite().all()) for found in (before, rows, after[rows.any(1)])):
            self._seen.append((conflict(rows @ rows.T).cpu(), affinity(before, after).cpu()))

    def take(self) -> dict[str, dict[str, float]]:
        """Give the mean of what was seen since the last time, as a history has it; {} where nothing was.

        "conflict" holds the cosine of each pair as "a|b", "affinity" what a step on a does to b as "a>b".
        A pair whose tasks were never seen together is left out.
        """
        if not self._seen:
            return {}
        cosines, helped = (torch.stack(each).nanmean(0) for each in zip(*self._seen, strict=True))
        self._seen.clear()
        names = list(enumerate(self.step.model.tasks))
        pairs = {f"{a}|{b}": float(cosines[i, j]) for (i, a), (j, b) in combinations(names, 2)}
        helps = {f"{a}>{b}": float(helped[i, j]) for (i, a), (j, b) in product(names, repeat=2)}
        found = {"conflict": pairs, "affinity": helps}
        return {k: {n: v for n, v in each.items() if v == v} for k, each in found.items()}  # no NaN

    def _rates(self, groups: Iterable[Mapping[str, Any]]) -> dict[nn.Parameter, float]:
        """Give the learning rate of every weight of the encoder that the phase trains now."""
        model = self.step.model
        encoder = {id(p) for p in (*model.stems.parameters(), *model.trunk.parameters())}
        inside = encoder & {id(parameter) for parameter in self.phase.parameters}
        return {
            parameter: group["lr"]
            for group in groups
            for parameter in group["params"]
            if id(parameter) in inside and parameter.requires_grad
        }

    def _losses(
        self,
        moved: Sequence[dict[str, Any]],
        totals: Totals,
        progress: float,
        seed: Callable[[], None],
    ) -> Iterator[dict[str, Tensor]]:
        """Compute each part's losses by task, with the same random numbers every time."""
        seed()
        for batches in moved:
            # Not the wrapped forward, which would compute in lower precision and exchange gradients.
            read = self.step.compute(batches, self.phase.name, True, totals, progress)[1]
            losses = {name: task.loss for name, task in read.items()}
            del read
            yield losses
            losses.clear()  # frees the graph before the next part's

    def _gradients(self, run: Run, shared: Sequence[nn.Parameter]) -> tuple[Tensor, Tensor]:
        """Give the losses (T,) and gradients (T, P) of the global batch."""
        sizes, tasks = [parameter.numel() for parameter in shared], list(self.step.model.tasks)
        rows = torch.zeros(len(tasks), sum(sizes), device=self.accelerator.device)
        before = rows.new_zeros(len(tasks))
        for losses in run():
            for place, name in enumerate(tasks):
                if name in losses:
                    before[place] += losses[name].detach()
                    row = torch.split(rows[place], sizes)
                    for part, gradient in zip(row, _gradient(losses[name], shared), strict=True):
                        part += gradient
        return self._reduce(before), self._reduce(rows)

    @torch.no_grad()
    def _after(self, run: Run, row: Tensor, rates: Mapping[nn.Parameter, float]) -> Tensor:
        """Give the losses (T,) of the global batch after a step against a gradient (P,)."""
        after = row.new_zeros(len(self.step.model.tasks))
        places = {name: place for place, name in enumerate(self.step.model.tasks)}
        with _kept(rates):
            steps = torch.split(row, [parameter.numel() for parameter in rates])
            for (parameter, rate), step in zip(rates.items(), steps, strict=True):
                parameter.sub_(step.view_as(parameter), alpha=rate)
            for losses in run():
                for name, loss in losses.items():
                    after[places[name]] += loss
        return self._reduce(after)

    def _reduce(self, values: Tensor) -> Tensor:
        mean: Tensor = self.accelerator.reduce(values, "mean")
        return mean


def _gradient(loss: Tensor, shared: Sequence[nn.Parameter]) -> list[Tensor | float]:
    """Give the gradient of each weight, flat; 0 where the loss does not reach it."""
    if not loss.requires_grad:
        return [0.0] * len(shared)
    found = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
    return [0.0 if gradient is None else gradient.flatten() for gradient in found]


@contextmanager
def _kept(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Give tensors back the values they had."""
    kept = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in kept:
                tensor.copy_(value)
