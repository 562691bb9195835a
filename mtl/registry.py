"""Finding: the file name is the name. Classes by file, configurations from attributes."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

from torch import nn

from mtl.encoder import Encoder
from mtl.head import Head, Task


def names(folder: str) -> list[str]:
    """List what `mtl/<folder>` holds, by file name.

    >>> "ctc" in names("heads")
    True
    """
    package = importlib.import_module(f"mtl.{folder}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def find(folder: str, name: str) -> type[Any]:
    """Find the class of the file `mtl/<folder>/<name>.py`, or an imported `package.module:Class`.

    A foreign class must be imported already: reading a configuration never imports code by itself.

    >>> find("heads", "ctc").__name__
    'CTC'
    """
    base = Head if folder == "heads" else Encoder
    if ":" in name:
        module_name, class_name = name.split(":", 1)
        found = getattr(sys.modules.get(module_name), class_name, None)
        if not (inspect.isclass(found) and issubclass(found, base)):
            raise ValueError(f"{name!r} is not part of mtl: import {module_name} before loading")
        return found
    if name not in names(folder):
        raise ValueError(f"mtl/{folder} has no {name!r}; it has: {', '.join(names(folder))}")
    module = importlib.import_module(f"mtl.{folder}.{name}")
    own = [
        value
        for value in vars(module).values()
        if getattr(value, "__module__", "") == module.__name__
    ]
    return next(value for value in own if inspect.isclass(value) and issubclass(value, base))


def edit_function(name: str) -> Any:
    """Find the edit `name`: the function of that name in `mtl/tune/<name>.py`."""
    if name not in names("tune"):
        raise ValueError(f"mtl/tune has no {name!r}; it has: {', '.join(names('tune'))}")
    return getattr(importlib.import_module(f"mtl.tune.{name}"), name)


def describe(module: nn.Module) -> dict[str, Any]:
    """Give a stem's, trunk's or head's saved configuration: its name and constructor arguments."""
    module = module.described() if isinstance(module, Encoder) else module
    parameters = inspect.signature(type(module).__init__).parameters
    arguments = {name: getattr(module, name) for name in parameters if name != "self"}
    return {"name": _name(module), **arguments}


def construct(folder: str, description: Any) -> Any:
    """Build what `describe` described. Raises ValueError for what describes nothing."""
    if not isinstance(description, dict):
        raise ValueError(f"{description!r:.40} describes none of {folder}: it is no object")
    arguments = {key: value for key, value in description.items() if key != "name"}
    return find(folder, description["name"])(**arguments)


def replay(model: Any, tasks: Sequence[Any], edits: Sequence[Any]) -> None:
    """Add the tasks and repeat the edits of a configuration: a task comes once there is what it reads."""
    waiting = list(tasks)
    for step in [*edits, None]:
        while waiting and (step is None or _fits(model, waiting[0])):
            entry = waiting.pop(0)
            head = entry["head"]
            built = head if isinstance(head, str) else construct("heads", head)
            model.add(Task(**{**entry, "head": built}))
        if step is not None:
            arguments = {key: value for key, value in step.items() if key != "name"}
            edit_function(step["name"])(model, **arguments)


def _fits(model: Any, entry: Any) -> bool:
    """Tell whether there is the block that a task reads."""
    try:
        model.trunk.dim_at(entry.get("at"))
    except ValueError:
        return False
    return True


def _name(module: nn.Module) -> str:
    cls = type(module)
    parts = cls.__module__.split(".")
    if parts[0] == "mtl" and len(parts) == 3:
        return parts[2]
    return f"{cls.__module__}:{cls.__qualname__}"
