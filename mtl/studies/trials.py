"""Trials: one example of each of N classes, and others to tell among these; networks that learn to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.batch import Example, Features
from mtl.config import Fit
from mtl.data.fonts import letters
from mtl.data.images import Images, Picture
from mtl.data.omniglot import Trial
from mtl.data.pixels import read_pixels
from mtl.data.warp import Warp
from mtl.episodes import Episodes, Sampler
from mtl.exemplar import Exemplar
from mtl.fit import Fitted, fit
from mtl.gallery import turned
from mtl.head import Task
from mtl.model import Model
from mtl.predict import extract
from mtl.registry import find
from mtl.stems.pixels import Pixels
from mtl.stream import Data, Stream, Subset
from mtl.trunks.conv4 import Conv4

TASK, STREAM = "character", "images"
ARMS = ("prototype", "matching", "siamese")
PIXELS = "pixels"  # the baseline: the nearest example, pixel by pixel
WAYS = 20  # of a trial
AT_ONCE = 500.0  # pictures of a test batch
LEAST = 6  # fonts that have a letter


@dataclass
class Net:
    """The network, its episodes, and how it looks at what it is tested on."""

    size: int = 32
    """pixels a side"""
    channels: int = 64
    """channels of each of the four convolutions"""
    ways: int = 30
    """classes of an episode, with one example each"""
    queries: int = 4
    """pictures of each class to tell"""
    turns: bool = True
    """pictures turned by 90, 180 and 270 degrees are classes of their own"""
    views: int = 10
    """warped views of each test picture beside it, whose features are averaged, for the second figure"""

    def __post_init__(self) -> None:
        for name, least in {"size": 16, "channels": 1, "ways": 2, "queries": 1, "views": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"net.{name} is {getattr(self, name)}; give {least} or more")


def lettered(count: int, size: int, small: bool = False) -> tuple[list[Picture], list[Trial]]:
    """Draw letters of matplotlib's fonts: half of them to learn from, and `count` trials of the others."""
    known: dict[str, list[Picture]] = {}
    for picture in letters(size=size):
        known.setdefault(picture.label, []).append(picture)
    common = sorted(letter for letter, each in known.items() if len(each) >= LEAST)
    order = np.random.default_rng(0).permutation(common).tolist()[: 120 if small else None]
    parts = [[p for letter in half for p in known[letter]] for half in (order[::2], order[1::2])]
    return parts[0], draw(parts[1], count)


def draw(pictures: Sequence[Picture], count: int, ways: int = WAYS, seed: int = 0) -> list[Trial]:
    """Draw trials of `ways` classes, with one example and one picture to tell of each."""
    sampler = Sampler([picture.label for picture in pictures], ways, 1, 1)
    trials = []
    for number in range(count):
        rows = sampler(seed, number)
        sides = [[pictures[index] for index in column] for column in rows.T.tolist()]
        trials.append(Trial(f"trial {number}", *sides))
    return trials


def learn(
    arm: str, pictures: Sequence[Picture], net: Net, config: Fit, warp: Warp
) -> tuple[Model, Fitted]:
    """Train a network in episodes, drawn from `config.seed`. Raises ValueError for an unknown arm."""
    if arm not in ARMS:
        raise ValueError(f"{arm!r} learns from no examples; choose from {', '.join(ARMS)}")
    torch.manual_seed(config.seed)
    head = find("heads", arm)()
    stem, trunk = Pixels(1, net.size, net.channels), Conv4(net.channels, net.size)
    model = Model({STREAM: stem}, trunk, [Task(TASK, STREAM, head, label="label")])
    data = Images(turned(pictures) if net.turns else pictures, model, augment=warp)
    sizes = {"ways": net.ways, "shots": 1, "queries": net.queries}
    episodes = Episodes(data, "label", **sizes, seed=config.seed)
    fitted = fit(model, {STREAM: Stream(episodes, episodes.unit)}, config, show=False)
    return model, fitted


class View(Subset):
    """A data set as its augmentation draws it: the view `draw` of each example."""

    def __init__(self, data: Data, draw: int) -> None:
        super().__init__(data, range(len(data)))
        self.draw = draw

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Load an example as it is drawn."""
        return self.data.example(index, self.draw, targets)


def embed(
    model: Model, pictures: Sequence[Picture], warp: Warp, views: int = 0
) -> NDArray[np.float32]:
    """Give the features (N, D) of pictures or, with `views`, the mean of these and of warped ones."""
    data = Images(pictures, model, augment=warp)
    looks: list[Data] = [data, *(View(data, draw) for draw in range(views))]
    rows = [extract(model, look, STREAM, batch=AT_ONCE) for look in looks]
    mean: NDArray[np.float32] = np.mean(rows, axis=0)
    return mean


def measure(model: Model | None, trials: Sequence[Trial], warp: Warp, views: int) -> dict[str, Any]:
    """Tell the pictures of all trials, each among its own examples; without a model by their pixels.

    Gives the error as `mtl.tally` takes it, with a row (errors, pictures, trial) for each trial, the same of
    averaged views as `views`, and [share, right] of each picture's answer as `sure`.
    """
    found = _told(model, trials, warp, 0)
    return found | ({"views": _told(model, trials, warp, views)} if model else {})


def _told(model: Model | None, trials: Sequence[Trial], warp: Warp, views: int) -> dict[str, Any]:
    shown = [picture for trial in trials for picture in (*trial.support, *trial.tests)]
    x = _plain(shown) if model is None else embed(model, shown, warp, views)
    sizes = [len(trial.support) + len(trial.tests) for trial in trials]
    counts: list[Any] = []
    sure: list[Any] = []
    for trial, rows in zip(trials, np.split(x, np.cumsum(sizes)[:-1]), strict=True):
        ways = len(trial.support)
        shares = _fit(model, torch.from_numpy(rows[ways:]), torch.from_numpy(rows[:ways])).softmax(
            1
        )
        best = shares.max(1)
        names = [picture.label for picture in trial.support]
        right = [
            names[place] == p.label
            for place, p in zip(best.indices.tolist(), trial.tests, strict=True)
        ]
        counts.append([float(len(right) - sum(right)), float(len(right)), trial.name])
        sure += [
            [round(share, 4), float(r)]
            for share, r in zip(best.values.tolist(), right, strict=True)
        ]
    total = sum(row[1] for row in counts)
    error = sum(row[0] for row in counts) / total
    return {"metric": "error", "value": error, "n": int(total), "counts": counts, "sure": sure}


def _plain(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    rows = [read_pixels(picture.source).flatten() for picture in pictures]
    return torch.stack(rows).float().div(255).numpy()


def _fit(model: Model | None, queries: Tensor, support: Tensor) -> Tensor:
    """Say how well each example fits each query (Q, S), from their features."""
    owners = torch.arange(len(support))
    if model is None:
        return -torch.cdist(queries, support).square()
    head = model.head(TASK)
    assert isinstance(head, Exemplar)
    place = head.support.device
    with torch.inference_mode():
        q, s = (
            head.scores(
                Features(x.to(place)[:, None], torch.ones(len(x), dtype=torch.long, device=place))
            ).x
            for x in (queries, support)
        )
        return head.compare(q, s, owners.to(place), len(support)).cpu()
