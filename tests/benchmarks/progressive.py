"""What a step costs with more and more columns, and how many weights a new one trains. Prints JSON lines.

Three layers of 256 units on 784 inputs, 128 examples a step, two classes a task: the work on which other
implementations were timed. CPU time, so that a busy machine disturbs little; all of a step of `fit` counts
but loading: forward, backward, clipping and AdamW. With `kept`, what frozen columns give comes from `Prefix`;
`load_ms` is what reading a batch takes.

python tests/benchmarks/progressive.py [columns] [steps]
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from columns import Dense

from mtl.batch import Batch, Example, Flow
from mtl.config import Fit
from mtl.device import make_accelerator
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.prefix import Prefix
from mtl.step import Step
from mtl.stream import Parts, Stream
from mtl.tune.progressive import progressive
from mtl.update import Updater

INPUTS, WIDTH, LAYERS, BATCH = 784, 256, 3, 128
SETTINGS = Fit(steps=1000, precision="no", threads=1, dry_run=False)


class Plain(Encoder):
    """Passes points on."""

    def __init__(self, dim):
        super().__init__(dim)

    def enter(self, batch: Batch) -> Flow:
        return Flow(batch.inputs, batch.lengths, batch.groups)


class Points:
    """A batch of random points, each a sequence of length one."""

    multiple = 1  # no padding

    def __init__(self, task):
        g = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(BATCH, 1, INPUTS, generator=g), torch.arange(BATCH) % 2
        self.task, self.seconds = task, np.ones(BATCH)
        self.ids = [f"x{index}" for index in range(BATCH)]

    def __len__(self):
        return BATCH

    def column(self, name):
        return [""] * BATCH

    def labels(self, index):
        return {}

    def example(self, index, draw=None, targets=True):
        return Example(self.x[index], {self.task: self.y[index]}, 1.0, {}, self.ids[index])


def grow(model, number):
    """Give the model its next task."""
    name = f"t{number}"
    if number:
        progressive(model, name, first="t0")
    model.add(Task(name, "points", Classify(["a", "b"])))
    return name


class Run:
    """A model that trains its newest task on one batch, over and over."""

    def __init__(self, columns, kept):
        torch.manual_seed(0)
        self.model = Model({"points": Plain(INPUTS)}, Dense(INPUTS, [WIDTH] * LAYERS))
        task = [grow(self.model, number) for number in range(columns)][-1]
        data = Points(task)
        if kept:
            data = Prefix(data, self.model, "points")
            data.fill(show=False)
        self.parts = Parts({"points": Stream(data, float(BATCH))}, 0)
        self.part = self.parts[0, 0]
        step = Step(self.model)
        self.updater = Updater(step, SETTINGS, make_accelerator(SETTINGS), SETTINGS.steps)
        self.trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        self.done, self.steps, self.loads = 0, [], []

    def measure(self):
        self.steps.append(clocked(lambda: self.updater.run(self.done, [self.part])))
        self.loads.append(clocked(lambda: self.parts[self.done, 0]))
        self.done += 1


def clocked(work):
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def main():
    """Measure all numbers of columns in turn, so that they share what else the machine does."""
    columns, steps = (int(given) for given in [*sys.argv[1:], 5, 40][:2])
    torch.set_num_threads(1)
    runs = {(k, kept): Run(k, kept) for k in range(1, columns + 1) for kept in {False, k > 1}}
    for _ in range(steps + 3):
        for run in runs.values():
            run.measure()
    first = statistics.median(runs[1, False].steps[3:])
    for (k, kept), run in sorted(runs.items()):
        taken, load = (statistics.median(each[3:]) for each in (run.steps, run.loads))
        found = {"step_ms": taken, "over_first": taken / first, "load_ms": load}
        found = {name: float(f"{value:.3g}") for name, value in found.items()}
        print(json.dumps({"columns": k, "kept": kept, **found, "trained": run.trained}))


if __name__ == "__main__":
    main()
