"""patches: an image as a sequence of its patches, for the trunks of speech. Dosovitskiy et al. 2021."""

import torch
from torch import Tensor, nn

from mtl.batch import Batch, Flow
from mtl.encoder import Encoder
from mtl.ops import square, square_map


class Patches(Encoder):
    """Patches row by row, with learnt positions: (B, channels, size, size) -> (B, T, dim).

    T = (size / patch)^2. Raises ValueError where `patch` does not divide `size`.

    Differs: a LayerNorm behind the positions, so that images reach a shared trunk at the scale of speech.

    >>> stem = Patches(channels=1, size=28, patch=7, dim=8)
    >>> stem.frames(torch.tensor([28]))
    tensor([16])
    """

    def __init__(
        self,
        channels: int,
        size: int,
        patch: int,
        dim: int,
        mean: float = 0.5,
        std: float = 0.5,
    ) -> None:
        super().__init__(dim)
        if size % patch:
            raise ValueError(f"patch {patch} does not divide size {size}; choose one that does")
        self.channels, self.size, self.patch = channels, size, patch
        self.mean, self.std = mean, std
        self.convolution = nn.Conv2d(channels, dim, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn((size // patch) ** 2, dim))
        self.norm = nn.LayerNorm(dim)

    def prepare(self, raw: Tensor) -> Tensor:
        """Turn pixels (C, H, W) or (H, W) into (channels, size, size) about 0, as `mtl.ops.square` does."""
        return (square(raw, self.channels, self.size) - self.mean) / self.std

    def prepare_map(self, raw: Tensor) -> Tensor:
        """Fit a map (H, W) to the picture: (size, size)."""
        return square_map(raw, self.size)

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the patches, the same for all images."""
        return torch.full_like(lengths, len(self.positions))

    def enter(self, batch: Batch) -> Flow:
        """Embed the patches."""
        x = self.convolution(batch.inputs).flatten(2).mT + self.positions
        return Flow(self.norm(x), self.frames(batch.lengths), batch.groups)
