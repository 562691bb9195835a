"""What keeping the tasks' gradients apart costs beside the plain sum and hand-written loops.

python tests/benchmarks/balance.py [rounds] [tasks ...]

A small convolutional trunk (110 k weights) with T heads of ten classes on one batch of 32 images, and T = 16
streams of 16 images each. All variants take turns in every round; a ratio is the median over the rounds of
paired CPU times. The loops by hand do without skipped examples, gradient norms and all else that `fit` does.
"""

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mtl.balance.cagrad import cagrad
from mtl.balance.mgda import mgda
from mtl.balance.pcgrad import fresh, pcgrad
from mtl.balancing import Balance
from mtl.batch import Batch, Features, Flow, Labels
from mtl.config import Fit
from mtl.device import make_accelerator
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.step import Step
from mtl.stream import Part
from mtl.update import Updater

COMBINE = {"mgda": mgda, "cagrad": cagrad, "pcgrad": pcgrad}
VARIANTS = [("plain", "", ""), ("uw", "uw", "all")]
VARIANTS += [(f"{name} all", name, "all") for name in COMBINE]
VARIANTS += [("mgda last", "mgda", "last"), ("mgda features", "mgda", "features")]


class Stem(Encoder):
    """Images as they are."""

    def enter(self, batch):
        return Flow(batch.inputs, batch.lengths)


class Trunk(Encoder):
    """Three convolutions, a mean and a matrix."""

    def __init__(self, width=32):
        super().__init__(128)
        for place, (i, o, stride) in enumerate([(3, 1, 1), (1, 2, 2), (2, 4, 2)]):
            wide = i if place == 0 else i * width
            self.blocks[f"b{place}"] = Block(wide, o * width, stride)
        self.output = nn.Linear(4 * width, 128)

    def enter(self, batch):
        return Flow(batch.inputs, batch.lengths)

    def leave(self, flow):
        x = self.output(flow.x.mean((2, 3))).relu()
        return Features(x[:, None], torch.ones_like(flow.lengths))


class Block(nn.Module):
    """A convolution."""

    def __init__(self, wide, out, stride):
        super().__init__()
        self.convolution = nn.Conv2d(wide, out, 3, stride, 1)

    def forward(self, flow):
        return flow._replace(x=self.convolution(flow.x).relu())


def build(tasks, several):
    """A model with T tasks on one stream, or each on its own."""
    torch.manual_seed(0)
    names = [f"t{place}" for place in range(tasks)]
    streams = dict.fromkeys(names, "images") if several else {}
    listed = [Task(n, n if several else "images", Classify(list("0123456789"))) for n in names]
    return Model({"images": Stem(3)}, Trunk(), listed, streams=streams)


def batches(tasks, several):
    """Random images and labels, a batch of 32 for all or of 16 for each."""
    generator = torch.Generator().manual_seed(0)

    def one(names, size):
        x = torch.randn(size, 3, 32, 32, generator=generator)
        y = {n: Labels(torch.randint(10, (size,), generator=generator), None, None) for n in names}
        return Batch(x, torch.full((size,), 32), y)

    names = [f"t{place}" for place in range(tasks)]
    if several:
        return {name: one([name], 16) for name in names}
    return {"images": one(names, 32)}


def ours(tasks, several, method, gramian):
    """A step as `fit` takes it, without loading."""
    config = Fit(
        steps=10**6, precision="no", dry_run=False, balance=method, gramian=gramian or "all"
    )
    model = build(tasks, several)
    step = Step(model, balance=Balance(model, method, gramian) if method else None)
    updater = Updater(step, config, make_accelerator(config), config.steps)
    data = batches(tasks, several)
    part = Part(data, {name: len(batch.lengths) for name, batch in data.items()}, [])
    return lambda: updater.run(0, [part])


def by_hand(tasks, several, method):
    """The same arithmetic in a loop of its own."""
    model, data = build(tasks, several), batches(tasks, several)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    shared, state = list(model.trunk.parameters()), fresh(tasks)

    def losses():
        features = {name: model.trunk(batch).x[:, 0] for name, batch in data.items()}
        for name, task in model.tasks.items():
            logits = model.head(name).output(features[task.stream])
            yield name, F.cross_entropy(logits, data[task.stream].labels[name].values)

    def plain():
        optimizer.zero_grad()
        torch.stack([loss for _, loss in losses()]).sum().backward()
        optimizer.step()

    def apart():
        optimizer.zero_grad()
        rows = []
        for name, loss in list(losses()):
            own = list(model.head(name).parameters())
            found = torch.autograd.grad(loss, shared + own, retain_graph=not several)
            for parameter, gradient in zip(own, found[len(shared) :], strict=True):
                parameter.grad = gradient
            rows.append(torch.cat([gradient.flatten() for gradient in found[: len(shared)]]))
        matrix = torch.stack(rows)
        gramian = (matrix @ matrix.T).double()
        nothing = torch.full((tasks,), torch.nan).double()
        weights = COMBINE[method](nothing, None, gramian, state).float()
        for parameter, gradient in zip(
            shared, (weights @ matrix).split([p.numel() for p in shared]), strict=True
        ):
            parameter.grad = gradient.view_as(parameter)
        optimizer.step()

    return apart if method else plain


def measure(tasks, several, rounds):
    """Print a table: CPU milliseconds, and ratios to the plain loop and to the loop by hand."""
    variants = {
        name: ours(tasks, several, *how)
        for name, *how in VARIANTS
        if not (several and how[1] == "features")
    }
    loops = {name: by_hand(tasks, several, name) for name in ("", *COMBINE)}
    times = {key: [] for key in (*variants, *(f"hand {name}" for name in loops))}
    for number in range(rounds + 2):
        for key, run in {
            **variants,
            **{f"hand {name}": run for name, run in loops.items()},
        }.items():
            began = time.process_time()
            run()
            if number > 1:
                times[key].append(1000 * (time.process_time() - began))
    print(f"\nT = {tasks}, {'a batch each' if several else 'one batch'}: ms, / plain, / by hand")
    for name, *how in VARIANTS:
        if name not in variants:
            continue
        plain = np.median(np.divide(times[name], times["plain"]))
        like = (
            f"hand {how[0]}"
            if how[0] in loops and how[1] != "last" and how[1] != "features"
            else ""
        )
        hand = f"{np.median(np.divide(times[name], times[like])):6.3f}" if like else "     -"
        print(f"{name:14} {np.median(times[name]):8.1f} {plain:7.3f} {hand}")


def main():
    """Measure one stream with T tasks, then sixteen streams."""
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for tasks in map(int, sys.argv[2:] or ["2", "8", "32"]):
        measure(tasks, False, rounds)
    measure(16, True, rounds)


if __name__ == "__main__":
    main()
