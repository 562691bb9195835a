"""Atomic: files and folders appear whole or not at all, also when the process dies or the disk fills."""

import errno
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OS_ERROR = re.compile(r"\(os error (\d+)\)")


class DiskFull(OSError):
    """No space was left while writing; what stood there before is untouched."""


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its place when the block ends well.

    Raises `DiskFull`, naming the folder and what is free, when the disk fills, and FileExistsError
    where `target` holds other files than the new folder, which would be lost.

    >>> with tempfile.TemporaryDirectory() as root:
    ...     with atomic_folder(Path(root, "model")) as folder:
    ...         _ = (folder / "config.json").write_text("{}")
    ...     os.listdir(Path(root, "model"))
    ['config.json']
    """
    with naming_a_full_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        restore(target)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            folder.chmod(0o755)
            yield folder
            for path in folder.iterdir():
                _sync(path)
            _refuse_others(folder, target)
            _replace(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def restore(target: Path) -> None:
    """Put back the folder that a process killed while replacing `target` left beside it.

    Does nothing where `target` exists or nothing was left.
    """
    if not target.exists() and (left := [path for path in _aside(target) if any(path.iterdir())]):
        max(left, key=lambda path: path.stat().st_mtime).replace(target)


def _aside(target: Path) -> list[Path]:
    """List the folders that `_replace` moved away from `target` and did not delete."""
    return list(target.parent.glob(f".{glob.escape(target.name)}.old.*"))


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield an empty file beside `target` that takes its place when the block ends well.

    Raises `DiskFull` as `atomic_folder` does.
    """
    with naming_a_full_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        path = Path(name)
        try:
            yield path
            path.chmod(0o644)
            _sync(path)
            path.replace(target)
        finally:
            path.unlink(missing_ok=True)


def atomic_text(target: Path, text: str) -> None:
    """Write a small text file in one move. Raises `DiskFull` as `atomic_folder` does."""
    with atomic_file(target) as path:
        path.write_text(text, encoding="utf-8")


def append_text(target: Path, text: str) -> None:
    """Write behind what a file holds. Raises `DiskFull`; a process that dies may leave half of `text`."""
    with naming_a_full_disk(target), target.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def naming_a_full_disk(target: Path) -> Iterator[None]:
    """Turn whatever a library makes of a full disk into `DiskFull`, which names `target`."""
    try:
        yield
    except Exception as error:
        if not _says_full(error):
            raise
        existing = next(folder for folder in target.parents if folder.is_dir())
        free = shutil.disk_usage(existing).free / 2**20
        raise DiskFull(
            errno.ENOSPC,
            f"disk full while writing {target} ({free:.0f} MB free); earlier files are intact: "
            "free some space and start the same command again, it resumes",
        ) from error


def _says_full(error: BaseException | None) -> bool:
    """Look for a full disk or quota in an error and what led to it.

    safetensors keeps the number in its message only; torch raises its own error on top of it.
    """
    while error is not None:
        number = getattr(error, "errno", None) or _OS_ERROR.search(str(error))
        code = int(number[1]) if isinstance(number, re.Match) else number
        if code in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _sync(path: Path) -> None:
    """Force a file to the disk, so that the rename cannot overtake its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_others(folder: Path, target: Path) -> None:
    """Raise FileExistsError where `target` holds files that `folder` would not replace."""
    if target.is_dir() and (others := sorted(set(os.listdir(target)) - set(os.listdir(folder)))):
        raise FileExistsError(
            f"{target} holds other files, such as {others[0]}: choose another folder, or move them"
        )


def _replace(folder: Path, target: Path) -> None:
    """Put `folder` in the place of `target`; a folder that is not empty cannot be replaced in one call."""
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.replace(old)
    folder.replace(target)
    for old in _aside(target):
        shutil.rmtree(old, ignore_errors=True)
