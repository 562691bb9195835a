"""Arms: ways to learn tasks that come one after another, and what each leaves of them.

scratch      a network of its own for each
head         one head after another on the first task's network, which is frozen
tuned        one network, all of which is tuned on each task in turn
random       columns beside a frozen one that never learnt
progressive  columns, each beside all earlier ones (Rusu et al. 2016)
begun        the same, but that each column begins with the first one's weights
harmful      a column for the second task beside one that learnt the first with shuffled labels
replay       tuned, with stored examples of earlier tasks in the bytes that their columns would take
compress     columns that the first network learns from, one by one (Schwarz et al. 2018)
"""

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from mtl.batch import Batch, collate
from mtl.methods.compress import Compress, consolidate, information
from mtl.model import Model
from mtl.stream import Stream
from mtl.studies.lab import Lab
from mtl.studies.memory import stored
from mtl.trunks.columns import Columns

Learnt = Iterator[tuple[str, Model]]  # a task, and the model that has just learnt it
TOLD = 200  # examples of which the Fisher information is the mean


def run(arm: str, lab: Lab) -> tuple[Model, dict[str, Any]]:
    """Learn a course; give the last model and, by task, what it costs and its errors.

    They are `after` learning the task and at the `end`, which are the same where each task has a model of its
    own. Raises ValueError for an arm that is not known.
    """
    found: dict[str, dict[str, Any]] = {}
    for task, model in look_up(arm)(lab):
        after = lab.measure(model, task)
        cost = (
            lab.costs.get(task, {}) if task != lab.course.names[0] else {}
        )  # by another arm, perhaps
        found[task] = {"after": after, "end": after, **cost}
    for task in list(found)[:-1]:
        if task in model.tasks:
            found[task]["end"] = lab.measure(model, task)
    figures = {"tasks": found, "one": all(task in model.tasks for task in found)}
    notes = [*lab.notes, *lab.course.notes]
    figures |= {"order": lab.course.names, "notes": notes, "untrained": lab.untrained}
    return model, figures


def look_up(arm: str) -> Callable[[Lab], Learnt]:
    """Find an arm. Raises ValueError for one that is not known."""
    if arm not in ARMS:
        raise ValueError(f"arm {arm!r} is not known; choose from {', '.join(ARMS)}")
    return ARMS[arm]


def scratch(lab: Lab) -> Learnt:
    """Learn each task with a network of its own."""
    first, *rest = lab.course.names
    yield first, lab.first()
    for task in rest:
        model = lab.network(task)
        lab.learn(model, task)
        yield task, model


def head(lab: Lab) -> Learnt:
    """Learn a head for each later task."""
    first, *rest = lab.course.names
    model = lab.first()
    yield first, model
    for task in rest:
        model.requires_grad_(False)
        lab.draw(task)
        lab.course.enrol(model, task)
        lab.learn(model, task)
        yield task, model


def tuned(lab: Lab) -> Learnt:
    """Tune the whole network on each task in turn."""
    yield from _tuned(lab, lambda model, task: {})


def replay(lab: Lab) -> Learnt:
    """Tune the whole network on each task in turn, and on stored examples of those before.

    Of each earlier task are stored as many bytes as a column with its laterals takes, in 32 bit. They are
    drawn by chance; a step takes as many of them, of all tasks together, as of the new one.
    """
    names, room = lab.course.names, column_bytes(lab)
    memory = {task: stored(lab.items(task), room, lab.seed) for task in names[:-1]}
    kinds = [f"{len(memory[task])} of {len(lab.items(task))} of {task}" for task in memory]
    lab.notes.append(
        f"{lab.course.name}: replay stores {room / 1e6:.2f} MB of each earlier task, as many as a column "
        f"takes: {', '.join(kinds)}"
    )

    def beside(model: Model, task: str) -> dict[str, Stream]:
        earlier = names[: names.index(task)]
        batch = lab.course.tasks[task].batch / len(earlier)
        return {
            old: Stream(lab.course.tasks[old].data(model, memory[old], augment=lab.seed), batch)
            for old in earlier
        }

    yield from _tuned(lab, beside)


def _tuned(lab: Lab, beside: Callable[[Model, str], Mapping[str, Stream]]) -> Learnt:
    first, *rest = lab.course.names
    model = lab.first()
    yield first, model
    for task in rest:
        lab.draw(task)
        lab.course.enrol(model, task)
        lab.learn(model, task, beside=beside(model, task))
        yield task, model


def columns(lab: Lab, begin: bool = False) -> Learnt:
    """Grow a column for each later task, beside all before; it may begin with the first one's weights."""
    first, *rest = lab.course.names
    model = lab.first()
    yield first, model
    for task in rest:
        lab.grow(model, task, begin=first * begin)
        lab.learn(model, task)
        yield task, model


def unlearnt(lab: Lab) -> Learnt:
    """Grow a column for each later task beside a network that has learnt nothing."""
    first, *rest = lab.course.names
    model = lab.network(first)
    for task in rest:
        lab.grow(model, task, [first])
        lab.learn(model, task)
        yield task, model


def harmful(lab: Lab) -> Learnt:
    """Grow a column for the second task beside one that learnt nonsense."""
    task = lab.course.names[1]
    model = lab.first(harmful=True)
    lab.grow(model, task)
    lab.learn(model, task)
    yield task, model


def compressed(lab: Lab) -> Learnt:
    """Let the network learn each later task from a column that grew beside it, in twice the steps."""
    first, *rest = lab.course.names
    model, fisher = lab.first(), dict[str, torch.Tensor]()
    yield first, model
    for before, task in zip([first, *rest], rest, strict=False):
        fisher = consolidate(fisher, information(model, before, singles(lab, model, before)))
        active = copy.deepcopy(model)
        lab.grow(active, task)
        lab.learn(active, task)
        lab.draw(task)
        lab.course.enrol(model, task)
        lab.learn(model, task, methods={"compress": Compress(active, fisher, lab.strength)})
        yield task, model


def singles(lab: Lab, model: Model, task: str) -> Iterator[Batch]:
    """Give some of what a task is learnt from, in batches of one."""
    problem, items = lab.course.tasks[task], list(lab.items(task))
    chosen = random.Random(lab.seed).sample(items, min(TOLD, len(items)))
    data = problem.data(model, chosen, augment=lab.seed)
    return (collate([data.example(index)]) for index in range(len(data)))


def column_bytes(lab: Lab) -> int:
    """Count the bytes of a second column with its laterals."""
    first, second, *_ = lab.course.names
    model = lab.network(first)
    lab.grow(model, second)
    assert isinstance(model.trunk, Columns)
    return sum(parameter.nbytes for parameter in model.trunk.column(second).parameters())


ARMS: dict[str, Callable[[Lab], Learnt]] = {
    "scratch": scratch,
    "head": head,
    "tuned": tuned,
    "random": unlearnt,
    "progressive": columns,
    "begun": partial(columns, begin=True),
    "harmful": harmful,
    "replay": replay,
    "compress": compressed,
}
