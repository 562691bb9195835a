"""torchvision: the data sets of torchvision by name, as pictures that are read when they are needed."""

import inspect
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mtl.data.pictures import Picture

PARTS = {"train": True, "test": False}
NAMED = ("split", "image_set")  # arguments that take a part's name
HELD = ("targets", "labels", "_labels", "y")  # where data sets keep their labels


def read_torchvision(
    name: str,
    root: str | Path,
    part: str = "train",
    *,
    label: str = "label",
    names: Sequence[str] | None = None,
    **options: Any,
) -> list[Picture]:
    """Read one part of a data set of `torchvision.datasets` that lies in `root`; ids are `name:part:0`, ...

    It is one of (image, class number) or (image, map), which becomes the label `label`; the number -1 is
    no label. `names` are the classes' names, by default those of the data set, else "0", "1", ...; MNIST's
    "7 - seven" is "7", as in other data sets of digits. `part` is "train" or "test", or what the data set
    calls its split; "all" where it has none. `options` go to the data set: `download=True` is needed to
    download.

    Raises ValueError for an unknown name or part, where the data are not in `root`, and for other labels.
    """
    kind = _kind(name)
    choice = _choice(kind, part)
    try:
        data = kind(**_place(kind, root), **choice, **options)
        targets = _targets(data)
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"{root} holds no {name}, or a damaged one ({error}); download=True gets it"
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} in {root}: {error}") from error
    own = getattr(data, "classes", ()) if names is None else names
    spelled = [re.sub(r"^(\d+) - \w+$", r"\1", str(each)) for each in own]
    pictures = []
    for index, target in enumerate(targets):
        where = f"{name}:{part}:{index}"
        given = target if callable(target) else _class(target, spelled, where)
        first = given if label == "label" and isinstance(given, str) else ""
        labels = {} if first else {label: given}
        pictures.append(Picture(where, first, partial(_part, data, index, 0), labels))
    return pictures


def _kind(name: str) -> Any:
    """Find a data set's class."""
    from torchvision import datasets

    kind = getattr(datasets, name, None)
    if inspect.isclass(kind) and issubclass(kind, datasets.VisionDataset):
        return kind
    raise ValueError(f"torchvision.datasets has no {name!r}; such names are CIFAR10, MNIST")


def _place(kind: Any, root: str | Path) -> dict[str, Any]:
    """Give the argument that says where a data set lies; FakeData, which is made up, has none."""
    return {"root": root} if "root" in inspect.signature(kind.__init__).parameters else {}


def _choice(kind: Any, part: str) -> dict[str, Any]:
    """Give the argument by which a data set chooses its part."""
    from torchvision.datasets import MNIST

    known = set(inspect.signature(kind.__init__).parameters)
    known |= {"train"} if issubclass(kind, MNIST) else set()  # EMNIST's `split` is something else
    found = next((each for each in ("train", "background", *NAMED) if each in known), None)
    if found in NAMED:
        return {found: part}
    parts = ["all"] if found is None else list(PARTS)
    if part not in parts:
        raise ValueError(f"{kind.__name__} has no part {part!r}; it has: {', '.join(parts)}")
    return {} if found is None else {found: PARTS[part]}


def _targets(data: Any) -> list[Any]:
    """Give each example's target, or what reads its map; pictures are decoded only if need be."""
    if len(data) and _closed(_part(data, 0, 1)):
        return [partial(_part, data, index, 1) for index in range(len(data))]
    for name in HELD:
        held = np.asarray(getattr(data, name, ()))
        if held.shape == (len(data),) and held.dtype.kind in "iu":
            return list(held.tolist())
    return [data[index][1] for index in range(len(data))]


def _closed(given: Any) -> bool:
    """Say whether something is a picture of Pillow's, whose file is then closed."""
    if is_picture := hasattr(given, "getbands"):
        given.close()
    return is_picture


def _class(target: Any, names: Sequence[str], where: str) -> str | None:
    """Name a class, None for -1."""
    number = np.asarray(target) if isinstance(target, int | np.integer | Tensor) else None
    if number is None or number.ndim or number.dtype.kind not in "iu":
        raise ValueError(
            f"{where}: its target is {type(target).__name__}, neither a class number nor a map; "
            "make `Picture`s of it yourself"
        )
    if number == -1:
        return None
    if number < 0 or (names and number >= len(names)):
        known = f"0 to {len(names) - 1}" if names else "0, 1, ..."
        raise ValueError(f"{where}: label {number} is out of range; give {known}")
    return names[int(number)] if names else str(number)


def _part(data: Any, index: int, place: int) -> Any:
    """Give one part of an example, a picture of Pillow's, and close the file of the other."""
    pair = data[index]
    _closed(pair[1 - place])
    return pair[place]
