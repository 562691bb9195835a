"""Loading: the parts of a run's steps, ahead of time, by workers that are replaced when they die."""

import logging
import signal
import threading
from collections.abc import Iterator

from torch.utils.data import DataLoader

from mtl.stream import Part, Parts

DEATHS = 3  # of workers, with no part loaded in between, before giving up
log = logging.getLogger(__name__)


def load_parts(parts: Parts, start: int, stop: int, workers: int = 0) -> Iterator[Part]:
    """Iterate over the parts of the steps from `start` to `stop`, loaded ahead by worker processes.

    A part depends on its step alone, so where a worker dies new ones go on and the parts are the same.
    Raises ChildProcessError where they keep dying.
    """
    number, total, deaths = start * parts.accumulate, stop * parts.accumulate, 0
    while number < total:
        keys = (divmod(place, parts.accumulate) for place in range(number, total))
        loaded = _ahead(parts, keys, workers)
        try:
            while number < total:
                part = next(loaded)
                number, deaths = number + 1, 0
                yield part
        except RuntimeError as error:
            if not (workers and "DataLoader worker" in str(error)):
                raise
            deaths += 1
            if deaths == DEATHS:
                raise ChildProcessError(
                    f"{deaths} workers that load data died, one after another ({error}): memory may be "
                    f"short. Lower fit.workers, now {workers}, and start the same command again, it "
                    "resumes"
                ) from error
            log.warning("%s; another takes its place", error)


def _ahead(parts: Parts, keys: Iterator[tuple[int, int]], workers: int) -> Iterator[Part]:
    handler = signal.getsignal(signal.SIGCHLD)
    loader: DataLoader[Part] = DataLoader(
        parts,
        sampler=keys,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    loaded = iter(loader)
    if workers and threading.current_thread() is threading.main_thread():
        # torch's handler would raise anywhere, also in the midst of an update; asking for the next part
        # tells of the death as well.
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
    return loaded
