"""Checkpoint: the whole state of a run, written at once or not at all."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtl.atomic import append_text, atomic_folder, atomic_text
from mtl.config import Fit
from mtl.data.pixels import Fitted
from mtl.model import WrongModel, load_weights
from mtl.step import Step
from mtl.stream import Data, Stream

PREFIX = "step-"
HISTORY = "history.jsonl"
DIGESTS = "digests.json"
PLAIN = torch.contiguous_format
# What reading a damaged file raises: with digests the first two, without them whatever the libraries do.
DAMAGED = (
    *(OSError, ValueError, RuntimeError, EOFError, UnpicklingError),
    *(AttributeError, TypeError, LookupError),
)


def save(folder: Path, step: int, module: nn.Module, optimizer: Any, state: dict[str, Any]) -> Path:
    """Write `folder/step-N` with weights, optimizer state and `state` (JSON).

    Raises `mtl.atomic.DiskFull` when the disk fills; earlier checkpoints stay.
    """
    from safetensors.torch import save_file

    target = _path(folder, step)
    with atomic_folder(target) as new:
        save_file(_tensors(module), new / "step.safetensors")
        with (new / "optimizer.pt").open("wb") as file:  # torch's own writer hides a full disk
            torch.save(optimizer.state_dict(), file)
        (new / "state.json").write_text(json.dumps(state | {"step": step}))
        digests = {path.name: _digest(path) for path in sorted(new.iterdir())}
        (new / DIGESTS).write_text(json.dumps(digests))
    return target


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(path: Path, *names: str) -> None:
    """Raise ValueError where files of a checkpoint are not as they were written; old ones have no digests."""
    if (path / DIGESTS).is_file():
        digests = json.loads((path / DIGESTS).read_text())
        if changed := [name for name in names if digests.get(name) != _digest(path / name)]:
            raise ValueError(f"{changed[0]} is not as it was written")


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Copy the weights: safetensors refuses tensors that share memory or are not contiguous."""
    state = module.state_dict()
    return {name: value.detach().cpu().clone(memory_format=PLAIN) for name, value in state.items()}


def steps(folder: Path) -> list[int]:
    """List the steps that have a checkpoint, oldest first."""
    if not folder.is_dir():
        return []
    found = [path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*")]
    return sorted(int(name) for name in found if name.isdigit())


def whole(folder: Path) -> list[int]:
    """List the steps whose weights can be read, oldest first; damaged ones are named in a warning."""
    from safetensors import SafetensorError, safe_open

    good = []
    for step in steps(folder):
        try:
            _check(_path(folder, step), "step.safetensors")
            with safe_open(_path(folder, step) / "step.safetensors", framework="pt"):
                good.append(step)
        except (*DAMAGED, SafetensorError) as error:
            warnings.warn(f"{_path(folder, step)} is damaged ({error}); passed over", stacklevel=2)
    return good


def log(folder: Path, history: list[dict[str, Any]], written: int) -> None:
    """Append to `folder/history.jsonl` all but the first `written` entries; 0 writes it anew.

    Raises `mtl.atomic.DiskFull` when the disk fills.
    """
    text = "".join(json.dumps(entry) + "\n" for entry in history[written:])
    (append_text if written else atomic_text)(folder / HISTORY, text)


def read_log(folder: Path, step: int) -> list[dict[str, Any]]:
    """Read the history up to `step`; what a killed process wrote after its checkpoint is left out."""
    path, entries = folder / HISTORY, []
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            if entry["step"] <= step:
                entries.append(entry)
        except (ValueError, LookupError, TypeError, RecursionError):
            continue  # damaged, or half a line at the end
    return entries


def prune(folder: Path, done: int, count: int, best: int | None = None) -> None:
    """Keep the newest `count` checkpoints up to step `done` and the best; delete what a killed process left.

    Later ones, which could not be read when the run resumed, stay until they are written anew.
    """
    for step in [step for step in steps(folder) if step <= done][:-count]:
        if step != best:
            shutil.rmtree(_path(folder, step), ignore_errors=True)
    for path in folder.glob(f".{PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def signature(
    step: Step, streams: Mapping[str, Stream], config: Fit, dev: Mapping[str, Data]
) -> dict[str, Any]:
    """Describe what decides the result, to refuse resuming something else.

    Of the data that is ids, lengths, labels and settings: inputs that were replaced under their old names
    are not seen.
    """
    entries: dict[str, Any] = {f"fit.{name}": value for name, value in config.decisive().items()}
    trainable = [name for name, p in step.named_parameters() if p.requires_grad]
    entries["the model"] = digest(step.model.config())
    entries["what is trained"] = digest(trainable)
    for name, method in step.methods.items():
        plain = {k: v for k, v in vars(method).items() if isinstance(v, str | float | int | tuple)}
        plain["training"] = type(method).__name__  # not a setting
        entries[f"method {name!r}"] = digest(plain)
    for name, stream in streams.items():
        mixed = (stream.batch, stream.shares, stream.jitter)
        entries[f"stream {name!r}"] = digest(_described(stream.data), mixed)
    for name, data in dev.items():
        entries[f"dev {name!r}"] = digest(_described(data))
    return entries


def _described(data: Data) -> tuple[Any, ...]:
    labels = hashlib.blake2b(digest_size=16)  # of a million examples, not to be kept as one text
    for index in range(len(data)):
        held = {name: _label(value) for name, value in data.labels(index).items()}
        labels.update(json.dumps(held, sort_keys=True, default=str).encode())
    return list(data.ids), data.seconds.tolist(), getattr(data, "settings", ""), labels.hexdigest()


def _label(value: Any) -> Any:
    """Give what tells a label from others; a map, which would have to be read, by its name alone."""
    if isinstance(value, Fitted):
        return value.name
    return value.tolist() if isinstance(value, np.ndarray | np.generic | torch.Tensor) else value


def digest(*values: Any) -> str:
    """Give a short hash of JSON values."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def refuse_others(folder: Path, own: Mapping[str, Any]) -> None:
    """Raise ValueError, naming what differs, where `folder` holds a run of another signature."""
    newest = read_state(folder) or {}
    old = newest.get("signature", own)
    differing = [name for name in {**old, **own} if old.get(name) != own.get(name)]
    if differing:
        listed = ", ".join(_difference(name, old, own) for name in differing)
        raise ValueError(
            f"{folder} holds another run, which differs in {listed}: choose another output "
            "folder, or delete this one"
        )


def _difference(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name an entry with both values, unless they are hashes."""
    if not name.startswith("fit."):
        return name
    return f"{name} ({old.get(name)} there, {new.get(name)} here)"


def read_state(folder: Path) -> dict[str, Any] | None:
    """Read the JSON state of the newest checkpoint whose state is readable."""
    for step in reversed(steps(folder)):
        with suppress(*DAMAGED):
            return _state(_path(folder, step))
    return None


def _state(path: Path) -> dict[str, Any]:
    _check(path, "state.json")
    state: dict[str, Any] = json.loads((path / "state.json").read_text())
    return state


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
            state = _state(path)
            _check(path, "optimizer.pt", "step.safetensors")
            moments = torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu")
            load_weights(module, path / "step.safetensors")
        except WrongModel:
            raise
        except DAMAGED as error:
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
