"""conv4: the four convolutions of few-shot learning, each halved by its pool. Vinyals et al. 2016."""

from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder

POOLS = 4
GROUPS = 8  # of channels, at most


class Conv4(Encoder):
    """Blocks b1 to b3: maps (B, channels, side, side), as `Pixels` gives them, -> one place (B, 1, dim).

    The stem is the first convolution. A block normalises, bends and pools what comes and convolves it 3x3;
    the last map is normalised, bent, pooled, and all of it laid in a row: of 28x28 pixels 1x1 is left, of
    32x32 2x2. Raises ValueError for a side of which nothing is left.

    Differs: normalised in groups of channels, not over the batch: an image alone gives the same.

    >>> trunk = Conv4(channels=8, side=28)
    >>> trunk(Batch(torch.zeros(2, 8, 28, 28), torch.tensor([28, 28]))).x.shape
    torch.Size([2, 1, 8])
    """

    last = ("norm",)
    maps = "first"

    def __init__(self, channels: int = 64, side: int = 28) -> None:
        left = side // 2**POOLS
        if not left:
            raise ValueError(
                f"side is {side}: nothing is left of it after {POOLS} pools; give 16 at least"
            )
        super().__init__(channels * left**2)
        self.channels, self.side, self.takes = channels, side, channels
        for index in range(1, POOLS):
            self.blocks[f"b{index}"] = Pooled(channels)
        self.norm = _norm(channels)

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the places that leave: one."""
        return torch.ones_like(lengths)

    def enter(self, batch: Batch) -> Flow:
        """Take maps. Raises ValueError for anything else."""
        wanted = (self.channels, self.side, self.side)
        if tuple(batch.inputs.shape[1:]) != wanted:
            raise ValueError(
                f"inputs of shape {tuple(batch.inputs.shape)}; this trunk takes maps (B, {self.channels}, "
                f"{self.side}, {self.side}), such as the stem `pixels` gives"
            )
        return Flow(batch.inputs, batch.lengths, batch.groups)

    def leave(self, flow: Flow) -> Features:
        """Normalise, bend, pool, and lay all in a row."""
        x = F.max_pool2d(self.norm(flow.x).relu(), 2)
        return Features(x.flatten(1)[:, None], torch.ones_like(flow.lengths))

    def tap(self, flow: Flow) -> Features:
        """Lay the places of the maps out row by row: (B, H W, C)."""
        x = flow.x.flatten(2).mT
        return Features(x, torch.full_like(flow.lengths, x.shape[1]))


class Pooled(nn.Module):
    """Normalise, bend, halve, convolve."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.norm = _norm(dim)
        self.convolution = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, flow: Flow) -> Flow:
        """Give (B, dim, H / 2, W / 2), rounded down."""
        x = self.convolution(F.max_pool2d(self.norm(flow.x).relu(), 2))
        return flow._replace(x=x, lengths=flow.lengths // 2)


def _norm(dim: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(GROUPS, dim), dim)
