"""Borrowed: what columns took from earlier ones, by the scales they learnt and by two sensitivities."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mtl.lateral import Lateral
from mtl.model import Model
from mtl.sensitivity import Shares, fisher_sensitivity, perturbation_sensitivity
from mtl.stream import Data, Subset
from mtl.studies.lab import Lab
from mtl.trunks.columns import Columns

ROUNDS = 5  # of halving the interval of the noise: to a sixth of an octave and better
END = "end"  # the place of the lateral into the head
Scales = dict[str, dict[str, float]]  # by block, then by source


def borrowed(
    model: Model, lab: Lab, tasks: Sequence[str], looked_at: int, *, noise: bool = True
) -> dict[str, Any]:
    """Look at the columns of `tasks` that have sources, on up to `looked_at` test examples of each.

    Gives {"scales": {task: Scales}, "fisher": {task: Shares}, "perturbation": {task: Shares}}, the last with
    `noise` and for the newest task alone, as it takes many evaluations, and only where that does better than
    chance. Empty for a model without columns, or where there is nothing to look at.
    """
    trunk = model.trunk
    if not isinstance(trunk, Columns) or not looked_at:
        return {}
    grown = [task for task in tasks if task in trunk.blocks and trunk.column(task).sources]
    found: dict[str, Any] = {"scales": {task: scales(model, task) for task in grown}}
    found |= {"fisher": {}, "perturbation": {}}
    for task in grown:
        data = usable(lab, model, task, looked_at)
        if data is None:
            continue
        found["fisher"][task] = _rounded(fisher_sensitivity(model, data, task))
        if noise and task == grown[-1]:
            with suppress(ValueError):  # no better than chance: no noise can halve that
                borne = perturbation_sensitivity(model, data, task, rounds=ROUNDS)
                found["perturbation"][task] = _rounded(borne)
    return found


def scales(model: Model, column: str) -> Scales:
    """Give the learnt scales of a column's laterals, by block (`END`: into the head) and source.

    Raises ValueError for a trunk that has no columns, or not this one.
    """
    if not isinstance(model.trunk, Columns):
        raise ValueError(
            f"a {type(model.trunk).__name__} has no columns; grow one with `progressive`"
        )
    own, found = model.trunk.column(column), Scales()
    places: dict[str, Any] = {**own.laterals, END: own.last}
    for block, lateral in places.items():
        if isinstance(lateral, Lateral):
            values = [round(value, 5) for value in lateral.scales.tolist()]
            found[block] = dict(zip(own.sources, values, strict=True))
    return found


def usable(lab: Lab, model: Model, task: str, most: int) -> Data | None:
    """Give the first test examples of a task that the model can take, as data; None where there are none."""
    problem = lab.course.tasks[task]
    data = problem.data(model, problem.test[:most], stream=task)
    fine = []
    for index in range(len(data)):
        with suppress(ValueError):
            data.example(index)
            fine.append(index)
    return Subset(data, fine) if fine else None


def _rounded(shares: Shares) -> Shares:
    return {
        name: {block: round(value, 4) for block, value in own.items()}
        for name, own in shares.items()
    }
