"""Cache: features computed once, kept in memory and on request on disk.

The key holds the content and the settings, so a changed file or setting never gives a stale answer.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CHECK = 16  # bytes of the checksum before an array on disk


class Cache:
    """A bounded store of tensors by key, the least recently used dropped first.

    Kept in 16 bit floats by default: half the memory, and a rounding of 0.05 % that log-mel features do
    not feel. What is given is in 32 bit.

    >>> cache = Cache(megabytes=1)
    >>> cache.get("a", lambda: torch.ones(2, 2)).sum().item()
    4.0
    >>> cache.get("a", lambda: torch.zeros(2, 2)).sum().item()
    4.0
    """

    def __init__(
        self,
        megabytes: float = 2000,
        folder: Path | None = None,
        dtype: torch.dtype = torch.float16,
    ) -> None:
        self.limit, self.folder, self.dtype = int(megabytes * 2**20), folder, dtype
        self._held: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0

    def get(self, key: str, compute: Callable[[], Tensor]) -> Tensor:
        """Give what is stored under `key`, or compute and store it; always rounded alike."""
        held = self.find(key)
        if held is None:
            held = compute().to(self.dtype, copy=True)
            self._write(key, held)
            self._hold(key, held)
        return held.to(torch.float32, copy=True)

    def find(self, key: str) -> Tensor | None:
        """Give what is stored under `key`, as it is stored, in memory or on disk."""
        held = self._held.get(key)
        if held is not None:
            self._held.move_to_end(key)
        elif (held := self._read(key)) is not None:
            self._hold(key, held)
        return held

    def _hold(self, key: str, value: Tensor) -> None:
        self._held[key] = value
        self._bytes += value.nbytes
        while self._bytes > self.limit and self._held:
            self._bytes -= self._held.popitem(last=False)[1].nbytes

    def _path(self, key: str) -> Path:
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return Path(self.folder or "", name[:2], f"{name}.cache")

    def _read(self, key: str) -> Tensor | None:
        if self.folder is None:
            return None
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        # A damaged header makes numpy raise almost anything, and damaged numbers nothing at all.
        check, array = content[:CHECK], content[CHECK:]
        if check != _checksum(array):
            return None
        found = torch.from_numpy(np.load(BytesIO(array), allow_pickle=False))
        return found if found.dtype == self.dtype else None

    def _write(self, key: str, value: Tensor) -> None:
        """Write in one move; a full disk costs the cache, not the run."""
        if self.folder is None:
            return
        path = self._path(key)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        array = BytesIO()
        np.save(array, value.numpy())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(_checksum(array.getvalue()) + array.getvalue())
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=CHECK).digest()


def content_key(path: Path, *settings: object) -> str:
    """Name a file's content together with settings; a moved or copied file keeps its name.

    The file is read once, and again when its date or size changes. Raises OSError where it cannot be.
    """
    status = path.stat()
    return f"{_digest(path, status.st_mtime_ns, status.st_size)} {settings!r}"


@lru_cache(maxsize=100_000)
def _digest(path: Path, changed_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
