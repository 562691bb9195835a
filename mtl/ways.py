"""Ways: what to train of a pretrained model, and what keeps the rest from being lost.

scratch   nothing pretrained: the same network from random weights
head      a new head on the frozen trunk (linear probe)
last      head and last `k` blocks
first     head, stem and first `k` blocks
full      everything
l2sp      everything, weights held near the pretrained ones (Li 2018)
kl        everything, what the old head says of the new data held (Yu 2013; Li and Hoiem 2016)
lora      head and low-rank updates of every layer (Hu 2021)
bitfit    head, biases and normalisations (Ben Zaken 2022)
lpft      the head first, then everything (Kumar 2022)
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mtl.config import Fit
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.load import takes_images
from mtl.method import Method
from mtl.methods.conservative import Conservative
from mtl.methods.l2sp import L2SP
from mtl.model import Model
from mtl.pretrained import pretrained
from mtl.problem import Problem, learn
from mtl.tune.layers import bitfit, bottom, freeze, reset, thaw, top
from mtl.tune.lora import lora

WAYS = tuple(line.split()[0] for line in (__doc__ or "").splitlines()[2:])
OLD = "source"  # the stream and task that the pretrained trunk came with


def read_ways(text: str) -> list[str]:
    """Read ways, comma separated. Raises ValueError for one that is not known.

    >>> read_ways("full, kl")
    ['full', 'kl']
    """
    ways = [way.strip() for way in text.split(",")]
    if strange := [way for way in ways if way not in WAYS]:
        raise ValueError(f"way {strange[0]!r} is not known; choose from {', '.join(WAYS)}")
    return ways


def refuse_unfit(
    stem: Encoder, trunk: Encoder, problem: Problem, ways: Sequence[str], k: int
) -> None:
    """Raise ValueError for a problem that a trunk cannot learn, or not with `k` blocks where `ways` say so.

    Else every run would find it out, after a trunk was trained for them.
    """
    problem.tasks()  # refuses one class
    if takes_images(stem) != (problem.stream == "images"):
        fault = "sees pictures; the data are speech", "hears speech; the data are pictures"
        raise ValueError(f"this trunk {fault[problem.stream == 'images']}")
    if {"first", "last"} & {*ways} and not 0 <= k <= len(trunk.blocks):
        raise ValueError(f"--k is {k}, but this trunk has {len(trunk.blocks)} blocks")


def onto(trunk: str, problem: Problem) -> Model:
    """Put new heads for a problem on a pretrained trunk, named as `mtl.pretrained.pretrained` takes it.

    A head that the trunk brings reads the same input as the stream and task "source", and is compared with
    the label "text" where it writes, else with "label".
    """
    found = pretrained(trunk)
    label = "text" if isinstance(found.head, CTC) else "label"
    old = [Task(OLD, OLD, found.head, label=label)] if found.head else []
    model = Model({problem.stream: found.stem}, found.trunk, old, {OLD: problem.stream})
    for task in problem.tasks("target-"):
        model.add(task)
    return model


def tune(
    model: Model, problem: Problem, items: Sequence[Any], way: str, config: Fit, k: int = 1
) -> dict[str, str]:
    """Train a model that `onto` made in one of the WAYS, `config.steps` steps in all.

    Gives what could not be used, {id: reason}. Raises ValueError, before anything is trained, for another
    way or one that this model cannot go.
    """
    (way,), methods, skipped = read_ways(way), dict[str, Method](), dict[str, str]()
    if way == "scratch":
        reset(model, ".*", config.seed)
    elif way in ("head", "lpft"):
        top(model, 0)
    elif way == "last":
        top(model, k)
    elif way == "first":
        bottom(model, k)
        thaw(model, "heads")
    elif way == "l2sp":
        methods, config = {way: _l2sp(model)}, replace(config, weight_decay=0.0)
    elif way == "kl":
        if OLD not in model.tasks:
            raise ValueError(
                "way 'kl' holds the answers of a head, but this trunk came without one"
            )
        methods = {way: Conservative(tasks=[OLD], streams=[problem.stream])}
    elif way == "lora":
        model.stems.requires_grad_(False)
        lora(model)
    elif way == "bitfit":
        bitfit(model)
    if way == "lpft":
        first, config = _halves(config)
        skipped = learn(model, problem, items, first)
        thaw(model, ".*")
    return skipped | learn(model, problem, items, config, methods)


def _l2sp(model: Model) -> L2SP:
    """Hold what came pretrained; the old head, which nothing trains, must not shrink as new ones do."""
    if OLD in model.tasks:
        freeze(model, rf"heads\.{OLD}")
    shared = [part for part in ("stems", "trunk") if list(getattr(model, part).parameters())]
    return L2SP(shared=shared)


def _halves(config: Fit) -> tuple[Fit, Fit]:
    """Part the steps, or epochs, of a run."""
    if config.steps == 1:
        raise ValueError("way 'lpft' trains twice: fit.steps is 1, give at least 2")
    half, epochs = config.steps // 2, config.epochs / 2
    first = replace(config, steps=half, epochs=epochs)
    return first, replace(first, steps=config.steps - half)
