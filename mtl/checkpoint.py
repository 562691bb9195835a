"""Checkpoint: the whole state of a run, written at once or not at all."""

import json
import shutil
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from mtl.atomic import atomic_folder
from mtl.model import WrongModel, load_weights

PREFIX = "step-"


def save(folder: Path, step: int, module: nn.Module, optimizer: Any, state: dict[str, Any]) -> Path:
    """Write `folder/step-N` with weights, optimizer state and `state` (JSON).

    Raises `mtl.atomic.DiskFull` when the disk fills; earlier checkpoints stay.
    """
    from safetensors.torch import save_file

    target = _path(folder, step)
    with atomic_folder(target) as new:
        save_file(_tensors(module), new / "step.safetensors")
        torch.save(optimizer.state_dict(), new / "optimizer.pt")
        (new / "state.json").write_text(json.dumps(state | {"step": step}))
    return target


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Copy the weights: safetensors refuses tensors that share memory."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def steps(folder: Path) -> list[int]:
    """List the steps that have a checkpoint, oldest first."""
    if not folder.is_dir():
        return []
    found = [path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*")]
    return sorted(int(name) for name in found if name.isdigit())


def prune(folder: Path, keep: set[int]) -> None:
    """Delete the checkpoints of all other steps."""
    for step in set(steps(folder)) - keep:
        shutil.rmtree(_path(folder, step), ignore_errors=True)


def read_state(folder: Path) -> dict[str, Any] | None:
    """Read the JSON state of the newest checkpoint whose state is readable."""
    for step in reversed(steps(folder)):
        try:
            state: dict[str, Any] = json.loads((_path(folder, step) / "state.json").read_text())
        except (OSError, ValueError):
            continue
        return state
    return None


def _path(folder: Path, step: int) -> Path:
    return folder / f"{PREFIX}{step:08d}"


def resume(folder: Path, module: nn.Module, optimizer: Any) -> dict[str, Any] | None:
    """Load the newest readable checkpoint; None where there is none.

    One that is damaged is passed over with a warning. Raises ValueError where it is readable but of
    another model.
    """
    for step in reversed(steps(folder)):
        path = _path(folder, step)
        try:
            state: dict[str, Any] = json.loads((path / "state.json").read_text())
            moments = torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu")
            load_weights(module, path / "step.safetensors")
        except WrongModel:
            raise
        except (OSError, ValueError, RuntimeError, EOFError, KeyError, UnpicklingError) as error:
            warnings.warn(f"{path} is damaged ({error}); using the one before", stacklevel=2)
            continue
        optimizer.load_state_dict(moments)
        return state
    return None


def average(folder: Path, chosen: list[int], module: nn.Module) -> None:
    """Load the mean of several checkpoints' floating-point weights into `module`."""
    from safetensors.torch import load_file

    total: dict[str, Tensor] = {}
    for step in chosen:
        weights = load_file(_path(folder, step) / "step.safetensors")
        for name, value in weights.items():
            if value.is_floating_point():
                total[name] = total.get(name, torch.zeros_like(value, dtype=torch.float64)) + value
            else:
                total[name] = value
    own = module.state_dict()
    mean = {
        name: (value / len(chosen)).to(own[name].dtype) if value.is_floating_point() else value
        for name, value in total.items()
    }
    module.load_state_dict(mean)
