"""lenet: the small network of domain adaptation between digits. Layers behind convolutions. Ganin 2016."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder


class LeNet(Encoder):
    """Blocks b1 ... bN: maps (B, channels, side, side), as `Pixels` gives them, -> one place (B, 1, dim).

    b1 bends and pools the stem's maps, convolves 5x5 to `convolved` channels, bends and pools. The others are
    fully connected, of the `dense` widths, and written as convolutions: b2 sees all that is left of the map.
    With `Pixels(3, 28, 32, kernel=5)` it is the MNIST network of Ganin et al. 2016 (figure 4a).

    Differs: the stem pads, so that b2 sees 5x5 places where the paper has 4x4.

    >>> from mtl.batch import Batch
    >>> trunk = LeNet(channels=4, side=28, convolved=6, dense=[8, 9])
    >>> trunk(Batch(torch.zeros(2, 4, 28, 28), torch.tensor([28, 28]))).x.shape
    torch.Size([2, 1, 9])
    """

    maps = "first"

    def __init__(
        self,
        channels: int = 32,
        side: int = 28,
        convolved: int = 48,
        dense: Sequence[int] = (100, 100),
    ) -> None:
        if side < 12 or not dense:
            raise ValueError(
                f"side is {side}, dense is {list(dense)}; give maps of 12 places a side at least, and a layer"
            )
        super().__init__(dense[-1])
        self.channels, self.side, self.convolved, self.dense = (
            channels,
            side,
            convolved,
            list(dense),
        )
        self.takes = channels
        self.blocks["b1"] = Pooling(channels, convolved)
        before, kernel = convolved, _left(side)
        for index, dim in enumerate(self.dense):
            self.blocks[f"b{index + 2}"] = Dense(before, dim, kernel)
            before, kernel = dim, 1

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
        """Give the one place."""
        return self.tap(flow)

    def tap(self, flow: Flow) -> Features:
        """Lay the places of the maps out row by row: (B, H W, C)."""
        x = flow.x.flatten(2).mT
        return Features(x, torch.full_like(flow.lengths, x.shape[1]))


class Pooling(nn.Module):
    """Bend, halve the map, convolve, bend, halve again."""

    def __init__(self, wide: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.convolution = nn.Conv2d(wide, dim, 5)

    def forward(self, flow: Flow) -> Flow:
        """Give (B, dim, H', W')."""
        x = F.max_pool2d(self.convolution(F.max_pool2d(flow.x.relu(), 2)).relu(), 2)
        return flow._replace(x=x, lengths=torch.full_like(flow.lengths, x.shape[3]))


class Dense(nn.Module):
    """A fully connected layer, bent, over a map of `kernel` places a side."""

    def __init__(self, wide: int, dim: int, kernel: int) -> None:
        super().__init__()
        self.dim = dim
        self.convolution = nn.Conv2d(wide, dim, kernel)

    def forward(self, flow: Flow) -> Flow:
        """Give (B, dim, 1, 1)."""
        return flow._replace(
            x=self.convolution(flow.x).relu(), lengths=torch.ones_like(flow.lengths)
        )


def _left(side: int) -> int:
    """Count the places a side behind b1."""
    return (side // 2 - 4) // 2
