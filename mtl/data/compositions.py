"""compositions: drawn signs whose class is made of parts: how many, texture, colour and shape.

A class is a name such as `two striped red ring`; its attributes are its parts. So classes that were never
seen can be told by parts that were, each in other company.
"""

import zlib
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mtl.data.images import Picture

SIDE, FINE = 48, 2  # pixels a side, and how much finer is drawn; one sign at most in each quarter
PERIOD = 0.55  # of textures, in half widths of a sign
UNINKED = 0.35  # brightness where a texture has no ink
SHAPES = ("circle", "square", "triangle", "cross", "ring")
COLOURS = {
    "red": (220, 50, 40),
    "green": (60, 180, 75),
    "blue": (50, 90, 220),
    "yellow": (240, 210, 40),
    "violet": (160, 60, 200),
}
TEXTURES = ("plain", "striped", "dotted", "checked")
NUMBERS = ("one", "two", "three")
PARTS = (NUMBERS, TEXTURES, tuple(COLOURS), SHAPES)
Grid = NDArray[np.float64]


def classes(count: int = 50, unseen: int = 10, seed: int = 0) -> tuple[list[str], list[str]]:
    """Choose classes (seen, unseen), so that each part of an unseen one is part of several seen ones.

    Raises ValueError where no choice does that: with too few seen classes.

    >>> seen, unseen = classes()
    >>> len(seen), len(unseen)
    (40, 10)
    """
    names = [" ".join(parts) for parts in product(*PARTS)]
    if not 0 < unseen < count <= len(names):
        raise ValueError(f"{unseen} unseen of {count} classes: there are {len(names)} in all")
    for trial in range(100):
        order = np.random.default_rng([seed, trial]).permutation(len(names))[:count]
        chosen = [names[index] for index in order]
        seen = chosen[unseen:]
        if all(sum(part in name.split() for name in seen) > 1 for parts in PARTS for part in parts):
            return seen, chosen[:unseen]
    raise ValueError(f"{count - unseen} seen classes are too few to show every part twice")


def attributes(names: Sequence[str]) -> list[list[float]]:
    """Give the classes' attributes (C, 17), 1 for each of its parts and else 0.

    >>> attributes(["one plain red circle"])[0][:4]
    [1.0, 0.0, 0.0, 1.0]
    """
    return [[float(p in name.split()) for parts in PARTS for p in parts] for name in names]


def compositions(names: Sequence[str], count: int, seed: int = 0) -> list[Picture]:
    """Draw `count` pictures of each class: sizes, places, turns and shades differ, in noise.

    A picture depends on its class, its number and `seed` alone.

    >>> compositions(["two dotted blue ring"], 3)[0].source.shape
    (48, 48, 3)
    """
    return [
        Picture(f"{name}:{seed}:{index}", name, _picture(name, index, seed))
        for name in names
        for index in range(count)
    ]


def _picture(name: str, index: int, seed: int) -> NDArray[np.uint8]:
    """Draw one: (SIDE, SIDE, 3)."""
    number, texture, colour, shape = name.split()
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), index])
    count, size = 1 + NUMBERS.index(number), SIDE * FINE // 2  # of a cell
    y, x = np.mgrid[:size, :size] / size * 2 - 1
    canvas = np.full((2 * size, 2 * size, 3), rng.uniform(0, 60))
    ink = np.array(COLOURS[colour]) * rng.uniform(0.75, 1.1) + rng.uniform(-20, 20, 3)
    for place in rng.permutation(4)[:count].tolist():
        row, column = (size * cell for cell in divmod(place, 2))
        cell = canvas[row : row + size, column : column + size]
        (down, right), radius = rng.uniform(-0.15, 0.15, 2), rng.uniform(0.6, 0.85)
        u, v = _turned((x - right) / radius, (y - down) / radius, rng.uniform(-0.5, 0.5))
        shade = np.where(_inked(texture, u, v), 1.0, UNINKED)[..., None]
        cell[:] = np.where(_inside(shape, u, v)[..., None], ink * shade, cell)
    small = canvas.reshape(SIDE, FINE, SIDE, FINE, 3).mean((1, 3))
    noisy = small + rng.normal(0, 8, small.shape)
    pixels: NDArray[np.uint8] = noisy.clip(0, 255).round().astype(np.uint8)
    return pixels


def _turned(x: Grid, y: Grid, angle: float) -> tuple[Grid, Grid]:
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _inside(shape: str, u: Grid, v: Grid) -> NDArray[np.bool_]:
    """Say where a sign is, by places from its centre in half widths."""
    far, wide = np.hypot(u, v), np.maximum(abs(u), abs(v))
    return {
        "circle": far < 0.95,
        "square": wide < 0.8,
        "triangle": (v < 0.7) & (v > 2 * abs(u) - 1.0),
        "cross": (wide < 0.95) & (np.minimum(abs(u), abs(v)) < 0.35),
        "ring": (far < 1.0) & (far > 0.5),
    }[shape]


def _inked(texture: str, u: Grid, v: Grid) -> NDArray[np.bool_]:
    """Say where a texture has ink."""
    across, down = np.sin(2 * np.pi * u / PERIOD), np.sin(2 * np.pi * v / PERIOD)
    return {
        "plain": np.ones_like(u, dtype=bool),
        "striped": down > 0,
        "dotted": across + down < 0.8,
        "checked": across * down > 0,
    }[texture]
