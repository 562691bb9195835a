"""Rows: the gradients of the tasks of one step, kept apart where tasks share weights, and combined.

What tasks share is the encoder, stems and trunk; each head learns from its own task's gradient alone, and
what methods add is one more gradient, of weight 1. DistributedDataParallel never sees these gradients: every
process reduces the same rows and solves the same small problem, so that all of them stay equal to the bit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl.balancing import Balance
from mtl.step import Read, Step


def last_matrix(trunk: nn.Module) -> list[nn.Parameter]:
    """Give the weights of the last module of a trunk that has a matrix and learns.

    Raises ValueError where none does.
    """
    for module in reversed(list(trunk.modules())):
        own = [p for p in module.parameters(recurse=False) if p.requires_grad]
        if any(parameter.dim() > 1 for parameter in own):
            return own
    raise ValueError("gramian 'last': no matrix of the trunk learns; take 'features'")


class Rows:
    """The tasks' gradients of one step, over all its parts: what to ask of each loss, and in the end.

    One buffer (T, P) serves all steps; the losses' graphs are freed as soon as they are used.
    """

    def __init__(self, balance: Balance, step: Step, accelerator: Any) -> None:
        self.balance, self.step, self.accelerator = balance, step, accelerator
        self.model = step.model
        self._buffer = torch.zeros(0)
        self._weights: Tensor | None = None
        self.gramian: Tensor | None = None

    def begin(self) -> bool:
        """Start a step; say whether anything that tasks share learns in it."""
        self._weights = self.gramian = None
        encoder = [*self.model.stems.parameters(), *self.model.trunk.parameters()]
        self._shared = [p for p in dict.fromkeys(encoder) if p.requires_grad]
        if not self._shared:
            return False
        self._reached = [False] * len(self._shared)
        exact = self.balance.source == "all"
        compared = self._shared if exact else []
        if self.balance.source == "last":
            compared = last_matrix(self.model.trunk)
        self._compared = compared
        width = sum(parameter.numel() for parameter in compared)
        shape = (len(self.balance.tasks), width)
        if self._buffer.shape != shape:
            self._buffer = torch.zeros(shape, device=self.accelerator.device)
        self._buffer.zero_()
        return True

    def add(self, read: Mapping[str, Read], terms: Tensor | None) -> None:
        """Take in a part: `read` by task, and the sum of what methods add."""
        read = {name: task for name, task in read.items() if task.loss.requires_grad}  # not frozen
        if terms is not None:
            torch.autograd.backward(terms, retain_graph=True)
        if self.balance.source == "all":
            self._exact(read)
        else:
            self._upper(read)

    def _exact(self, read: Mapping[str, Read]) -> None:
        """Add each task's gradient of all shared weights to its row, and that of its head to the head."""
        last = {task.stream: name for name, task in read.items()}
        for name, task in read.items():
            own = self._own(name)
            keep = last[task.stream] != name
            found = torch.autograd.grad(
                task.loss, [*self._shared, *own], retain_graph=keep, allow_unused=True
            )
            count = len(self._shared)
            self._write(name, self._shared, found[:count])
            reached = zip(self._reached, found[:count], strict=True)
            self._reached = [before or g is not None for before, g in reached]
            _accumulate(own, found[count:])

    def _upper(self, read: Mapping[str, Read]) -> None:
        """Go back to the features task by task, and from there once, with the tasks' weights."""
        reached: dict[str, Tensor] = {}
        for name, task in read.items():
            own = self._own(name)
            below = [task.features] if task.features.requires_grad else []
            found = torch.autograd.grad(task.loss, [*below, *own], allow_unused=True)
            _accumulate(own, found[len(below) :])
            if below and found[0] is not None:
                reached[name] = found[0]
        if self._weights is None:
            self._weights = self._solve(self._compare(read, reached))
        weights = dict(zip(self.balance.tasks, self._weights.tolist(), strict=True))
        roots: dict[int, Tensor] = {}
        summed: dict[int, Tensor] = {}
        for name, upper in reached.items():
            key = id(read[name].features)
            roots[key] = read[name].features
            weighted = weights[name] * upper
            summed[key] = summed[key] + weighted if key in summed else weighted
        torch.autograd.backward(list(roots.values()), list(summed.values()))

    def _compare(self, read: Mapping[str, Read], reached: Mapping[str, Tensor]) -> Tensor:
        """Give the Gramian of the last matrix' gradients, or of those of the features."""
        if self.balance.source == "last":
            for name, upper in reached.items():
                features = read[name].features
                found = torch.autograd.grad(
                    features, self._compared, upper, retain_graph=True, allow_unused=True
                )
                self._write(name, self._compared, found)
            return self._gramian()
        places = {name: place for place, name in enumerate(self.balance.tasks)}
        width = max((upper.numel() for upper in reached.values()), default=0)  # no labels: none
        rows = torch.zeros(len(places), width, device=self.accelerator.device)
        for name, upper in reached.items():
            rows[places[name]] = upper.flatten()
        # Features of different processes are different coordinates of one long vector.
        gramian: Tensor = self.accelerator.reduce(rows @ rows.T, "sum")
        whole: Tensor = gramian / self.accelerator.num_processes**2
        return whole

    def _gramian(self) -> Tensor:
        """Reduce the rows over the processes, once, and compare them."""
        if self.accelerator.num_processes > 1:
            self._buffer.copy_(self.accelerator.reduce(self._buffer, "mean"))
        return self._buffer @ self._buffer.T

    def _solve(self, gramian: Tensor) -> Tensor:
        """Ask the method for weights; what is not finite gets none, so that the step is left out."""
        scaler = self.accelerator.scaler
        scale = 1.0 if scaler is None else scaler.get_scale()
        self.gramian = gramian.double().cpu() / scale**2
        if not bool(self.gramian.isfinite().all()):
            return torch.full((len(self.gramian),), torch.nan, dtype=torch.float64)
        return self.balance.weights(self.gramian)

    def finish(self, terms: bool) -> None:
        """Set the gradients of the shared weights, and make all gradients those of the global batch."""
        done: set[int] = set()
        if self.balance.source == "all":
            weights = self._solve(self._gramian()).to(self._buffer)
            combined = torch.split(weights @ self._buffer, [p.numel() for p in self._shared])
            # What no task reaches must not be moved by the optimizer's momentum.
            reached = torch.tensor(self._reached, device=self.accelerator.device).float()
            keep = self.accelerator.reduce(reached, "sum").tolist()
            pairs = zip(self._shared, combined, keep, strict=True)
            _accumulate(self._shared, [g.view_as(p) if some else None for p, g, some in pairs])
            done = set() if terms else {id(parameter) for parameter in self._shared}
        if self.accelerator.num_processes > 1:
            self._average(done)

    def _average(self, done: set[int]) -> None:
        """Average the gradients over the processes in one exchange, but for what is `done`."""
        held = [p for p in self.step.parameters() if p.requires_grad and id(p) not in done]
        used = torch.tensor([p.grad is not None for p in held], device=self.accelerator.device)
        flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in held]
        sizes = [parameter.numel() for parameter in held]
        joined = torch.cat([*(g.flatten() for g in flat), used.to(flat[0].dtype)])
        mean = self.accelerator.reduce(joined, "mean")
        reached = mean[sum(sizes) :].tolist()
        means = torch.split(mean, [*sizes, len(held)])
        for parameter, gradient, seen in zip(held, means[:-1], reached, strict=True):
            parameter.grad = gradient.view_as(parameter).clone() if seen else None

    def _own(self, name: str) -> list[nn.Parameter]:
        """List what learns from one task alone."""
        return [p for p in self.model.head(name).parameters() if p.requires_grad]

    def _write(
        self, name: str, parameters: Sequence[nn.Parameter], found: Iterable[Tensor | None]
    ) -> None:
        """Add a gradient to a task's row."""
        row = self._buffer[self.balance.tasks.index(name)]
        parts = torch.split(row, [parameter.numel() for parameter in parameters])
        for part, gradient in zip(parts, found, strict=True):
            if gradient is not None:
                part += gradient.flatten()


def _accumulate(parameters: Sequence[nn.Parameter], found: Iterable[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, found, strict=True):
        if gradient is not None:
            held = parameter.grad
            parameter.grad = gradient if held is None else held + gradient
