"""states: weights of other libraries, read from files and fitted into their models."""

import os
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from mtl.model import WrongModel

TYPES: tuple[str, ...] = ()  # no family, but all files of this folder are asked


@contextmanager
def tensors_only() -> Iterator[None]:
    """Let torch load nothing but tensors, also where a library asks it to run what a file's pickle says."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def read(path: Path) -> dict[str, Tensor]:
    """Read a state dict, .safetensors or saved by torch, there also below "model" or "state_dict".

    Raises FileNotFoundError, and ValueError for a file that is damaged or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a file of weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is damaged or holds more than tensors: {error}") from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    for key in ("model", "state_dict"):
        state = state[key] if isinstance(state, Mapping) and key in state else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} is no state dict; save model.state_dict()")
    return state


def fit(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load a state dict whose names and shapes must fit `module`; old names that it knows are renamed.

    Raises WrongModel that lists missing (-), unexpected (+) and misshaped (!) tensors.
    """
    own = module.state_dict()
    wrong = {name for name in own if name in state and state[name].shape != own[name].shape}
    right = OrderedDict((name, value) for name, value in state.items() if name not in wrong)
    # The versions of the modules: torch saves them, safetensors does not.
    right._metadata = getattr(state, "_metadata", own._metadata)  # type: ignore[attr-defined]
    result = module.load_state_dict(right, strict=False)
    report = [f"- {name}" for name in result.missing_keys if name not in wrong]
    report += [f"+ {name}" for name in result.unexpected_keys]
    report += [
        f"! {name}: file {tuple(state[name].shape)}, model {tuple(own[name].shape)}"
        for name in own
        if name in wrong
    ]
    if report:
        more = [f"... and {len(report) - 20} more"] if len(report) > 20 else []
        raise WrongModel("\n".join([f"{source} is of another model:", *report[:20], *more]))
