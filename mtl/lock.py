"""Lock: a folder that one run at a time writes into. The lock dies with its process, however it dies."""

import atexit
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_held: set[Path] = set()  # by this process, which may ask again


class InUse(ValueError):
    """Another process writes into this folder."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold `folder`, which need not exist, for this process, which may ask again.

    The lock is a hidden file beside it, or in it where nothing beside it can be written. Raises InUse, naming
    the process that holds it, and OSError where neither can be. File systems without locks are used without.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     with alone(Path(root, "runs", "one")):
    ...         os.listdir(Path(root, "runs"))
    ...     os.listdir(root)
    ['.one.lock']
    []
    """
    place, process = folder.resolve(), os.getpid()
    if place in _held:
        yield
        return
    made = [path for path in place.parents if not path.exists()]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        path = place.parent / f".{place.name}.lock"
        descriptor = _locked(path, folder)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.ENOENT, errno.EPERM, errno.EROFS):
            raise
        place.mkdir(exist_ok=True)
        path = place / ".lock"
        descriptor = _locked(path, folder)
    _held.add(place)
    try:
        yield
    finally:
        _held.discard(place)
        if os.getpid() == process:  # and no child of it
            path.unlink(missing_ok=True)  # still locked: nobody else takes it for his own
        os.close(descriptor)
        with suppress(OSError):
            for left in made:
                left.rmdir()  # where nothing was written


def claim(folder: Path) -> None:
    """Hold `folder` until this process ends. Raises as `alone` does."""
    stack = ExitStack()
    stack.enter_context(alone(folder))
    atexit.register(stack.close)


def _locked(path: Path, folder: Path) -> int:
    """Open and lock a file. A lock by `lockf` is not inherited by workers, which outlive a killed run."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                holder = os.read(descriptor, 100).decode(errors="replace")
                os.close(descriptor)
                raise InUse(
                    f"{folder} is in use by {holder or 'another process'}: wait until it ends, or choose "
                    "another folder"
                ) from error
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                return descriptor
            os.close(descriptor)
            raise
        if _is(path, descriptor):
            break
        os.close(descriptor)  # its holder went, and deleted it, meanwhile
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
    return descriptor


def _is(path: Path, descriptor: int) -> bool:
    """Say whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
