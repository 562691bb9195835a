"""Lab: trains networks on tasks of a sequence, with the same data and starts in all ways, and tests them."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl.batch import Example, collate
from mtl.checkpoint import digest
from mtl.config import Fit
from mtl.device import start_processes
from mtl.evaluate import evaluate
from mtl.fit import fit
from mtl.method import Method
from mtl.model import Model
from mtl.ops import fingerprint
from mtl.prefix import Prefix, prefix_end
from mtl.problem import DRAWS, kept
from mtl.stream import Data, Stream, Subset
from mtl.studies.sequence import IMAGES, Course, shuffled
from mtl.tune.progressive import progressive

AT_ONCE = 500.0  # pictures of a test batch; of speech 60 seconds
HASHED = 8  # examples whose outputs are compared


class Lab:
    """Trains networks for one course and seed; those of the first task wait in `folder` for other arms.

    `first_steps` are those of the first task, `fit.steps` those of each later one; `strength` is how much
    `compress` holds old weights. `costs` and `notes` collect what arms say.
    """

    def __init__(
        self, course: Course, fit: Fit, folder: Path, *, first_steps: int, strength: float
    ) -> None:
        self.course, self.fit, self.folder = course, fit, folder
        self.first_steps, self.strength, self.seed = first_steps, strength, fit.seed
        self.costs: dict[str, dict[str, float]] = {}
        self.notes: list[str] = []
        self.untrained: dict[str, str] = {}

    def network(self, task: str) -> Model:
        """Make an untrained network for a task, the same in all arms."""
        self.draw(task)
        return self.course.network(task)

    def first(self, harmful: bool = False) -> Model:
        """Give a network that has learnt the first task; `harmful`: with shuffled labels."""
        task = self.course.names[0]

        def make() -> Model:
            model = self.network(task)
            items = self.course.items(task, self.seed)
            self.learn(model, task, shuffled(items, self.seed) if harmful else items)
            return model

        name = f"{digest(self.course.name)}-{'harmful' if harmful else 'first'}-{self.seed}"
        return kept(self.folder / name, make)

    def grow(
        self, model: Model, task: str, sources: Sequence[str] | None = None, begin: str = ""
    ) -> None:
        """Grow a column for a task, fed by `sources` (default: all earlier), a copy of `begin` at first."""
        self.draw(task)
        first = self.course.names[0]
        progressive(model, task, laterals=sources, begin=begin, first=first)
        self.course.enrol(model, task)

    def learn(
        self,
        model: Model,
        task: str,
        items: Sequence[Any] = (),
        methods: Mapping[str, Method] | None = None,
        beside: Mapping[str, Stream] | None = None,
    ) -> None:
        """Train on a task (default: on its own items), what is frozen being computed once.

        With `methods` the task's labels are left out; `beside` are streams of other tasks. Says in `costs`
        what a step took of the processors' time, in milliseconds, added up where a task is learnt twice, and
        how many weights there were.
        """
        problem, old = self.course.tasks[task], self.fit
        data: Data = problem.data(model, items or self.items(task), augment=self.seed)
        if not len(data):
            raise ValueError(
                f"task {task!r}: no example can be learnt from: {'; '.join(problem.notes)}"
            )
        if methods:
            data = Unlabelled(data)
        if prefix_end(model, task):
            model.to(start_processes().device)
            data = Prefix(data, model, task, draws=DRAWS)
            data.fill(show=False)
        steps = self.first_steps if task == self.course.names[0] else old.steps
        settings = replace(old, steps=steps, weight_decay=0.0 if methods else old.weight_decay)
        streams = {task: Stream(data, problem.batch), **(beside or {})}
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        began = time.process_time()
        done = fit(model, streams, settings, methods=methods, show=False)
        spent = 1000 * (time.process_time() - began) / max(done.steps, 1)
        spent += self.costs.get(task, {}).get("milliseconds", 0.0)
        total = sum(p.numel() for p in model.parameters())
        self.costs[task] = {"milliseconds": spent, "trained": trained, "parameters": total}
        self.untrained |= done.skipped

    def items(self, task: str) -> Sequence[Any]:
        """Give what a task is learnt from."""
        return self.course.items(task, self.seed)

    def measure(self, model: Model, task: str) -> dict[str, Any]:
        """Test a task: errors (a fraction), and a hash of `outputs` by which one sees whether they changed.

        `counts` has a row (errors, units, speaker or id) for each example.
        """
        problem = self.course.tasks[task]
        data = {task: problem.data(model, problem.test, stream=task)}
        batch = AT_ONCE if self.course.modality == IMAGES else 60.0
        rows = evaluate(model, data, batch=batch).of(task)
        hits = problem.metric == "accuracy"
        counts: list[Any] = []
        for row in rows:
            count, units = row.counts[problem.metric]
            counts.append([units - count if hits else count, units, row.group])
        value = sum(row[0] for row in counts) / sum(row[1] for row in counts)
        found = {"metric": "error" if hits else problem.metric, "value": value, "n": len(rows)}
        skipped = {row.id: row.problem for row in rows if row.problem}
        return {
            **found,
            "counts": counts,
            "skipped": skipped,
            "outputs": outputs(model, data[task], task),
        }

    def draw(self, task: str) -> None:
        """Seed torch for what is new of a task, the same in all arms."""
        torch.manual_seed(1000 * self.seed + self.course.names.index(task))


class Unlabelled(Subset):
    """A data set without its labels."""

    def __init__(self, data: Data) -> None:
        super().__init__(data, range(len(data)))

    def labels(self, index: int) -> Mapping[str, Any]:
        """Give none."""
        return {}

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Load an example without its labels."""
        return super().example(index, draw, False)


def outputs(model: Model, data: Data, task: str, most: int = HASHED) -> str:
    """Hash the scores that a task gives to up to `most` examples, equal only where all bits are."""
    at, found = model.tasks[task].at, list[Tensor]()
    device = next(model.parameters()).device
    model.eval()
    for index in range(len(data)):
        with suppress(ValueError), torch.no_grad():  # what cannot be used
            batch = collate([data.example(index, targets=False)]).to(device)
            features = model(model.tasks[task].stream, batch, () if at is None else (at,))
            found.append(model.scores(task, features).x)
        if len(found) == most:
            break
    return fingerprint({str(number): x for number, x in enumerate(found)})
