"""Device: precision and threads that suit this machine, and the Accelerator that uses them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mtl.config import Fit


def make_accelerator(config: Fit, out: Path | None = None) -> Any:
    """Give an Accelerator for `config`: DDP that tolerates unused heads, precision, trackers.

    Raises ValueError where trackers are wanted but there is no folder `out` for them, or one
    is not installed.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    trackers = [name.strip() for name in config.trackers.split(",") if name.strip()]
    if trackers and out is None:
        raise ValueError(f"fit.trackers is {config.trackers!r}: give an output folder for its logs")
    # A second run in the same process may choose another precision; the state is a singleton.
    AcceleratorState._reset_state(reset_partial_state=False)
    accelerator = Accelerator(
        mixed_precision=choose_precision(config.precision),
        log_with=trackers or None,
        project_dir=out,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    usable = {getattr(tracker, "value", tracker) for tracker in accelerator.log_with}
    if missing := sorted(set(trackers) - usable - {"all"}):
        raise ValueError(f"trackers {missing} are not installed: pip install {' '.join(missing)}")
    return accelerator


def start_processes() -> Any:
    """Join the processes that the launcher started; gives accelerate's `PartialState`.

    Raises ValueError where several were launched and each would train alone.
    """
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # Unlike an Accelerator, a PartialState does not look at this variable by itself.
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > 1 and state.num_processes == 1:
        raise ValueError(
            f"{launched} processes were launched, but none finds the others: without GPUs set "
            "ACCELERATE_USE_CPU=true"
        )
    return state


def choose_precision(wanted: str) -> str:
    """Resolve "auto": bf16 where this machine computes in it natively, else "no"."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    return "bf16" if _cpu_has_bf16() else "no"


def _cpu_has_bf16() -> bool:
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def set_threads(wanted: int, processes_here: int = 1) -> int:
    """Set torch's threads, by default to this process' share of the physical cores; give the number.

    `accelerate launch` sets OMP_NUM_THREADS=1 on a single CPU process, which would idle the others.
    """
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = min(psutil.cpu_count(logical=False) or 1, allowed or 1)
    threads = wanted or max(cores // processes_here, 1)
    torch.set_num_threads(threads)
    return threads


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def processes_here() -> int:
    """Count the training processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
