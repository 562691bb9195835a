"""archives: zip files, numpy's .npz among them, that unpack to a size which can be meant."""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

LARGEST = 1 << 30  # bytes that any file may unpack to
RATIO = 200  # times its own size, for what is larger
# What numpy and zipfile raise for files that are damaged or something else.
DAMAGED = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, struct.error, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error),
)


@contextmanager
def open_npz(path: Path) -> Iterator[Any]:
    """Open an .npz file as numpy does, without pickles and bombs. Raises what is in DAMAGED."""
    # numpy leaves a damaged file open that it opened itself.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        refuse_bomb(path, arrays.zip)
        yield arrays


def refuse_bomb(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise ValueError where the file at `path` would unpack to what fills the memory and holds nothing.

    Images and sound pack to no less than a twentieth; zeros to a thousandth.
    """
    unpacked, packed = sum(info.file_size for info in archive.infolist()), path.stat().st_size
    if unpacked > LARGEST and unpacked > RATIO * packed:
        raise ValueError(
            f"{packed / 1e6:.3g} MB would unpack to {unpacked / 1e9:.3g} GB, which is no data but a "
            "decompression bomb"
        )
