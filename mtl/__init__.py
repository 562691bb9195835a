"""Multi-task and transfer learning for speech and images: one trunk, a head per task."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl.batch import Batch
    from mtl.encoder import Encoder
    from mtl.evaluate import evaluate
    from mtl.fit import fit
    from mtl.head import Head, Task
    from mtl.load import load
    from mtl.method import Method
    from mtl.model import Model
    from mtl.predict import extract, predict
    from mtl.stream import Stream

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Encoder",
    "Head",
    "Method",
    "Model",
    "Stream",
    "Task",
    "evaluate",
    "extract",
    "fit",
    "load",
    "predict",
]

_HOMES = {"Task": "head", "extract": "predict"} | {
    name: name.lower() for name in __all__ if name not in ("Task", "extract")
}


class _Package(ModuleType):
    """Imports the public names on first use: torch takes seconds that `mtl --help` need not."""

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'mtl' has no attribute {name!r}")
        return getattr(import_module(f"mtl.{_HOMES[name]}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the module mtl.fit sets `mtl.fit` to it, which is to stay the function.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
