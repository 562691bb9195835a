"""Optimizer: what moves the weights, how fast by the step, and which of them how fast by their depth."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from mtl.config import Fit
from mtl.encoder import Encoder


def rate(index: int, steps: int, warmup: float, schedule: str) -> float:
    """Give the learning rate's factor at a step: a linear rise, then the schedule's fall.

    "inverse" is that of Ganin et al. 2016, section 5.2.2.

    >>> [round(rate(index, 10, 0.2, "linear"), 3) for index in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.125]
    """
    rise = round(warmup * steps)
    if index < rise:
        return (index + 1) / rise
    fallen = (index - rise) / max(steps - rise, 1)
    falls = {"constant": 1.0, "linear": 1 - fallen, "cosine": (1 + math.cos(math.pi * fallen)) / 2}
    falls["inverse"] = (1 + 10 * fallen) ** -0.75
    return falls[schedule]


def depths(step: nn.Module) -> dict[str, int]:
    """Count for each parameter of a `Step` how many blocks it lies below the heads.

    Heads and methods are at 0, the last block and what follows it at 1, stems and what leads to the
    first block deepest.
    """
    trunk = cast(Encoder, step.get_submodule("model.trunk"))
    blocks = list(trunk.blocks)
    found = {}
    for name, _ in step.named_parameters():
        place = name.removeprefix("model.").split(".")
        depth = 0
        if place[0] == "stems" or place[0] == "trunk":
            depth = len(blocks) + 1
        if place[0] == "trunk" and place[1] in ("blocks", "after"):
            depth = len(blocks) - blocks.index(place[2])
        elif any(f"{name}.".startswith(f"model.trunk.{last}.") for last in trunk.last):
            depth = 1
        found[name] = depth
    return found


class Several(torch.optim.Optimizer):
    """Optimizers that are one: each moves parameters of its own.

    >>> a, b = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    >>> both = Several([torch.optim.SGD([a], lr=0.5), torch.optim.SGD([b], lr=0.1)])
    >>> [group["lr"] for group in both.param_groups]
    [0.5, 0.1]
    """

    def __init__(self, each: Sequence[torch.optim.Optimizer]) -> None:
        self.each = list(each)
        super().__init__(self._joined(), {})

    def _joined(self) -> list[dict[str, Any]]:
        """Give the groups themselves, not copies: who sets a rate here sets it there."""
        return [group for one in self.each for group in one.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Let each take a step."""
        for one in self.each:
            one.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """Give the states of all."""
        return {"each": [one.state_dict() for one in self.each]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the states of all."""
        for one, state in zip(self.each, state_dict["each"], strict=True):
            one.load_state_dict(state)
        self.param_groups = self._joined()


def make_optimizer(step: nn.Module, config: Fit) -> torch.optim.Optimizer:
    """Make what moves the parameters that are not frozen; ValueError where all are.

    A method's own networks have an Adam of their own where it asks for that.
    """
    trainable = {name: p for name, p in step.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("nothing to train: every parameter is frozen")
    own: list[torch.optim.Optimizer] = []
    for method in cast(nn.ModuleDict, step.get_submodule("methods")).values():
        found = [parameter for parameter in method.parameters() if parameter.requires_grad]
        if found and (adam := cast(Any, method).adam):
            inside = {id(parameter) for parameter in found}
            trainable = {n: p for n, p in trainable.items() if id(p) not in inside}
            # A step's rate is config.lr times the schedule times the scale.
            group = {"params": found, "scale": adam.lr / config.lr}
            own.append(torch.optim.Adam([group], lr=adam.lr, betas=adam.betas, fused=True))
    rest = [_mover(_groups(trainable, step, config), config)] if trainable else []
    return Several([*rest, *own]) if own else rest[0]


def _mover(groups: list[dict[str, Any]], config: Fit) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        made = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
        # torch fails where some weights meet their first gradient later than others; 0 changes nothing.
        for parameter in (p for group in groups for p in group["params"] if config.momentum):
            made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return made
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)


def _groups(
    trainable: Mapping[str, nn.Parameter], step: nn.Module, config: Fit
) -> list[dict[str, Any]]:
    """Group parameters by depth, for layer-wise rates, and by decay: on matrices only, since biases,
    norms and scales have no reason to be small.
    """
    below = depths(step) if config.lr_decay < 1 else dict.fromkeys(trainable, 0)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for decayed in (True, False):
        for name, parameter in trainable.items():
            if (parameter.dim() > 1) == decayed:
                groups.setdefault((below[name], decayed), []).append(parameter)
    return [
        {
            "params": members,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "scale": config.lr_decay**depth,
        }
        for (depth, decayed), members in groups.items()
    ]
