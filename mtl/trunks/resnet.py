"""resnet: convolutions on maps, normalised before, with skips or plain. He et al. 2016; Wu and He 2018."""

from collections.abc import Sequence
from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder

GROUPS = 8  # at most; their size divides the channels


class ResNet(Encoder):
    """Blocks b1 ... bN: maps (B, channels, H, W), as `Pixels` gives them, -> a sequence (B, H' W', dim).

    Block i has `widths[i]` channels and divides height and width by `strides[i]` (default: 2), rounding up.
    With `residual` it is two convolutions on top of a skip connection, without it one. Inside, the lengths
    count the maps' columns; what leaves has H' W' places. A head averages the places, and what stands where
    is lost: small images are learnt fastest when few places are left.

    Differs: normalised in groups of channels, not over the batch: an image alone gives the same.

    >>> from mtl.batch import Batch
    >>> trunk = ResNet(4, widths=[8, 16])
    >>> trunk(Batch(torch.zeros(2, 4, 9, 9), torch.tensor([9, 9]))).x.shape
    torch.Size([2, 9, 16])
    """

    last = ("norm",)
    maps = "first"

    def __init__(
        self,
        channels: int,
        widths: Sequence[int] = (32, 64, 128),
        strides: Sequence[int] | None = None,
        residual: bool = True,
    ) -> None:
        if not widths:
            raise ValueError("widths is empty; give the channels of each block")
        super().__init__(widths[-1])
        self.channels, self.widths, self.residual = channels, list(widths), residual
        self.takes = channels
        before = [channels, *widths[:-1]]
        strides = [2] * len(widths) if strides is None else strides
        if len(strides) != len(widths):
            raise ValueError(f"{len(strides)} strides for {len(widths)} widths; give one for each")
        self.strides = list(strides)
        kind = Residual if residual else Plain
        for index, sizes in enumerate(zip(before, widths, strides, strict=True)):
            self.blocks[f"b{index + 1}"] = kind(*sizes)
        self.norm = _norm(self.dim) if residual else nn.Identity()

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the places that are left of square maps, given their columns."""
        for stride in self.strides:
            lengths = -(-lengths // stride)
        return lengths**2

    def enter(self, batch: Batch) -> Flow:
        """Take maps. Raises ValueError for anything else."""
        if batch.inputs.dim() != 4 or batch.inputs.shape[1] != self.channels:
            raise ValueError(
                f"inputs of shape {tuple(batch.inputs.shape)}; this trunk takes maps "
                f"(B, {self.channels}, H, W), such as the stem `pixels` gives"
            )
        # Under autocast the skip connections stay exact.
        x = batch.inputs.to(next(self.parameters()).dtype)
        return Flow(x, batch.lengths, batch.groups)

    def leave(self, flow: Flow) -> Features:
        """Normalise, and lay the places out row by row."""
        x = F.gelu(self.norm(flow.x)) if self.residual else flow.x
        return self.tap(flow._replace(x=x))

    def tap(self, flow: Flow) -> Features:
        """Lay the places of the maps out row by row: (B, H W, C)."""
        x = flow.x.flatten(2).mT
        return Features(x, torch.full_like(flow.lengths, x.shape[1]))


class Residual(nn.Module):
    """Two convolutions on top of a skip connection."""

    def __init__(self, wide: int, dim: int, stride: int) -> None:
        super().__init__()
        self.dim, self.stride = dim, stride
        self.norm1, self.norm2 = _norm(wide), _norm(dim)
        self.convolution1 = nn.Conv2d(wide, dim, 3, stride, 1, bias=False)
        self.convolution2 = nn.Conv2d(dim, dim, 3, 1, 1)
        same = wide == dim and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(wide, dim, 1, stride)

    def forward(self, flow: Flow) -> Flow:
        """Add what the convolutions find."""
        x = self.convolution1(F.gelu(self.norm1(flow.x)))
        x = self.skip(flow.x) + self.convolution2(F.gelu(self.norm2(x)))
        return flow._replace(x=x, lengths=-(-flow.lengths // self.stride))


class Plain(nn.Module):
    """One convolution, normalised behind."""

    def __init__(self, wide: int, dim: int, stride: int) -> None:
        super().__init__()
        self.dim, self.stride = dim, stride
        self.convolution = nn.Conv2d(wide, dim, 3, stride, 1, bias=False)
        self.norm = _norm(dim)

    def forward(self, flow: Flow) -> Flow:
        """Convolve, normalise and bend."""
        return self.activate(self.weigh(flow))

    def weigh(self, flow: Flow) -> Flow:
        """Convolve."""
        x = self.convolution(flow.x)
        return flow._replace(x=x, lengths=-(-flow.lengths // self.stride))

    def activate(self, flow: Flow) -> Flow:
        """Normalise and bend."""
        return flow._replace(x=F.gelu(self.norm(flow.x)))


def _norm(dim: int) -> nn.GroupNorm:
    return nn.GroupNorm(gcd(GROUPS, dim), dim)
