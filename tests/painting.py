"""Two domains of small pictures, and the methods that paint one in the look of the other."""

import numpy as np
import torch

from mtl.batch import collate
from mtl.config import Fit
from mtl.data.images import Images, from_arrays
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.method import Totals
from mtl.methods.munit import MUNIT
from mtl.methods.pixelda import PixelDA
from mtl.methods.unit import UNIT
from mtl.model import Model
from mtl.shift import unlabelled
from mtl.stems.pixels import Pixels
from mtl.step import Step
from mtl.stream import Stream
from mtl.translating import Networks
from mtl.trunks.resnet import ResNet

SMALL = Networks(width=2, depth=1, fold=2, lr=1e-3)
KINDS = {"pixelda": PixelDA, "unit": UNIT, "munit": MUNIT}


def net(seed=0, **stem):
    """A classifier of the source, whose stem the target shares."""
    torch.manual_seed(seed)
    made = Pixels(3, 8, 4, stride=2, **stem)
    task = Task("kind", "source", Classify(["0", "1"]), label="label")
    return Model({"pixels": made}, ResNet(4, [8]), [task], {"source": "pixels", "target": "pixels"})


def pictures(count, name):
    """Bright and dark halves; the target is coloured."""
    rng, y = np.random.default_rng(len(name)), np.arange(count) % 2
    x = rng.integers(0, 90, (count, 8, 8, 3))
    for row, label in enumerate(y):
        x[row, :, 4 * label : 4 * label + 4] += 160
    x[..., 0] = 40 if name == "target" else x[..., 1]
    return from_arrays(x.astype(np.uint8), y, name)


def data(model):
    """Both streams; the target has no labels."""
    return {
        "source": Images(pictures(12, "source"), model, "source"),
        "target": Images(unlabelled(pictures(10, "target")), model, "target"),
    }


def batches(model, **sizes):
    found = data(model)
    return {n: collate([found[n].example(i) for i in range(size)]) for n, size in sizes.items()}


def stepped(method, model=None, phase="train", **sizes):
    """Build a method, and run a phase on batches of these sizes: step, view, terms."""
    model = model or net()
    step = Step(model, {"method": method}).train()
    given = batches(model, **(sizes or {"source": 5, "target": 4}))
    return step, *viewed(step, given, phase)


def viewed(step, given, phase="train"):
    """Let a step's method see batches as in training: its view, and its terms."""
    totals = Totals({name: int((b.weights > 0).sum()) for name, b in given.items()})
    (method,) = step.methods.values()
    kept, terms = [], method.terms

    def spy(view):
        kept[:] = [view, terms(view)]
        return kept[1]

    method.terms = spy
    try:
        step(given, phase, phase == "train", totals, 0.5)
    finally:
        del method.terms
    return kept


def run(method, steps=6, out=None, seed=0, **settings):
    """Train for a few steps."""
    model = net(seed)
    # Plain descent: Adam would follow the noise in gradients of biases which norms take away.
    config = {
        "optimizer": "sgd",
        "precision": "no",
        "threads": 1,
        "log_every": 1,
        "dry_run": False,
        "save_every": 5,
    }
    sizes = {"source": 6.0, "target": 5.0}
    streams = {name: Stream(found, sizes[name]) for name, found in data(model).items()}
    fitted = Fit(steps=steps, **config | settings)
    return fit(model, streams, fitted, methods={"method": method}, out=out, show=False)


def calm(kind, **more):
    """A method that draws nothing, so that it does not matter which process draws."""

    class Calm(KINDS[kind]):
        def draw(self, like):
            return torch.zeros_like(like)

        def make(self, channels, size):
            super().make(channels, size)
            for judge in self.discriminators:
                judge.noise, judge.dropout.rate = 0.0, 0.0

    return Calm(networks=SMALL, keep=0.5, **more)


RUNS = {f"{kind}, painted": lambda kind=kind: run(calm(kind)).model for kind in KINDS}
