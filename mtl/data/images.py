"""images: labelled pictures as the training examples of a stream."""

import copy
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from mtl.batch import Example
from mtl.data.pictures import (
    Picture,
    coloured,
    few,
    from_arrays,
    hold_out,
    labelled,
    only,
    read_folder,
    read_npz,
)
from mtl.data.pixels import Fitted, is_map, read_map, read_pixels
from mtl.data.transforms import Changes, Transforms
from mtl.encoder import Encoder
from mtl.head import Head
from mtl.model import Model
from mtl.registry import describe

__all__ = [
    "Images",
    "Picture",
    "coloured",
    "few",
    "from_arrays",
    "hold_out",
    "labelled",
    "only",
    "read_folder",
    "read_npz",
    "read_pixels",
]


class Images:
    """Pictures for one stream of a model, whose stem decides size, channels and normalisation.

    Each task of the stream learns from the label that it names, where a picture has it: the class is
    "label" (`Task(..., label="label")`), the others are those of `Picture.labels`. Maps are fitted to the
    size of the pictures, also as raw labels, so that predictions are compared at that size. `augment` is a
    `Warp`, `Transforms`, or a transform of torchvision's v2. `empty` names the labels of tasks that no
    picture has, although there are others. Each picture costs 1, so that `Stream.batch` counts images, and
    the columns are "label", "id", "lang" ("und") and "speaker" ("unknown").

    >>> from mtl.stems.pixels import Pixels
    >>> from mtl.trunks.resnet import ResNet
    >>> model = Model({"images": Pixels(channels=3, size=16, dim=4)}, ResNet(4, [8]))
    >>> pictures = from_arrays(np.zeros((2, 8, 8), np.uint8), [1, 0], "made")
    >>> Images(pictures, model).example(0).input.shape
    torch.Size([3, 16, 16])
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        model: Model,
        stream: str = "images",
        *,
        augment: Changes | nn.Module | None = None,
    ) -> None:
        self.pictures = list(pictures)
        self.seconds: NDArray[np.float64] = np.ones(len(self.pictures))
        self.ids = [picture.id for picture in self.pictures]
        # A copy stays on the processor, where data workers compute, wherever the model goes.
        self._stem: Encoder = copy.deepcopy(model.stem(stream)).cpu().requires_grad_(False)
        self._heads: dict[str, list[Head]] = defaultdict(list)
        for task in model.tasks_of(stream):
            self._heads[task.label or task.name].append(model.head(task.name))
        self._augment = Transforms(augment) if isinstance(augment, nn.Module) else augment
        self.settings = f"{describe(self._stem)} {self._augment}"
        held = {name for picture in self.pictures for name in picture.known()}
        self.empty = [name for name in self._heads if held and name not in held]

    def __len__(self) -> int:
        return len(self.pictures)

    def column(self, name: str) -> list[str]:
        """Give a property of every picture; raises ValueError for one that pictures lack."""
        fixed = {"lang": "und", "speaker": "unknown"}
        if name in fixed:
            return [fixed[name]] * len(self)
        if name not in ("label", "id"):
            raise ValueError(
                f"pictures have no column {name!r}; they have: label, id, lang, speaker"
            )
        return [getattr(picture, name) for picture in self.pictures]

    def labels(self, index: int) -> dict[str, Any]:
        """Give a picture's raw labels; a map is read when it is looked at."""
        picture = self.pictures[index]
        fit = partial(self._fitted, picture)
        return {
            name: Fitted(value, fit, f"{picture.id}: {name}") if is_map(value) else value
            for name, value in picture.known().items()
        }

    def _fitted(self, picture: Picture, map_: Tensor) -> Tensor:
        """Fit a raw map; raises ValueError for another size than the picture's, as training does."""
        try:
            pixels = read_pixels(picture.source)
        except ValueError:  # named where it is predicted; its map is still what should be said
            return self._stem.prepare_map(map_)
        if problem := _other_size(pixels, map_):
            raise ValueError(problem)
        return self._stem.prepare_map(map_)

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Load a picture (C, H, W) and its labels; ValueError names the one that cannot be used."""
        picture = self.pictures[index]
        wanted = self._heads if targets else {}
        labels = {name: value for name, value in picture.known().items() if name in wanted}
        try:
            pixels = read_pixels(picture.source)
            maps = {name: read_map(value) for name, value in labels.items() if is_map(value)}
            for name, map_ in maps.items():
                if problem := _other_size(pixels, map_):
                    raise ValueError(f"{name}: {problem}")
            if self._augment is not None and draw is not None:
                pixels, maps = self._augment.together(pixels, maps, picture.id, draw)
            labels |= {name: self._stem.prepare_map(map_) for name, map_ in maps.items()}
            encoded = {name: self._encoded(name, value) for name, value in labels.items()}
            return Example(self._stem.prepare(pixels), encoded, id=picture.id)
        except ValueError as error:
            raise ValueError(f"{picture.id}: {error}") from error

    def _encoded(self, name: str, value: Any) -> Tensor:
        """Encode a label as all its heads agree on it."""
        try:
            first, *others = (head.encode(value) for head in self._heads[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}" if name != "label" else str(error)) from error
        if any(not other.equal(first) for other in others):
            raise ValueError(f"two heads encode its {name} differently; split the stream")
        return first


def _other_size(pixels: Tensor, map_: Tensor) -> str:
    """Say that a map (H, W) is not of the size of its picture (C, H, W); "" where it is."""
    if map_.shape == pixels.shape[1:]:
        return ""
    sizes = f"{tuple(map_.shape)}, its picture {tuple(pixels.shape[1:])}"
    return f"the map is {sizes}; give a number per pixel"
