"""Prepare: what of a model learns a speaker's voice, by the name of the way; the rest is frozen."""

import copy
from collections.abc import Callable, Collection, Sequence

from torch import nn

from mtl.languages import writers
from mtl.model import Model
from mtl.tune.adapter import adapter
from mtl.tune.layers import bitfit, bottom, top
from mtl.tune.lhuc import lhuc
from mtl.tune.lin import lin
from mtl.tune.lora import lora

LAYERS: dict[str, Callable[[Model], object]] = {
    "full": lambda model: model.requires_grad_(True),
    "input": lambda model: bottom(model, 1),
    "top": lambda model: top(model, 1),
    "bias": bitfit,
    "lora": lora,
}
BY_MEMBER: dict[str, Callable[[Model, int], None]] = {"lin": lin, "lhuc": lhuc, "adapter": adapter}
WAYS = (*LAYERS, *BY_MEMBER)


def prepare(model: Model, ways: Sequence[str], size: int, langs: Collection[str]) -> Model:
    """Copy a model, put in the edits of `ways`, with `size` members, and freeze what they do not train.

    Of the heads, only those of `langs` may learn.
    """
    adapted = copy.deepcopy(model)
    learns: set[nn.Parameter] = set()  # not their names, which LoRA changes
    for way in ways:
        before = set(adapted.parameters())
        adapted.requires_grad_(False)
        if way in BY_MEMBER:
            BY_MEMBER[way](adapted, size)
            learns |= set(adapted.parameters()) - before
        else:
            LAYERS[way](adapted)
            learns |= {parameter for parameter in adapted.parameters() if parameter.requires_grad}
    spoken = [task for lang, task in writers(adapted).items() if lang in {*langs, "text"}]
    silent = set(adapted.heads.parameters()).difference(
        *(adapted.head(task).parameters() for task in spoken)
    )
    for parameter in adapted.parameters():
        parameter.requires_grad_(parameter in learns - silent)
    return adapted
