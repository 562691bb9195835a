"""Gallery: several data sets of pictures, each a task with its own classes, as one network's problem."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mtl.config import Fit
from mtl.data.digits import CLASSES, digits, glyphs
from mtl.data.images import Images
from mtl.data.pictures import Picture, coloured, few, hold_out, read_folder, read_npz
from mtl.data.pixels import read_pixels
from mtl.data.warp import Warp
from mtl.fit import Fitted, fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.stems.pixels import Pixels
from mtl.stream import Stream
from mtl.trunks.resnet import ResNet

SIDE = 32  # pixels that every picture is brought to
Drawn = Mapping[str, Sequence[Picture]]


@dataclass(frozen=True)
class Gallery:
    """Pictures of one task: to learn from, and to test on; without the latter, what is not drawn tests."""

    name: str
    train: Sequence[Picture]
    test: Sequence[Picture] = ()

    @cached_property
    def channels(self) -> int:
        """Count the channels, 3 where any picture to learn from is coloured. Raises as `coloured` does."""
        return coloured(self.train)

    def draw(self, count: int, seed: int, most: int) -> tuple[list[Picture], list[Picture]]:
        """Choose `count` pictures of each class (0 for all) to learn from, and at most `most` to test on.

        Tests are the same for all seeds where the gallery has pictures for them. Raises ValueError where
        nothing is left to test on.
        """
        chosen = few(self.train, count, seed) if count else list(self.train)
        ids = {picture.id for picture in chosen}
        rest = list(self.test) or [p for p in self.train if p.id not in ids]
        if not rest:
            raise ValueError(f"{self.name}: all pictures are learnt from, none is left to test on")
        random.Random(f"{self.name} {0 if self.test else seed}").shuffle(rest)
        return chosen, rest[:most]


def split(galleries: Sequence[Gallery], classes: int, turns: bool = False) -> list[Gallery]:
    """Cut galleries into tasks of so many classes each; what is left over is left out.

    With `turns` every picture comes in four directions, which are classes of their own. Raises ValueError
    where no gallery has so many classes.
    """
    found = []
    for gallery in galleries:
        train, test = list(gallery.train), list(gallery.test)
        if turns:
            train, test = turned(train), turned(test)
        names = sorted({picture.label for picture in train})
        random.Random(gallery.name).shuffle(names)
        for start in range(0, len(names) - classes + 1, classes):
            own = set(names[start : start + classes])
            parts = [[p for p in part if p.label in own] for part in (train, test)]
            found.append(Gallery(f"{gallery.name}-{start // classes}", *parts))
    if not found:
        raise ValueError(f"no data set has {classes} classes to make a task of")
    return found


def turned(pictures: Sequence[Picture]) -> list[Picture]:
    """Give every picture in four directions, which are classes of their own."""
    return [
        Picture(f"{p.id}@{90 * turn}", f"{p.label}@{90 * turn}", _Turn(p, turn))
        for p in pictures
        for turn in range(4)
    ]


@dataclass(frozen=True)
class _Turn:
    """Gives a picture's pixels, turned; an object, so that data workers can be sent it."""

    picture: Picture
    turn: int

    def __call__(self) -> Any:
        pixels = read_pixels(self.picture.source).permute(1, 2, 0).numpy()
        turned = torch.rot90(torch.from_numpy(pixels), self.turn).numpy()
        return turned[..., 0] if turned.shape[2] == 1 else turned


def read_galleries(
    data: Sequence[Path], test: Sequence[Path] = (), deep: Sequence[str] = ()
) -> list[Gallery]:
    """Read .npz files and folders of classes, each a task named as the file; tests go by the same names.

    Those named in `deep` have their classes two folders deep. Raises ValueError for other files, names
    that repeat, and tests or `deep` names without a task.
    """
    names = [path.stem for path in data]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two data sets are named {twice[0]!r}: rename one")
    tests = {path.stem: path for path in test}
    if strange := sorted({*tests, *deep} - set(names)):
        raise ValueError(f"{strange[0]!r} names none of the tasks: {', '.join(names) or 'no data'}")
    found = []
    for name, path in zip(names, data, strict=True):
        if path.suffix == ".npz":
            parts = {
                "learn from": read_npz(path),
                "test on": read_npz(tests.get(name, path), "test"),
            }
            if empty := [use for use, pictures in parts.items() if not pictures]:
                raise ValueError(f"{name}: its .npz file holds no picture to {empty[0]}")
            found.append(Gallery(name, *parts.values()))
            continue
        depth = 2 if name in deep else 1
        tested = read_folder(tests[name], depth) if name in tests else []
        found.append(Gallery(name, read_folder(path, depth), tested))
    return found


def embedded(small: bool = False) -> list[Gallery]:
    """Give scikit-learn's handwritten digits, and drawn digits and capitals, which need no download."""
    train, test = hold_out(digits(), 0.5)
    found = [Gallery("handwritten", train, test)]
    signs = {"drawn": CLASSES[:10], "capitals": CLASSES[10:]}
    for name, classes in signs.items():
        made = [glyphs(400 if small else 2000, classes, seed) for seed in (1, 2)]
        found.append(Gallery(name, *made))
    return [
        replace(gallery, test=gallery.test[:40] if small else gallery.test) for gallery in found
    ]


def network(galleries: Sequence[Gallery], width: int) -> Model:
    """Make a small residual network with a head for each gallery, drawn from torch's random state.

    Grey and coloured pictures share one stem, which makes all of them coloured where any is.
    """
    channels = max(gallery.channels for gallery in galleries)
    stem = Pixels(channels, SIDE, width, stride=2)
    tasks = [
        Task(g.name, g.name, Classify(sorted({p.label for p in g.train})), label="label")
        for g in galleries
    ]
    trunk = ResNet(width, [width, 2 * width, 4 * width])
    return Model({"images": stem}, trunk, tasks, {g.name: "images" for g in galleries})


def learn(model: Model, drawn: Drawn, config: Fit, batch: int, warp: Warp | None = None) -> Fitted:
    """Train on `batch` pictures of every task per step."""
    streams = {
        name: Stream(Images(items, model, name, augment=warp), batch)
        for name, items in drawn.items()
    }
    return fit(model, streams, config, show=False)
