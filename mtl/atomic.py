"""Atomic: files and folders appear whole or not at all, also when the process dies or the disk fills."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DiskFull(OSError):
    """No space was left while writing; what stood there before is untouched."""


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its place when the block ends well.

    Raises `DiskFull`, naming the folder and what is free, when the disk fills.

    >>> with tempfile.TemporaryDirectory() as root:
    ...     with atomic_folder(Path(root, "model")) as folder:
    ...         _ = (folder / "config.json").write_text("{}")
    ...     os.listdir(Path(root, "model"))
    ['config.json']
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        folder.chmod(0o755)
        yield folder
        for path in folder.iterdir():
            _sync(path)
        _replace(folder, target)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        free = shutil.disk_usage(target.parent).free / 2**20
        raise DiskFull(
            errno.ENOSPC,
            f"disk full while writing {target} ({free:.0f} MB free); earlier files are intact: "
            "free some space and start the same command again, it resumes",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def atomic_text(target: Path, text: str) -> None:
    """Write a small text file in one move."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file to the disk, so that the rename cannot overtake its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(folder: Path, target: Path) -> None:
    """Put `folder` in the place of `target`; a folder that is not empty cannot be replaced in one call."""
    old = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.replace(old)
    folder.replace(target)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
