"""translators: networks that take pictures apart and paint them anew, and those that judge them.

All work on each picture by itself: a norm over a batch would mix pictures of both domains. They `fold`
pictures: squares of so many pixels a side become channels, on which convolutions cost less; 1 does not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.layers import Dropout

EPS = 1e-5


def adain(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Give each channel of a picture's maps (B, C, H, W) this deviation and mean, both (B, C).

    Huang and Belongie 2017, equation 8; Huang et al. 2018, section 5.1.

    >>> x = torch.tensor([[[[1.0, 3.0]]]])
    >>> adain(x, scale=torch.tensor([[2.0]]), shift=torch.tensor([[5.0]])).round(decimals=3)
    tensor([[[[3., 7.]]]])
    """
    flat = F.group_norm(x, x.shape[1], eps=EPS)
    return flat * scale[..., None, None] + shift[..., None, None]


def gauss(like: Tensor) -> Tensor:
    """Draw from N(0, 1) in a tensor's shape and type; in 32 bit, where processors draw four times as fast."""
    return torch.randn(like.shape, device=like.device).to(like.dtype)


class Residual(nn.Module):
    """Two convolutions on top of a skip connection: (B, dim, H, W) -> the same.

    Each channel of a picture is normalised by itself; `styled` ones are scaled as a style says.
    """

    def __init__(self, dim: int, styled: bool = False) -> None:
        super().__init__()
        # Norms take biases away: their gradient would be noise, which Adam follows as far as any other.
        self.first, self.second = (_window(dim, dim) for _ in range(2))
        self.norms = nn.ModuleList(_instance(dim) for _ in range(0 if styled else 2))

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Add what the convolutions find; `style` (B, 4 dim) is what to add to scales and shifts."""
        if style is None:
            inner = self.norms[0](self.first(x)).relu()
            added: Tensor = x + self.norms[1](self.second(inner))
            return added
        scale1, shift1, scale2, shift2 = style.chunk(4, 1)
        inner = adain(self.first(x), 1 + scale1, shift1).relu()
        return x + adain(self.second(inner), 1 + scale2, shift2)


class ContentEncoder(nn.Sequential):
    """Say what stands where: pictures (B, channels, S, S) -> maps (B, dim, S / 4, S / 4)."""

    def __init__(self, channels: int, width: int, depth: int, fold: int) -> None:
        layers = [nn.PixelUnshuffle(fold), _window(channels * fold**2, width)]
        layers += [_instance(width), nn.ReLU()]
        for _ in range(_halvings(fold)):
            halving = nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)
            layers += [halving, _instance(2 * width), nn.ReLU()]
            width *= 2
        super().__init__(*layers, *(Residual(width) for _ in range(depth)))
        self.dim = width


class StyleEncoder(nn.Sequential):
    """Say what is alike all over a picture, which norms would take away: (B, channels, S, S) -> (B, dim)."""

    def __init__(self, channels: int, width: int, fold: int, dim: int) -> None:
        layers = [nn.PixelUnshuffle(fold), nn.Conv2d(channels * fold**2, width, 3, padding=1)]
        layers += [nn.ReLU()]
        for _ in range(_halvings(fold)):
            layers += [nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU()]
            width *= 2
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, dim))


class Decoder(nn.Module):
    """Paint maps (B, dim, S / 4, S / 4) of a `ContentEncoder`: pictures (B, channels, S, S), from -1 to 1.

    With `style` numbers, a small network makes of them (B, style) how the residual blocks are scaled.
    """

    def __init__(self, channels: int, width: int, depth: int, fold: int, style: int = 0) -> None:
        super().__init__()
        wide = width * 2 ** _halvings(fold)
        self.blocks = nn.ModuleList(Residual(wide, bool(style)) for _ in range(depth))
        self.styling = _perceptron(style, 4 * wide * depth) if style else None
        layers: list[nn.Module] = []
        for _ in range(_halvings(fold)):
            # In one group: a norm of each channel by itself would take the style away again.
            norm = nn.GroupNorm(1, wide // 2)
            layers += [nn.Conv2d(wide, 2 * wide, 3, padding=1), nn.PixelShuffle(2), norm, nn.ReLU()]
            wide //= 2
        layers += [nn.Conv2d(wide, channels * fold**2, 3, padding=1), nn.PixelShuffle(fold)]
        self.up = nn.Sequential(*layers, nn.Tanh())

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Paint."""
        parts: list[Tensor | None] = [None] * len(self.blocks)
        if self.styling is not None and style is not None:
            parts = list(self.styling(style).chunk(len(self.blocks), 1))
        for block, part in zip(self.blocks, parts, strict=True):
            x = block(x, part)
        painted: Tensor = self.up(x)
        return painted


class Generator(nn.Module):
    """Paint pictures anew: (B, channels, S, S) and noise (B, N) -> (B, channels, S, S), from -1 to 1.

    The noise becomes one more channel (Bousmalis et al. 2017, section 3).
    """

    def __init__(
        self, channels: int, size: int, width: int, depth: int, fold: int, noise: int
    ) -> None:
        super().__init__()
        self.size = size
        self.spread = nn.Linear(noise, size**2) if noise else None
        before = (channels + bool(noise)) * fold**2
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(fold),
            nn.Conv2d(before, width, 3, padding=1),
            nn.ReLU(),
            *(Residual(width) for _ in range(depth)),
            nn.Conv2d(width, channels * fold**2, 3, padding=1),
            nn.PixelShuffle(fold),
            nn.Tanh(),
        )

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Paint."""
        if self.spread is not None:
            chance = self.spread(noise).view(-1, 1, self.size, self.size)
            x = torch.cat([x, chance.to(x.dtype)], 1)
        painted: Tensor = self.layers(x)
        return painted


class Discriminator(nn.Module):
    """Say how real each patch looks: (B, channels, S, S) -> (B, patches); with `size` S of the whole: (B, 1).

    `noise` is the deviation of Gaussian noise on every hidden layer, `dropout` the share of it that is
    dropped, while training: both keep who judges few pictures from knowing them by heart.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        depth: int = 2,
        size: int = 0,
        noise: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.noise, self.size = noise, size
        self.convolutions = nn.ModuleList()
        for _ in range(depth):
            self.convolutions.append(nn.Conv2d(channels, width, 4, 2, 1))
            channels, width = width, 2 * width
        self.dropout = Dropout(dropout)
        flat = channels * (size // 2**depth) ** 2
        self.last = nn.Linear(flat, 1) if size else nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Judge."""
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.2)
            if self.noise and self.training:
                x = x + self.noise * gauss(x)
            x = self.dropout(x)
        judged: Tensor = self.last(x.flatten(1) if self.size else x)
        return judged.flatten(1)


def _window(channels: int, dim: int) -> nn.Module:
    """Make a convolution that a norm follows."""
    return nn.Conv2d(channels, dim, 3, padding=1, bias=False)


def _perceptron(dim: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, 8 * dim), nn.ReLU(), nn.Linear(8 * dim, out))


def _instance(dim: int) -> nn.Module:
    """Make a norm of each channel of a picture by itself."""
    return nn.GroupNorm(dim, dim, EPS)


def _halvings(fold: int) -> int:
    """Count how often a folded picture is halved to be a quarter of the size: fold is 1, 2 or 4."""
    return 3 - fold.bit_length()
