"""warp: moves, turns, scales and mirrors training images. Drawn from (seed, example, epoch) alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.data.augment import Augment

PURPOSE = 3  # keeps these random numbers apart from those of `Augment`


@dataclass(frozen=True)
class Warp:
    """What may happen to a training image; the default does nothing.

    It is moved by up to `shift` of its size, turned by up to `degrees`, scaled by 1 - `scale` to
    1 + `scale`, and mirrored in half of the draws where `mirror` is set; what comes in from outside
    repeats the edge. Drawn from (seed, id, epoch) alone, `draws` as in `mtl.data.augment.Augment`. Raises
    ValueError for a scale that is no fraction.
    """

    shift: float = 0.0
    degrees: float = 0.0
    scale: float = 0.0
    mirror: bool = False
    draws: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale is {self.scale}; give a fraction from 0 to 1, such as 0.1")

    def __call__(self, pixels: Tensor, name: str, epoch: int) -> Tensor:
        """Warp pixels (C, H, W) uint8."""
        return self.together(pixels, {}, name, epoch)[0]

    def together(
        self, pixels: Tensor, maps: Mapping[str, Tensor], name: str, epoch: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Warp pixels (C, H, W) uint8, and maps (H, W) alike, whose numbers are picked, never mixed."""
        grid = self._grid(name, epoch, *pixels.shape[1:])
        warped = F.grid_sample(
            pixels[None].float(), grid, padding_mode="border", align_corners=False
        )
        near = partial(F.grid_sample, mode="nearest", padding_mode="border", align_corners=False)
        moved = {key: near(m[None, None].float(), grid)[0, 0] for key, m in maps.items()}
        return warped[0].round().to(torch.uint8), moved

    def _grid(self, name: str, epoch: int, height: int, width: int) -> Tensor:
        """Draw from where in the old image each place of the new one is taken: (1, H, W, 2)."""
        rng = Augment(draws=self.draws, seed=self.seed).rng(name, epoch, PURPOSE)
        right, down, turn, larger = rng.uniform(-1, 1, 4) * (
            2 * self.shift,
            2 * self.shift,
            np.radians(self.degrees),
            self.scale,
        )
        flip = -1.0 if self.mirror and rng.random() < 0.5 else 1.0
        cos, sin = np.cos(turn) / (1 + larger), np.sin(turn) / (1 + larger)
        # Places of both images are within -1 to 1.
        old = [[flip * cos, -sin * height / width, right], [flip * sin * width / height, cos, down]]
        size = [1, 1, height, width]
        return F.affine_grid(torch.tensor([old]).float(), size, align_corners=False)
