"""Worlds: pictures of classes that are described by attributes, and which of the classes are never seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtl.data.attributes import attributes
from mtl.data.compositions import attributes as parts_of
from mtl.data.compositions import classes, compositions
from mtl.data.hog import described
from mtl.data.images import Picture, few, read_npz
from mtl.data.signs import TABLES, digit_attributes

HELD = 0.25  # share of the seen classes that are held out to choose something by


class Split(NamedTuple):
    """Classes to learn from, and those of which only the attributes are known."""

    seen: list[str]
    unseen: list[str]

    def inner(self, *seed: int) -> "Split":
        """Hold two or more of the seen classes out, as if they were unseen."""
        order = np.random.default_rng(seed).permutation(self.seen).tolist()
        held = max(round(HELD * len(order)), 2)
        return Split(order[held:], order[:held])


@dataclass(frozen=True)
class World:
    """Pictures to learn from and to test on, and the attributes of all classes."""

    train: Sequence[Picture]
    test: Sequence[Picture]
    vectors: Mapping[str, Sequence[float]]

    @cached_property
    def gradients(self) -> dict[str, NDArray[np.float32]]:
        """Give the features of `mtl.data.hog` by picture."""
        pictures = [*self.train, *self.test]
        return {p.id: row for p, row in zip(pictures, described(pictures), strict=True)}

    def split(self, unseen: int, seed: int) -> Split:
        """Choose so many unseen classes. Raises ValueError where fewer than four are left to learn from."""
        if not 2 <= unseen <= len(self.vectors) - 4:
            raise ValueError(
                f"{unseen} unseen of {len(self.vectors)} classes: give 2 or more, and leave 4 to learn from"
            )
        order = np.random.default_rng(seed).permutation(sorted(self.vectors)).tolist()
        return Split(sorted(order[unseen:]), sorted(order[:unseen]))


def composed(seed: int, count: int, test: int) -> tuple[World, Split]:
    """Draw 50 classes of `mtl.data.compositions`, 10 of them unseen.

    There are `count` pictures of each to learn from, and `test` to test on.
    """
    split = Split(*classes(seed=seed))
    names = [*split.seen, *split.unseen]
    vectors = dict(zip(names, parts_of(names), strict=True))
    train, tests = (
        compositions(names, each, 2 * seed + part) for part, each in enumerate((count, test))
    )
    return World(train, tests, vectors), split


def read_world(path: Path, table: str, count: int, test: int) -> World:
    """Read an .npz file of pictures, and attributes: "segments" or "strokes" of digits, or a .csv or .npz.

    Keeps `count` training and `test` test pictures of each class. Raises ValueError where there are fewer,
    and where pictures and attributes do not go together, FileNotFoundError for a missing file.
    """
    train, tests = few(read_npz(path), count), few(read_npz(path, "test"), test)
    names = sorted({picture.label for picture in [*train, *tests]})
    if table not in TABLES:
        rows = attributes(Path(table), names).tolist()
        if empty := [name for name, row in zip(names, rows, strict=True) if not any(row)]:
            raise ValueError(f"{table}: class {empty[0]!r} has no attribute but 0: give it one")
        return World(train, tests, dict(zip(names, rows, strict=True)))
    known = digit_attributes(table)
    if strange := [name for name in names if name not in known]:
        raise ValueError(f"{path}: class {strange[0]!r} is no digit; give --attributes FILE")
    return World(train, tests, {name: known[name] for name in names})
