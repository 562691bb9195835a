"""attributes: vectors that describe classes, from a table: CSV or .npz."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtl.data.archives import DAMAGED, open_npz


def attributes(path: Path, classes: Sequence[str]) -> NDArray[np.float32]:
    """Read the vectors of classes (C, A), in this order; the file may hold others.

    A .csv has a line of column names, then one for each class, its name first. An .npz holds `classes` (C,)
    and `vectors` (C, A). Raises ValueError, naming the file and line or what is missing, for classes that it
    lacks or has twice, and for what is no finite number.
    """
    names, vectors = _npz(path) if path.suffix == ".npz" else _csv(path)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: class {repeated[0]!r} is there more than once")
    if missing := [name for name in classes if name not in names]:
        raise ValueError(
            f"{path}: no attributes of {', '.join(map(repr, missing))}; it has: {', '.join(names)}"
        )
    chosen = vectors[[names.index(name) for name in classes]]
    if bad := [
        name for name, row in zip(classes, chosen, strict=True) if not np.isfinite(row).all()
    ]:
        raise ValueError(f"{path}: class {bad[0]!r} has NaN or infinity: give finite numbers")
    return chosen


def _csv(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    names, rows = [], []
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            header, *lines = (line for line in enumerate(csv.reader(file), 1) if any(line[1]))
        except ValueError as error:
            raise ValueError(f"{path} is empty, or no CSV in UTF-8: {error}") from error
    wide = len(header[1])
    for number, (name, *cells) in lines:
        if len(cells) != wide - 1 or not cells:
            raise ValueError(
                f"{path}:{number}: class {name!r} has {len(cells)} attributes, the header {wide - 1}"
            )
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError as error:
            raise ValueError(f"{path}:{number}: class {name!r}: {error}") from error
        names.append(name.strip())
    return names, np.array(rows, dtype=np.float32).reshape(len(rows), wide - 1)


def _npz(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    try:
        with open_npz(path) as file:
            names, vectors = file["classes"], file["vectors"]
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        raise ValueError(
            f"{path}: give arrays `classes` (C,) and `vectors` (C, A): {error}"
        ) from error
    if vectors.ndim != 2 or names.shape != vectors.shape[:1] or vectors.dtype.kind not in "uifb":
        raise ValueError(
            f"{path}: classes {names.shape} and vectors {vectors.shape} of {vectors.dtype} do not go "
            "together; give (C,) names and (C, A) numbers"
        )
    return [str(name) for name in names], vectors.astype(np.float32)
