"""Unseen: what ways to learn from attributes make of classes that they never see, alone and among others."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.batch import Features
from mtl.config import Fit
from mtl.data.images import Images, Picture, hold_out, only
from mtl.data.pixels import read_pixels
from mtl.data.warp import Warp
from mtl.described import Described, unit
from mtl.fit import fit
from mtl.head import Scores, Task
from mtl.heads.attribute import LOSSES, Attribute
from mtl.heads.conse import ConSE
from mtl.heads.dap import DAP
from mtl.heads.eszsl import ESZSL
from mtl.method import Method, View
from mtl.model import Model
from mtl.predict import extract
from mtl.score.generalised import calibrate, curve, generalised, per_class
from mtl.stems.pixels import Pixels
from mtl.stream import Stream
from mtl.studies.worlds import Split, World
from mtl.trunks.resnet import ResNet

TASK, STREAM = "label", "images"
LEARNT = "+g"  # behind a loss of mtl/heads/attribute.py: what describes the classes is learnt, too
ONE_HOT, HOG = "one-hot", "hog+eszsl"
ARMS = (*LOSSES, *(kind + LEARNT for kind in LOSSES), "dap", "conse", "eszsl", HOG, ONE_HOT)
WIDTH = 32  # channels of the network's first block, and units of a learnt description
VALIDATION = 0.25  # share of the training pictures that a penalty is chosen by
AT_ONCE = 500.0  # pictures of a test batch
SOLVED = 12  # choices of held-out classes where nothing is trained in steps
POINTS = 40  # of a curve, at most
# N pictures -> how well each class fits (N, C), the seen ones first
Scorer = Callable[[Sequence[Picture]], NDArray[np.float64]]


@dataclass
class Way:
    """How networks learn."""

    size: int = 48
    """pixels a side that pictures are brought to"""
    batch: int = 64
    """pictures per step"""
    folds: int = 1
    """choices of held-out classes, each of a training of its own, that a penalty is chosen by"""
    gamma: float = 1000.0
    """weight of eszsl on the features, brought to deviation 1"""
    lam: float = 0.1
    """weight of eszsl on the attributes"""

    def __post_init__(self) -> None:
        for name in ("size", "batch", "folds"):
            if getattr(self, name) < 1:
                raise ValueError(f"way.{name} is {getattr(self, name)}; give at least 1")
        if not (self.gamma > 0 and self.lam > 0):
            raise ValueError(f"way.gamma {self.gamma} and way.lam {self.lam}: both must be above 0")


def head_of(arm: str, split: Split, world: World, way: Way) -> Described:
    """Make an arm's head, of the seen classes and then the others. Raises ValueError for an unknown arm."""
    names, seen = [*split.seen, *split.unseen], len(split.seen)
    raw = [list(world.vectors[name]) for name in names]
    kind, learnt, _ = arm.partition(LEARNT)
    if arm == ONE_HOT:
        return Attribute(names, np.eye(len(names)).tolist(), seen, kind="softmax")
    if kind in LOSSES:
        return Attribute(names, unit(raw), seen, kind=kind, hidden=WIDTH if learnt else 0)
    if arm == "dap":
        return DAP(names, raw, seen)
    if arm == "conse":
        return ConSE(names, unit(raw), seen)
    if arm in ("eszsl", HOG):
        return ESZSL(names, unit(raw), seen, gamma=way.gamma, lam=way.lam)
    raise ValueError(f"{arm!r} is no way to learn; choose from {', '.join(ARMS)}")


class Spread(Method):
    """Reports how far apart the classes' learnt descriptions lie: their mean squared distance."""

    def terms(self, view: View) -> dict[str, Tensor]:
        """Give it, without a gradient: nothing is learnt from it."""
        head = view.model.head(TASK)
        assert isinstance(head, Attribute)
        with torch.no_grad():
            return {"g": 2 * head.embed(head.signatures[: head.seen]).float().var(0).sum()}


def learn(
    arm: str, split: Split, world: World, way: Way, config: Fit, pictures: Sequence[Picture]
) -> tuple[Scorer, dict[str, Any]]:
    """Learn from pictures of the seen classes; give what scores others, and what was logged."""
    head = head_of(arm, split, world, way)
    if arm == HOG:
        assert isinstance(head, ESZSL)
        x = _gradients(world, pictures)
        head.build(x.shape[1])
        head.solve(x, [picture.label for picture in pictures])
        return lambda tests: _fits(head, _gradients(world, tests)), {}
    torch.manual_seed(config.seed)
    channels = read_pixels(pictures[0].source).shape[0]
    stem, trunk = Pixels(channels, way.size, WIDTH, stride=2), ResNet(WIDTH, [WIDTH, 64, 128])
    model = Model({STREAM: stem}, trunk, [Task(TASK, STREAM, head)])
    data = Images(pictures, model, augment=Warp(shift=0.05, seed=config.seed))
    methods = {"spread": Spread()} if arm.endswith(LEARNT) else None
    fitted = fit(model, {STREAM: Stream(data, way.batch)}, config, methods=methods, show=False)
    if isinstance(head, ESZSL):
        x = extract(model, Images(pictures, model), STREAM, batch=AT_ONCE)
        head.solve(x, [picture.label for picture in pictures])
    history = [
        [e["step"], e["loss"]["spread/g"]] for e in fitted.history if methods and "loss" in e
    ]
    return (
        lambda tests: _fits(head, extract(model, Images(tests, model), STREAM, batch=AT_ONCE)),
        {"spread": history, "untrained": fitted.skipped},
    )


def _gradients(world: World, pictures: Sequence[Picture]) -> NDArray[np.float32]:
    return np.stack([world.gradients[picture.id] for picture in pictures])


def _fits(head: Described, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Say how well each class fits, from pooled features (N, D)."""
    device = head.signatures.device
    x = torch.from_numpy(features).to(device)[:, None]
    with torch.inference_mode():
        scores: Scores = head.scores(
            Features(x, torch.ones(len(x), dtype=torch.long, device=device))
        )
        return head.fit_of(scores).double().cpu().numpy()


def measure(arm: str, split: Split, world: World, way: Way, config: Fit) -> dict[str, Any]:
    """Learn and test an arm: the unseen classes among themselves, and all classes among each other.

    The penalty of calibrated stacking is chosen with another learner, of fewer seen classes, by held-out
    training pictures of all seen ones. Gives, as JSON can hold it, accuracies as `mtl.tally` takes them,
    means over classes: itself of the unseen alone; `seen`, `unseen` and `harmonic` among all without a
    penalty, and `calibrated ...` with it; `bias` [[seen, unseen], ...] of all penalties; what was logged.
    """
    penalty = _penalty(arm, split, world, way, config)
    names = [*split.seen, *split.unseen]
    scorer, logged = learn(arm, split, world, way, config, only(world.train, split.seen))
    fits, labels = scorer(world.test), np.array([names.index(p.label) for p in world.test])
    new = np.arange(len(names)) >= len(split.seen)
    mine = new[labels]
    alone = per_class(labels[mine], np.where(new, fits[mine], -np.inf).argmax(1))
    found: dict[str, Any] = {"metric": "accuracy", "value": alone, "n": int(mine.sum())}
    for prefix, taken in (("", 0.0), ("calibrated ", penalty)):
        rates = generalised(fits, labels, new, taken)._asdict()
        found |= {prefix + name: {"value": rate, "n": len(labels)} for name, rate in rates.items()}
    every = curve(fits, labels, new)
    some = np.linspace(0, len(every.seen) - 1, min(POINTS, len(every.seen))).round().astype(int)
    found["bias"] = np.stack([every.seen, every.unseen], 1)[some].round(4).tolist()
    return found | {"area": every.area(), "penalty": penalty} | logged


def _penalty(arm: str, split: Split, world: World, way: Way, config: Fit) -> float:
    """Choose a penalty on classes that are all seen, some held out of a training of their own."""
    folds, found = [], []
    for fold in range(SOLVED if arm == HOG else way.folds):
        inner = split.inner(config.seed, fold)
        names = [*inner.seen, *inner.unseen]
        train, tests = hold_out(only(world.train, names), VALIDATION, config.seed)
        scorer, _ = learn(arm, inner, world, way, config, only(train, inner.seen))
        labels = [names.index(picture.label) for picture in tests]
        held = scorer(tests), labels, np.arange(len(names)) >= len(inner.seen)
        folds.append(held)
        with suppress(
            ValueError
        ):  # nothing is right on either side, as where all classes fall together
            found.append(calibrate(*held))
    means = [np.mean([generalised(*held, taken).harmonic for held in folds]) for taken in found]
    return found[int(np.argmax(means))] if found else 0.0
