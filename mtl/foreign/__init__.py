"""Foreign: how models of other libraries are cut into enter, blocks and leave. One file per family.

A family's file holds functions over the model, `rest`, whose layers `cut` has taken out:

    TYPES                           the transformers `model_type`s it knows
    LAST                            names, within `rest`, of modules that `leave` may use; some may be absent
    cut(rest) -> (dim, blocks)      take the layers out, as modules from Flow to Flow, input side first
    enter(rest, batch) -> Flow      everything before the first block
    rejoin(rest, blocks, batch)     the Flow that arrives at a block, from its stored inputs
    leave(rest, flow) -> Features   everything after the last block
    frames(rest, lengths)           output frames of prepared inputs, integer tensors
    tap(rest, flow) -> Features     what a head on an inner block gets
    LEAN (optional)                 settings of the config that leave out what the trunk never uses

Blocks whose outputs differ in width from the trunk's have an attribute `dim`.
"""

import importlib
import pkgutil
from functools import cache
from types import ModuleType


@cache
def family(model_type: str) -> ModuleType:
    """Find the file that knows a transformers `model_type`; raises ValueError where none does."""
    files = [
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    ]
    for file in files:
        if model_type in file.TYPES:
            return file
    known = ", ".join(sorted(kind for file in files for kind in file.TYPES))
    raise ValueError(f"model type {model_type!r} cannot be cut into blocks; these can: {known}")
