"""huggingface: pictures of a Hugging Face data set, read from its table when they are needed."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mtl.data.imports import Ask
from mtl.data.imports.datasets import load
from mtl.data.pictures import Picture

LABELS = ("label", "labels")  # the usual names


def read_hf(
    source: str | Path,
    split: str = "train",
    *,
    image: str | None = None,
    label: str | Mapping[str, str] | None = None,
    subset: str = "",
) -> list[Picture]:
    """Read a split of a data set that was saved to disk, of a folder or of a hub id; ids are `split:0`, ...

    `image` names the column of the pictures (default: the only one), `label` that of the classes (default:
    "label" or "labels", if it is there), or gives {label: column} for several tasks. Numbered classes
    become their names ("3" where they have none), lists of them lists of names, columns of images and
    arrays (H, W) maps; None, and -1 for a named class, is a missing label.

    Raises ImportError without `mtl[data]`, ValueError for a split or column that is not there.
    """
    data = load(Ask(str(source), split, subset))
    columns = _columns(str(source), data, label)
    image = image or _image(str(source), data, columns)
    _check(str(source), data, [image, *columns.values()])
    pixels = _undecoded(data, image)
    given = {name: _values(data, column) for name, column in columns.items()}
    pictures = []
    for index in range(len(data)):
        labels = {name: values[index] for name, values in given.items()}
        classed = isinstance(labels.get("label"), str | int)
        first = str(labels.pop("label")) if classed else ""
        cell = partial(_cell, pixels, image, index)
        pictures.append(Picture(f"{split}:{index}", first, cell, labels))
    return pictures


def _columns(source: str, data: Any, label: str | Mapping[str, str] | None) -> dict[str, str]:
    """Give {label: column}."""
    if label is None:
        usual = [name for name in LABELS if name in data.column_names]
        return {"label": usual[0]} if usual else {}
    return {"label": label} if isinstance(label, str) else dict(label)


def _image(source: str, data: Any, columns: Mapping[str, str]) -> str:
    found: list[str] = [
        n for n in data.column_names if _is_image(data, n) and n not in columns.values()
    ]
    if len(found) != 1:
        raise ValueError(
            f"{source}: which column is the picture? give image=...: {', '.join(data.column_names)}"
        )
    return found[0]


def _check(source: str, data: Any, columns: list[str]) -> None:
    for name in columns:
        if name not in data.column_names:
            has = ", ".join(data.column_names)
            raise ValueError(f"{source}: has no column {name!r}; it has: {has}")
    if not _is_image(data, columns[0]):
        raise ValueError(f"{source}: column {columns[0]!r} holds no pictures")


def _is_image(data: Any, column: str) -> bool:
    return type(data.features[column]).__name__ == "Image"


def _undecoded(data: Any, column: str) -> Any:
    """Leave a column of images as files and bytes: a damaged one is then named like any other."""
    kind = type(data.features[column])
    return data.select_columns([column]).cast_column(column, kind(decode=False))


def _values(data: Any, column: str) -> list[Any]:
    """Give a column's raw labels."""
    feature = data.features[column]
    if _is_image(data, column):
        maps = _undecoded(data, column)
        return [
            partial(_cell, maps, column, index) if row[column] else None
            for index, row in enumerate(maps)
        ]
    values = list(data.select_columns([column])[column])
    inner = getattr(feature, "feature", feature)
    if hasattr(inner, "int2str"):
        return [_spelled(inner, value) for value in values]
    if type(feature).__name__ == "Array2D":
        return [None if value is None else np.asarray(value) for value in values]
    return values


def _spelled(feature: Any, value: Any) -> Any:
    """Give the name of a class, or the names of several."""
    if isinstance(value, list):
        return [feature.int2str(each) for each in value]
    return None if value in (None, -1) else feature.int2str(value)


def _cell(data: Any, column: str, index: int) -> Any:
    """Give the file or the bytes of an image."""
    held = data[index][column] or {}
    if held.get("bytes"):
        return held["bytes"]
    if not held.get("path"):
        raise ValueError("holds neither a path nor bytes of an image")
    return Path(held["path"])
