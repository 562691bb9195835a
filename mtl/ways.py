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
from mtl.head import Task
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


def onto(trunk: str, problem: Problem) -> Model:
    """Put new heads for a problem on a pretrained trunk, named as `mtl.pretrained.pretrained` takes it.

    A head that the trunk brings reads the same input as the stream and task "source".
    """
    found = pretrained(trunk)
    old = [Task(OLD, OLD, found.head, label="label")] if found.head else []
    model = Model({problem.stream: found.stem}, found.trunk, old, {OLD: problem.stream})
    for task in problem.tasks("target-"):
        model.add(task)
    return model


def tune(
    model: Model, problem: Problem, items: Sequence[Any], way: str, config: Fit, k: int = 1
) -> None:
    """Train a model that `onto` made in one of the WAYS, `config.steps` steps in all.

    Raises ValueError for another way, or one that this model cannot go.
    """
    methods: dict[str, Method] = {}
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
        methods, config = {way: L2SP()}, replace(config, weight_decay=0.0)
    elif way == "kl":
        if OLD not in model.tasks:
            raise ValueError(
                "way 'kl' holds the answers of a head, but this trunk came without one"
            )
        methods = {way: Conservative(tasks=[OLD], streams=[problem.stream])}
    elif way == "lora":
        freeze(model, r"stems\..*") if list(model.stems.parameters()) else None
        lora(model)
    elif way == "bitfit":
        bitfit(model)
    elif way != "full":
        raise ValueError(f"way {way!r} is not known; choose from {', '.join(WAYS)}")
    if way == "lpft":
        half = config.steps // 2
        learn(model, problem, items, replace(config, steps=half))
        thaw(model, ".*")
        config = replace(config, steps=config.steps - half)
    learn(model, problem, items, config, methods)
