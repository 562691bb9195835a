"""What a step of DANN, DAN and CORAL costs beside the same in plain torch. Prints JSON lines.

The work on which other libraries were timed: the network for digits of Ganin et al. 2016, 64 source and 64
target pictures of 3x28x28, gradient descent with momentum, everything in 32 bit, one thread. Plain and ours
take turns, in CPU time, so that a busy machine disturbs little; ours is all of a step of `fit` but loading.
`ratio` is the median over pairs of ours / plain. Then CORAL's loss alone, forward and backward, at 2048
units: from the products of the rows, and from covariances.

With `task FOLDER` it writes the pictures of the benchmark of accuracies instead, which the recipe then takes:
recipes/domain_adaptation.py --source FOLDER/source.npz --target FOLDER/target.npz --method dann,dan --seeds 2

python tests/benchmarks/adaptation.py [steps | task FOLDER]
"""

import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mtl.batch import Batch, Labels
from mtl.config import Fit
from mtl.data.images import from_arrays
from mtl.device import make_accelerator
from mtl.methods.coral import CORAL, coral
from mtl.methods.dan import DAN
from mtl.methods.dann import DANN
from mtl.problem import Pictures
from mtl.shift import SOURCE, TARGET, TASK, paired
from mtl.step import Step
from mtl.stream import Part
from mtl.update import Updater

BATCH, WARM, SEVERAL = 64, 3, 4
SCALES = [2.0**power for power in (-2, -1, 0, 1, 2)]
SETTINGS = Fit(
    steps=1000, optimizer="sgd", lr=0.01, schedule="constant", warmup=0, weight_decay=0, clip=0
)
OURS = {
    "source": lambda: None,
    "dann": lambda: DANN(at="b1"),
    "dan": lambda: DAN(at="b1", kernels=SCALES),
    "coral": lambda: CORAL(at="b1"),
}


def inputs():
    g = torch.Generator().manual_seed(0)
    xs, xt = torch.randn(2, BATCH, 3, 28, 28, generator=g).unbind()
    return xs, 1.3 * xt + 0.2, torch.randint(0, 10, (BATCH,), generator=g)


class Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


def mmd(fs, ft):
    """Five Gaussian kernels, no row against itself, as other libraries have it."""
    n, f = len(fs), torch.cat([fs, ft])
    squared = (torch.cdist(f, f, compute_mode="use_mm_for_euclid_dist") ** 2).clamp_min(0)
    mean = squared.detach().mean()
    k = sum(torch.exp(-squared / (2 * scale * mean)) for scale in SCALES)
    off = ~torch.eye(n, dtype=torch.bool)
    return k[:n, :n][off].mean() + k[n:, n:][off].mean() - 2 * k[:n, n:].mean()


def covariances(fs, ft):
    return (torch.cov(fs.T) - torch.cov(ft.T)).square().sum() / (4 * fs.shape[1] ** 2)


def plain(method):
    """Write the step by hand."""
    xs, xt, ys = inputs()
    convolved = [nn.Conv2d(3, 32, 5), nn.ReLU(), nn.MaxPool2d(2)]
    convolved += [nn.Conv2d(32, 48, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    features = nn.Sequential(*convolved)
    dense = [nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)]
    classes = nn.Sequential(*dense)
    domains = nn.Sequential(nn.Linear(768, 100), nn.ReLU(), nn.Linear(100, 1))
    parameters = [p for part in (features, classes, domains) for p in part.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    truth = torch.cat([torch.ones(BATCH), torch.zeros(BATCH)])

    def step():
        f = features(xs if method == "source" else torch.cat([xs, xt]))
        fs, ft = f[:BATCH], f[BATCH:]
        loss = F.cross_entropy(classes(fs), ys)
        if method == "dann":
            logits = domains(Reverse.apply(f)).squeeze(1)
            loss = loss + F.binary_cross_entropy_with_logits(logits, truth)
        elif method != "source":
            loss = loss + {"dan": mmd, "coral": covariances}[method](fs, ft)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def ours(method):
    """Let the library do it, as in `fit`."""
    xs, xt, ys = inputs()
    pixels = np.zeros((10, 28, 28, 3), np.uint8)
    side = Pictures(*[from_arrays(pixels, np.arange(10), name) for name in ("a", "b")])
    model = paired(side, side).network("lenet")
    sizes = torch.full((BATCH,), 28)
    batches = {SOURCE: Batch(xs, sizes, {TASK: Labels(ys)})}
    made = OURS[method]()
    if made is not None:
        batches[TARGET] = Batch(xt, sizes)
    part = Part(batches, dict.fromkeys(batches, BATCH), [])
    settings = Fit(**vars(SETTINGS) | {"precision": "no", "threads": 1})
    step = Step(model, {method: made} if made else None)
    updater = Updater(step, settings, make_accelerator(settings), settings.steps)
    done = iter(range(settings.steps))
    return lambda: updater.run(next(done), [part])


def clocked(work):
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def pairs(first, second, steps):
    """Give the times of two works that take turns, in ms, and the median ratio second / first."""
    times = [(clocked(first), clocked(second)) for _ in range(steps + WARM)][WARM:]
    ratio = statistics.median(b / a for a, b in times)
    return *(statistics.median(each) for each in zip(*times, strict=True)), ratio


def show(**found):
    rounded = {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in found.items()}
    print(json.dumps(rounded), flush=True)


def backward(loss, leaves):
    torch.autograd.grad(loss(*leaves), leaves)


def losses(steps, width=2048):
    """Time CORAL's loss from products of rows and from covariances."""
    g = torch.Generator().manual_seed(0)
    fs, ft = torch.randn(2, BATCH, width, generator=g).mul(torch.tensor([1.0, 1.2])[:, None, None])
    exact = covariances(fs.double(), ft.double()).item()

    leaves = [each.clone().requires_grad_() for each in (fs, ft)]
    times = {covariances: [], coral: []}
    for _ in range(steps + WARM):
        for loss, taken in times.items():
            work = partial(backward, loss, leaves)
            # In a row: else each finds the cache full of the other's matrices.
            taken += [clocked(work) for _ in range(SEVERAL)]
    wide, narrow = (statistics.median(taken[WARM:]) for taken in times.values())
    error = abs(coral(fs, ft).item() - exact) / exact
    found = {"covariances_ms": wide, "rows_ms": narrow, "times_faster": wide / narrow}
    show(loss="coral", width=width, **found, relative_error=error)


def write_task(folder):
    """Write the 700 + 700 + 397 digits, the last 1,097 over patches, as the benchmark draws them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    g = torch.Generator().manual_seed(0)
    order = torch.randperm(len(digits.target), generator=g)
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    ink = F.interpolate(small, size=28, mode="bilinear", align_corners=False).clamp(0, 1)
    ink = ink.expand(-1, 3, -1, -1)
    colours = F.interpolate(torch.rand(len(ink), 3, 7, 7, generator=g), size=28, mode="bilinear")
    ground = 0.4 * colours + 0.1 * torch.rand(len(ink), 3, 28, 28, generator=g)
    folder.mkdir(parents=True, exist_ok=True)
    train = {"source": order[:700], "target": order[700:1400]}
    for name, x in (("source", ink), ("target", (ground - ink).abs())):
        pixels = (x * 255).round().byte().permute(0, 2, 3, 1).numpy()
        parts = {"train": train[name].numpy(), "test": order[1400:].numpy()}
        arrays = {f"x_{part}": pixels[rows] for part, rows in parts.items()}
        labels = {f"y_{part}": digits.target[rows] for part, rows in parts.items()}
        np.savez(folder / f"{name}.npz", **arrays, **labels)


def main():
    if sys.argv[1:2] == ["task"]:
        write_task(Path(sys.argv[2]))
        return
    steps = int(sys.argv[1]) if sys.argv[1:] else 40
    torch.set_num_threads(1)
    for method in OURS:
        torch.manual_seed(0)
        plainly, mine, ratio = pairs(plain(method), ours(method), steps)
        show(method=method, plain_ms=plainly, mtl_ms=mine, ratio=ratio)
    losses(steps)


if __name__ == "__main__":
    main()
