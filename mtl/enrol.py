"""Enrol: a model that learns a new word or class from examples, one is enough, and then tells it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from mtl.batch import Example, Features, collate
from mtl.exemplar import Exemplar
from mtl.head import Scores
from mtl.model import Model
from mtl.polyglot import hear
from mtl.stream import Data


class Found(NamedTuple):
    """The class that fits best, its share among all, and how well it fits, as its head says."""

    name: str
    confidence: float
    fit: float


def exemplar_task(model: Model, task: str | None = None) -> str:
    """Give the task whose head learns classes from examples: this one, or the only one of the model.

    Raises ValueError where there is none, or several and none is named.
    """
    known = [name for name in model.tasks if isinstance(model.head(name), Exemplar)]
    if task is not None and task not in known:
        kind = type(model.head(task)).__name__
        raise ValueError(f"task {task!r} has a {kind} head, which learns no class from examples")
    if task is None and len(known) != 1:
        listed = f"several: {', '.join(known)}; name one (--task)" if known else "none"
        kinds = "prototype, matching or siamese"
        raise ValueError(f"of tasks with a head by examples ({kinds}) this model has {listed}")
    return task or known[0]


def exemplar(model: Model, task: str) -> Exemplar:
    """Give a task's head, where it learns classes from examples; raises ValueError for another."""
    head = model.head(exemplar_task(model, task))
    assert isinstance(head, Exemplar)
    return head


def enrol(model: Model, task: str, name: str, data: Data) -> None:
    """Teach a task the class `name` from all examples of `data`, in place; see `Exemplar.register`.

    Raises ValueError naming an example that cannot be used, or where there is none, and for a head that
    does not learn from examples.
    """
    head = exemplar(model, task)
    if not len(data):
        raise ValueError(f"class {name!r} has no example; give one or more")
    head.register(name, _features(model, task, _loaded(data)))


def recognise(model: Model, task: str, examples: Sequence[Example]) -> list[Found]:
    """Say which of a task's registered classes fits each example best."""
    head = exemplar(model, task)
    found = []
    for example in examples:
        with torch.inference_mode():
            scores: Scores = head.scores(_features(model, task, [example]))
            fit = head.fit_of(scores)[0].max()
        best = head.predict(scores)[0]
        found.append(Found(best.value, best.confidence, float(fit)))
    return found


def _loaded(data: Data) -> list[Example]:
    return [data.example(index, targets=False) for index in range(len(data))]


def _features(model: Model, task: str, examples: Sequence[Example]) -> Features:
    """Run examples up to where a task reads."""
    at, device = model.tasks[task].at, next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        taps = () if at is None else (at,)
        batch = collate(examples).to(device)
        return hear(model, model.tasks[task].stream, batch, taps, [task]).of(task).at(at)
