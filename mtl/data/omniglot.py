"""omniglot: characters of many alphabets, as people drew them, and 20 one-shot runs. Lake et al. 2015."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtl.data.archives import DAMAGED, refuse_bomb
from mtl.data.pictures import Picture
from mtl.data.pixels import read_pixels
from mtl.ops import square

RUNS = "all_runs"


class Trial(NamedTuple):
    """One example of each of N classes, and pictures to tell among these."""

    name: str
    support: list[Picture]
    tests: list[Picture]


def read_background(folder: Path, part: str = "small1", size: int = 28) -> list[Picture]:
    """Read the drawings to learn from: white on black, `size` pixels a side, classes `alphabet/character`.

    `folder` holds the files as published, such as `images_background_small1.zip`, or what they unpack to.
    Raises ValueError for what is missing.
    """
    found = []
    for name, drawing in _drawings(folder, f"images_background_{part}", size):
        alphabet, character, _ = name.split("/")[-3:]
        label = f"{alphabet}/{character}"
        found.append(Picture(name, label, drawing))
    return found


def read_runs(folder: Path, size: int = 28) -> list[Trial]:
    """Read the 20 one-shot runs: of each 20 characters one drawing, and another to tell among them.

    `folder` holds `all_runs.zip`, or what it unpacks to. Raises ValueError for what is missing.
    """
    drawings, runs = dict(_drawings(folder, RUNS, size)), dict[str, dict[str, str]]()
    for test, example in (line.split() for line in _lines(folder)):
        runs.setdefault(test.split("/")[0], {})[test] = example
    return [
        Trial(
            name,
            [
                Picture(example, example, drawings[example])
                for example in sorted(set(pairs.values()))
            ],
            [Picture(test, example, drawings[test]) for test, example in pairs.items()],
        )
        for name, pairs in sorted(runs.items())
    ]


def _lines(folder: Path) -> list[str]:
    """Give what all runs' class_labels.txt say: a picture to tell, and the example of its class."""
    texts = _files(folder, RUNS, "class_labels.txt").values()
    return [line for text in texts for line in text.decode().splitlines() if line.strip()]


def _drawings(folder: Path, name: str, size: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Give drawings, black on white, as white on black (size, size), by their path."""
    for path, data in _files(folder, name, ".png").items():
        pixels = square(read_pixels(data), 1, size)[0]
        yield path, (255 * (1 - pixels)).round().clamp(0, 255).byte().numpy()


def _files(folder: Path, name: str, end: str) -> dict[str, bytes]:
    """Read the files that end so, of a published .zip file or of what it unpacks to, by their sorted path."""
    packed, plain = folder / f"{name}.zip", folder / name
    if packed.is_file():
        try:
            with zipfile.ZipFile(packed) as file:
                refuse_bomb(packed, file)
                names = [each for each in file.namelist() if not each.startswith("__")]
                found = {each: file.read(each) for each in sorted(names) if each.endswith(end)}
        except DAMAGED as error:
            raise ValueError(f"{packed} is damaged or no .zip file: {error}") from error
    else:
        paths = sorted(path for path in plain.rglob("[!.]*") if path.name.endswith(end))
        found = {path.relative_to(plain).as_posix(): path.read_bytes() for path in paths}
    if not found:
        raise ValueError(
            f"{folder}: no {packed.name}, and no folder {name}, with files *{end}; see Omniglot"
        )
    return found
