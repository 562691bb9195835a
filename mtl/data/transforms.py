"""transforms: torchvision's transforms v2 on training images, drawn from (seed, example, epoch) alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mtl.data.augment import Augment

PURPOSE = 4  # keeps these random numbers apart from those of `Augment` and `Warp`


class Changes(Protocol):
    """What chance does to a training image and to the maps that belong to it."""

    def together(
        self, pixels: Tensor, maps: Mapping[str, Tensor], name: str, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Change pixels (C, H, W) and maps (H, W) alike, drawn from the example's name and the epoch."""


@dataclass(frozen=True)
class Transforms:
    """A transform of `torchvision.transforms.v2`, for images and their maps alike.

    What comes into a map from outside is 0 unless the transform's `fill` says otherwise; set it to the
    value that is not labelled: `v2.RandomRotation(20, fill={tv_tensors.Mask: 255, "others": 0})`.
    `draws` as in `mtl.data.augment.Augment`.

    >>> from torchvision.transforms import v2
    >>> flip = Transforms(v2.RandomHorizontalFlip(p=1.0))
    >>> pixels, maps = flip.together(torch.zeros(3, 1, 2), {"part": torch.tensor([[1.0, 2.0]])}, "a", 0)
    >>> maps["part"].tolist()
    [[2.0, 1.0]]
    """

    transform: Any
    draws: int = 0
    seed: int = 0

    def together(
        self, pixels: Tensor, maps: Mapping[str, Tensor], name: str, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Transform pixels (C, H, W) and maps (H, W). Raises ValueError for what is no picture any more."""
        from torchvision import tv_tensors

        rng = Augment(draws=self.draws, seed=self.seed).rng(name, epoch, PURPOSE)
        given = tv_tensors.Image(pixels), {k: tv_tensors.Mask(m[None]) for k, m in maps.items()}
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would also seed every GPU, and leave it so.
            torch.default_generator.manual_seed(int(rng.integers(2**62)))
            image, masks = self.transform(*given)
        if not isinstance(image, Tensor) or image.dim() != 3:
            raise ValueError(f"the transform gives {type(image).__name__}, no pixels (C, H, W)")
        changed = {key: mask.as_subclass(Tensor)[0] for key, mask in masks.items()}
        return image.as_subclass(Tensor), changed
