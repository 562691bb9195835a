"""Commands: the `mtl` commands, one file each, and what several of them need.

A command file has `arguments(parser)` and `run(args) -> exit code`; its docstring is its help. It imports
torch, and what imports torch, inside functions: `mtl --help` should take no seconds.
"""

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtl.model import Model

STREAM = "speech"


def count(text: str) -> int:
    """Read a whole number from 0, for argparse."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def load_model(source: str) -> "Model":
    """Load a model by folder or hub id, onto the GPU if there is one."""
    import torch

    from mtl.model import Model

    return Model.from_pretrained(source).to("cuda" if torch.cuda.is_available() else "cpu")


def writers(model: "Model") -> dict[str, str]:
    """Give the languages that a model writes, each with its task; "text" is a task for all languages."""
    tasks = [task for task in model.tasks_of(STREAM) if not task.auxiliary]
    labels = {task.label or task.name: task.name for task in tasks}
    return {
        label: name
        for label, name in labels.items()
        if "cer" in model.head(name).metrics and not label.endswith("phonemes")
    }


def language_task(model: "Model") -> str | None:
    """Give the name of the task that tells languages apart, if there is one."""
    tasks = model.tasks_of(STREAM)
    return next((task.name for task in tasks if (task.label or task.name) == "language"), None)
