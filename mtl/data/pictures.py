"""pictures: images with their labels, from arrays, .npz files and folders of classes; and choices of them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl.data.archives import DAMAGED, open_npz
from mtl.data.pixels import Source, channels

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_PART = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image: its class, "" where it has none, and `labels` for other tasks, by name.

    `source` is a file, its bytes, uint8 pixels (H, W) or (H, W, 3), or what gives one of these when it is
    called. A label may be a map, a number per pixel: a file or an array (H, W). None is a missing label.
    """

    id: str
    label: str
    source: Source
    labels: Mapping[str, Any] = field(default_factory=dict)

    def known(self) -> dict[str, Any]:
        """Give all labels that are not missing, the class as "label"."""
        given = ({"label": self.label} if self.label else {}) | dict(self.labels)
        return {name: value for name, value in given.items() if value is not None}


def from_arrays(
    x: NDArray[Any], y: Sequence[Any] | NDArray[Any], name: str, names: Sequence[str] = ()
) -> list[Picture]:
    """Make pictures with ids `name:0`, `name:1`, ... of uint8 x (N, H, W) or (N, H, W, 3) and labels y (N,).

    Whole numbers in `y` are places in `names`, or where that is empty classes called "0", "1", ...
    Raises ValueError for other types and shapes, and for a label out of range.

    >>> from_arrays(np.zeros((2, 8, 8), np.uint8), [1, 0], "made", ["cat", "dog"])[0].label
    'dog'
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] != 3):
        raise ValueError(
            f"{name}: pixels are {x.dtype} {x.shape}; give uint8 (N, H, W) or (N, H, W, 3), 0 to 255"
        )
    if y.shape != x.shape[:1]:
        raise ValueError(f"{name}: {len(x)} images, but labels of shape {y.shape}; give one each")
    if np.issubdtype(y.dtype, np.integer) and len(y):
        most = len(names) - 1 if names else np.inf
        if bad := np.flatnonzero((y < 0) | (y > most)).tolist():
            known = f"0 to {most}" if names else "0, 1, ..."
            raise ValueError(f"{name}:{bad[0]}: label {y[bad[0]]} is out of range; give {known}")
        classes = [names[label] if names else str(label) for label in y.tolist()]
    elif y.dtype.kind == "U" or not len(y):
        classes = y.tolist()
    else:
        raise ValueError(f"{name}: labels are {y.dtype}; give whole numbers or names")
    rows = zip(x, classes, strict=True)
    return [Picture(f"{name}:{index}", label, pixels) for index, (pixels, label) in enumerate(rows)]


def read_npz(path: str | Path, part: str = "train", names: Sequence[str] = ()) -> list[Picture]:
    """Read the arrays `x_train y_train` or, for the part "test", `x_test y_test` of an .npz file.

    The test pictures get ids of their own, so that both parts may be mixed. Raises ValueError naming the
    file where it is missing, damaged or lacks them, and as `from_arrays` does.
    """
    path = Path(path)
    if part not in _PART:
        raise ValueError(f"part {part!r} of {path} is not known; choose one of {', '.join(_PART)}")
    try:
        with open_npz(path) as arrays:
            known = list(arrays)
            found = [arrays[key] for key in _PART[part] if key in known]
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist; give an .npz file of images") from error
    except DAMAGED as error:
        raise ValueError(f"{path} is damaged or not an .npz file: {error}") from error
    if len(found) < 2:
        needed = " and ".join(_PART[part])
        raise ValueError(
            f"{path} holds {', '.join(known) or 'nothing'}; the {part} part is {needed}"
        )
    name = path.name if part == "train" else f"{path.name}:{part}"
    return from_arrays(found[0], found[1], name, names)


def read_folder(path: str | Path, depth: int = 1) -> list[Picture]:
    """List the images of a folder that holds one folder per class, at any depth below it.

    With a `depth` of 2 the classes are the folders in its folders, named `folder/class` (Omniglot's
    characters, say). The ids are paths relative to `path`; nothing is opened before it is needed. Hidden
    folders and files are passed over. Raises ValueError where there are no classes, or a class without
    images.
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; give one that holds a folder of images per class")
    classes = [path]
    for _ in range(depth):
        inner = [each for folder in classes for each in folder.iterdir() if each.is_dir()]
        classes = sorted(each for each in inner if each.name[0] != ".")
    if not classes:
        raise ValueError(f"{path} holds no folders; put the images of each class into one")
    pictures: list[Picture] = []
    for folder in classes:
        files = sorted(f for f in folder.rglob("[!.]*") if f.suffix.lower() in SUFFIXES)
        if not files:
            raise ValueError(
                f"{folder} holds no image ({' '.join(SUFFIXES)}); remove it or fill it"
            )
        label = folder.relative_to(path).as_posix()
        pictures += [Picture(f.relative_to(path).as_posix(), label, f) for f in files]
    return pictures


def labelled(pictures: Sequence[Picture], **columns: Sequence[Any]) -> list[Picture]:
    """Give pictures further labels, a column per name with a value for each picture, None where missing.

    Raises ValueError for a column of another length.

    >>> pictures = from_arrays(np.zeros((2, 8, 8), np.uint8), [1, 0], "made")
    >>> [picture.known() for picture in labelled(pictures, age=[3.5, None], marks=[["round"], []])]
    [{'label': '1', 'age': 3.5, 'marks': ['round']}, {'label': '0', 'marks': []}]
    """
    for name, values in columns.items():
        if len(values) != len(pictures):
            raise ValueError(
                f"{name!r} has {len(values)} values for {len(pictures)} pictures; write None for "
                "labels that are missing"
            )
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    pairs = zip(pictures, rows or [{}] * len(pictures), strict=True)
    return [replace(picture, labels={**picture.labels, **row}) for picture, row in pairs]


def coloured(pictures: Sequence[Picture]) -> int:
    """Count the channels that a network needs for pictures: 3 where any is coloured, else 1.

    Those that cannot be read do not count. Raises ValueError where none can, or there is none.

    >>> coloured(from_arrays(np.zeros((3, 8, 8), np.uint8), [0, 1, 2], "made"))
    1
    """
    found, problem = 0, "there is none"
    for picture in pictures:
        try:
            found = max(found, channels(picture.source))
        except ValueError as error:
            problem = str(error)
        if found == 3:
            break
    if not found:
        raise ValueError(f"no picture can be read: {problem}")
    return found


def only(pictures: Sequence[Picture], classes: Collection[str]) -> list[Picture]:
    """Keep some classes. Raises ValueError for one that no picture has.

    >>> pictures = from_arrays(np.zeros((3, 8, 8), np.uint8), [0, 1, 2], "made")
    >>> [picture.id for picture in only(pictures, ["0", "2"])]
    ['made:0', 'made:2']
    """
    known = sorted({picture.label for picture in pictures})
    if missing := sorted(set(classes) - set(known)):
        raise ValueError(f"no picture of {missing}; there are: {', '.join(known)}")
    return [picture for picture in pictures if picture.label in classes]


def few(pictures: Sequence[Picture], count: int, seed: int = 0) -> list[Picture]:
    """Keep `count` pictures of each class, chosen by `seed` and ids alone; a larger count adds to them.

    Raises ValueError for a class that has fewer.
    """
    chosen: set[str] = set()
    for label, ids in _shuffled(pictures, seed).items():
        if len(ids) < count:
            raise ValueError(f"class {label!r} has {len(ids)} pictures, {count} are wanted")
        chosen.update(ids[:count])
    return [picture for picture in pictures if picture.id in chosen]


def hold_out(
    pictures: Sequence[Picture], share: float = 0.1, seed: int = 0
) -> tuple[list[Picture], list[Picture]]:
    """Split into (train, dev), about `share` of each class in dev, chosen by `seed` and ids alone.

    A class with one picture keeps it in train. Raises ValueError for a share that is no fraction.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; wanted a fraction between 0 and 1, such as 0.1")
    held: set[str] = set()
    for ids in _shuffled(pictures, seed).values():
        held.update(ids[: max(round(share * len(ids)), 1)] if len(ids) > 1 else ())
    train = [picture for picture in pictures if picture.id not in held]
    return train, [picture for picture in pictures if picture.id in held]


def _shuffled(pictures: Sequence[Picture], seed: int) -> dict[str, list[str]]:
    """Give the ids of each class in an order that depends on nothing else."""

    def key(name: str) -> bytes:
        return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()

    ids: dict[str, list[str]] = defaultdict(list)
    counts = Counter(picture.id for picture in pictures)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"id {twice[0]!r} is that of several pictures: give each its own")
    for picture in pictures:
        ids[picture.label].append(picture.id)
    return {label: sorted(names, key=key) for label, names in ids.items()}
