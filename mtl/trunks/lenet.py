"""lenet: the small network of domain adaptation between digits. Layers behind convolutions. Ganin 2016."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder


class LeNet(Encoder):
    """Blocks b1 ... bN: maps (B, channels, side, side), as `Pixels` gives them, -> one place (B, 1, dim).

    b1 pools and bends the stem's maps, convolves 5x5 to `convolved` channels, pools, bends, and lays all
    places of all channels in a row. The others are fully connected, of the `dense` widths. With
    `Pixels(3, 28, 32, kernel=5, padded=False)` it is the MNIST network of Ganin et al. 2016 (figure 4a).

    >>> from mtl.batch import Batch
    >>> trunk = LeNet(channels=4, side=24, convolved=6, dense=[8, 9])
    >>> trunk(Batch(torch.zeros(2, 4, 24, 24), torch.tensor([24, 24]))).x.shape
    torch.Size([2, 1, 9])
    """

    maps = "first"

    def __init__(
        self,
        channels: int = 32,
        side: int = 24,
        convolved: int = 48,
        dense: Sequence[int] = (100, 100),
    ) -> None:
        if side < 12 or not dense:
            raise ValueError(
                f"side is {side}, dense is {list(dense)}; give maps of 12 places a side at least, and a layer"
            )
        super().__init__(dense[-1])
        self.channels, self.side, self.convolved = channels, side, convolved
        self.dense, self.takes = list(dense), channels
        self.blocks["b1"] = Pooling(channels, convolved, side)
        before = convolved * _left(side) ** 2
        for index, dim in enumerate(self.dense):
            self.blocks[f"b{index + 2}"] = Dense(before, dim)
            before = dim

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
        # Channels last: pools and wide kernels take half the time on processors.
        x = batch.inputs.contiguous(memory_format=torch.channels_last)
        return Flow(x, batch.lengths, batch.groups)

    def leave(self, flow: Flow) -> Features:
        """Give the one place."""
        return self.tap(flow)

    def tap(self, flow: Flow) -> Features:
        """Give the one place: (B, 1, C)."""
        return Features(flow.x.flatten(1)[:, None], torch.ones_like(flow.lengths))


class Pooling(nn.Module):
    """Halve the map, bend, convolve, halve, bend, and lay what is left in a row.

    A pool gives the same ahead of a bend as behind it, at a quarter of the bend's cost.
    """

    def __init__(self, wide: int, convolved: int, side: int) -> None:
        super().__init__()
        self.dim = convolved * _left(side) ** 2
        self.convolution = nn.Conv2d(wide, convolved, 5)

    def forward(self, flow: Flow) -> Flow:
        """Give (B, dim, 1, 1)."""
        x = self.convolution(F.max_pool2d(flow.x, 2).relu())
        x = F.max_pool2d(x, 2).relu().flatten(1)[:, :, None, None]
        return flow._replace(x=x, lengths=torch.ones_like(flow.lengths))


class Dense(nn.Module):
    """A fully connected layer, bent."""

    def __init__(self, wide: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.linear = nn.Linear(wide, dim)

    def forward(self, flow: Flow) -> Flow:
        """Give (B, dim, 1, 1)."""
        x = self.linear(flow.x.flatten(1)).relu()[:, :, None, None]
        return flow._replace(x=x)


def _left(side: int) -> int:
    """Count the places a side behind b1."""
    return (side // 2 - 4) // 2
