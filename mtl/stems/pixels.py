"""pixels: images of one size as maps, for trunks that convolve."""

from torch import Tensor, nn

from mtl.batch import Batch, Flow
from mtl.encoder import Encoder
from mtl.ops import square, square_map


class Pixels(Encoder):
    """One convolution: images (B, channels, size, size) -> maps (B, dim, H, W), H = W = ceil(size/stride).

    What leaves it are maps, which a trunk such as `ResNet` takes; `Patches` serves trunks of sequences.
    The lengths count the maps' columns. Without `padded`, maps end where the kernel would look outside:
    H = W = ceil((size - kernel + 1) / stride).

    >>> import torch
    >>> stem = Pixels(channels=1, size=32, dim=8)
    >>> stem.prepare(torch.zeros(3, 40, 60, dtype=torch.uint8)).shape
    torch.Size([1, 32, 32])
    """

    def __init__(
        self,
        channels: int,
        size: int,
        dim: int,
        kernel: int = 3,
        stride: int = 1,
        mean: float = 0.5,
        std: float = 0.5,
        padded: bool = True,
    ) -> None:
        super().__init__(dim)
        if kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} has no centre; give an odd number")
        self.channels, self.size = channels, size
        self.kernel, self.stride = kernel, stride
        self.mean, self.std, self.padded = mean, std, padded
        self.convolution = nn.Conv2d(channels, dim, kernel, stride, kernel // 2 if padded else 0)

    def prepare(self, raw: Tensor) -> Tensor:
        """Turn pixels (C, H, W) or (H, W) into (channels, size, size) about 0, as `mtl.ops.square` does."""
        return (square(raw, self.channels, self.size) - self.mean) / self.std

    def prepare_map(self, raw: Tensor) -> Tensor:
        """Fit a map (H, W) to the picture: (size, size)."""
        return square_map(raw, self.size)

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the columns of the maps."""
        seen = lengths if self.padded else lengths - self.kernel + 1
        return -(-seen // self.stride)

    def enter(self, batch: Batch) -> Flow:
        """Convolve."""
        return Flow(self.convolution(batch.inputs), self.frames(batch.lengths), batch.groups)
