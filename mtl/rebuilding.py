"""rebuilding: decoders, from codes back to pictures or frames, and how far off they are."""

import torch
from torch import Tensor, nn

from mtl.ops import valid


def scale_invariant(x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
    """Give ||e||^2 / k - (sum of e)^2 / k^2 of e = x - y (B, ...), of each example by itself: (B,).

    Bousmalis et al. 2016, equations 6 and 7, after Eigen et al. 2014: the scale-invariant mean squared error.
    It is the variance of the errors: what is wrong by the same everywhere, such as brightness, costs nothing.
    `mask` (B, ...) is 1 for what counts, k such places, and 0 for padding.

    >>> x = torch.tensor([[1.0, 2.0], [0.0, 4.0]])
    >>> scale_invariant(x, torch.zeros(2, 2))
    tensor([0.2500, 4.0000])
    """
    e = (x - y).float() if mask is None else (x - y).float() * mask
    e, k = e.flatten(1), e[0].numel() if mask is None else mask.flatten(1).sum(1).clamp(min=1)
    return e.square().sum(1) / k - (e.sum(1) / k).square()


class PictureDecoder(nn.Module):
    """Two convolutions that each double the size: codes (B, dim) -> pictures (B, channels, size, size).

    >>> PictureDecoder(dim=8, channels=3, size=28, width=4)(torch.zeros(2, 8)).shape
    torch.Size([2, 3, 28, 28])
    """

    def __init__(self, dim: int, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.size, side = size, -(-size // 4)
        self.layers = nn.Sequential(
            nn.Linear(dim, 2 * width * side**2),
            nn.ReLU(),
            nn.Unflatten(1, (2 * width, side, side)),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, code: Tensor) -> Tensor:
        """Draw; what is too large is cut."""
        drawn: Tensor = self.layers(code)
        return drawn[..., : self.size, : self.size]


class FrameDecoder(nn.Module):
    """Each code gives `factor` frames: codes (B, T, dim) -> frames (B, T factor, bins).

    >>> FrameDecoder(dim=8, bins=80, factor=4, width=16)(torch.zeros(2, 5, 8)).shape
    torch.Size([2, 20, 80])
    """

    def __init__(self, dim: int, bins: int, factor: int, width: int) -> None:
        super().__init__()
        self.bins = bins
        self.layers = nn.Sequential(
            nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, factor * bins)
        )

    def forward(self, code: Tensor) -> Tensor:
        """Say all frames."""
        said: Tensor = self.layers(code)
        return said.reshape(len(said), -1, self.bins)


def counted(x: Tensor, lengths: Tensor) -> Tensor:
    """Mark what is no padding, 1 or 0: inputs (B, T, bins), or pictures (B, C, H, W), which have none.

    >>> counted(torch.zeros(1, 2, 2), torch.tensor([1])).tolist()
    [[[1.0, 1.0], [0.0, 0.0]]]
    """
    if x.dim() == 4:
        return x.new_ones(()).expand_as(x)
    return valid(lengths, x.shape[1])[..., None].to(x.dtype).expand_as(x)
