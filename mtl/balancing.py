"""Balancing: which method of `mtl/balance` weighs a model's tasks, what it compares, and its state."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtl.model import Model
from mtl.registry import names

LOSSES = "losses"  # of the last step, as `mtl/balance` wants them
Combine = Callable[[Tensor, Tensor | None, Tensor, dict[str, Tensor]], Tensor]
SOURCES = ("all", "last", "features")


class Balance(nn.Module):
    """A method of `mtl/balance` and its state for a model's tasks, saved with the run.

    `source` says which gradients are compared: of "all" weights that tasks share, exactly; of the "last"
    matrix of the trunk (Chen et al. 2018); or of the "features" (MGDA-UB, Sener and Koltun 2018). The last
    two cost little more than the plain sum; there the parts of an accumulated step take the weights that the
    first part gives. Raises ValueError for a method or source that there is not, and for tasks whose
    gradients the source cannot compare.

    >>> from mtl.stems.pixels import Pixels
    >>> from mtl.trunks.resnet import ResNet
    >>> model = Model({"images": Pixels(1, 16, 4)}, ResNet(4, [8]))
    >>> Balance(model, "mgda", "last").method
    'mgda'
    """

    def __init__(self, model: Model, method: str, source: str = "all") -> None:
        super().__init__()
        self._combine, fresh, self.gradients = look_up(method)
        if source not in SOURCES:
            raise ValueError(f"gramian {source!r}; choose from {', '.join(SOURCES)}")
        self.method, self.source = method, source
        self.tasks = list(model.tasks)
        if self.gradients:
            _comparable(model, source)
        self.register_buffer(LOSSES, torch.full((len(self.tasks),), torch.nan, dtype=torch.float64))
        for name, value in fresh(len(self.tasks)).items():
            self.register_buffer(name, value)

    def weights(self, gramian: Tensor | None = None) -> Tensor:
        """Combine: (T,) float64 on the processor, from the Gramian of the rows or the last losses alone."""
        state = {name: value.cpu() for name, value in self.named_buffers()}
        losses = state.pop(LOSSES)
        size = len(self.tasks)
        known = gramian if gramian is not None else torch.eye(size, dtype=torch.float64)
        weights: Tensor = self._combine(losses, None, known, state)
        for name, value in state.items():
            self.get_buffer(name).copy_(value)
        return weights

    def saw(self, sums: Mapping[str, Tensor], accelerator: Any) -> None:
        """Remember the mean losses of a step from the sums and counts of all processes."""
        empty = self.get_buffer(LOSSES).new_zeros(2)
        table = torch.stack([sums[n].to(empty) if n in sums else empty for n in self.tasks])
        table = accelerator.reduce(table, "sum")
        self.get_buffer(LOSSES).copy_(table[:, 0] / table[:, 1])  # NaN where a task had no example


def look_up(method: str) -> tuple[Combine, Callable[[int], dict[str, Tensor]], bool]:
    """Find a method of `mtl/balance`: what combines, what makes its state for T tasks, and whether it looks
    at gradients. Raises ValueError, naming all, for one that there is not.
    """
    if method not in names("balance"):
        raise ValueError(f"mtl/balance has no {method!r}; it has: {', '.join(names('balance'))}")
    module = importlib.import_module(f"mtl.balance.{method}")
    return getattr(module, method), getattr(module, "fresh", lambda tasks: {}), module.GRADIENTS


def _comparable(model: Model, source: str) -> None:
    """Refuse tasks between whose gradients the source sees nothing in common."""
    if source == "last" and (inner := [t.name for t in model.tasks.values() if t.at is not None]):
        raise ValueError(
            f"task {inner[0]!r} reads an inner block, whose loss does not reach the trunk's last matrix: "
            "take gramian 'all'"
        )
    places = sorted({f"{task.stream} {task.at or ''}".strip() for task in model.tasks.values()})
    if source == "features" and len(places) > 1:
        raise ValueError(
            f"tasks read different features ({', '.join(places)}), whose gradients cannot be compared: "
            "take gramian 'all' or 'last'"
        )
