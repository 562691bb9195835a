"""lateral: what a column of a progressive network takes from earlier ones. Rusu et al. 2016, equation 2.

With activations h_j of earlier columns j it adds U relu(V [a_j h_j]) to a block's output, the scales a_j
learnt.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Features, Flow
from mtl.ops import masked_mean, valid

SCALE = 0.01  # at the start, give or take a tenth of it


class Lateral(nn.Module):
    """Adapter from activations of `widths` channels to `dim`: `scales` a (J,), `down` V, `up` U.

    `kinds` and `kind` say what sources and target are: "" for sequences (B, T, D), "first" or "last" for
    maps, by the place of the channels. V mixes channels alone; U is linear, and for maps a convolution of
    3 x 3 with the stride that leads from the sources' resolution to the target's. The bottleneck b, at least
    8, keeps the number of weights, b (sum of widths + k k dim), at half of what a layer from `dim` to `dim`
    has, however many sources there are.

    Where resolutions are unequal otherwise, what V gives is interpolated, each utterance over its own length;
    where more frames become fewer, they are averaged. Between maps and sequences passes the mean.
    """

    def __init__(
        self, widths: Sequence[int], kinds: Sequence[str], dim: int, kind: str = ""
    ) -> None:
        super().__init__()
        self.widths, self.kinds, self.kind = list(widths), list(kinds), kind
        window = (3, 3) if kind else ()
        size, wide = 9 if kind else 1, sum(widths)
        narrow = max(8, round(size * dim**2 / (2 * (wide + size * dim))))
        self.scales = nn.Parameter(SCALE * (1 + 0.1 * torch.randn(len(self.widths))))
        self.down = nn.Parameter(torch.empty(narrow, wide).uniform_(-(wide**-0.5), wide**-0.5))
        bound = (narrow * size) ** -0.5
        self.up = nn.Parameter(torch.empty(dim, narrow, *window).uniform_(-bound, bound))

    def forward(self, sources: Sequence[Flow | Features], out: Flow | Features) -> Tensor:
        """Give what is to be added to `out.x`."""
        pairs = zip(self.scales.unbind(), self.widths, strict=True)
        mix = self.down * torch.cat([scale.expand(width) for scale, width in pairs])
        if len(set(self.kinds)) == 1 and _alike(sources, self.kinds[0]):
            joined = torch.cat([source.x for source in sources], _channels(self.kinds[0]))
            parts, sources = [_mix(joined, mix, self.kinds[0])], sources[:1]  # one multiplication
        else:
            each = zip(sources, torch.split(mix, self.widths, 1), self.kinds, strict=True)
            parts = [_mix(source.x, weight, kind) for source, weight, kind in each]
        if self.kind:
            return self._to_maps(parts, sources, out.x)
        frames = [
            _as_frames(part, source.lengths, out)
            for part, source in zip(parts, sources, strict=True)
        ]
        return F.linear(F.relu(_sum(frames)), self.up)

    def _to_maps(
        self, parts: list[Tensor], sources: Sequence[Flow | Features], out: Tensor
    ) -> Tensor:
        height, width = out.shape[1:3] if self.kind == "last" else out.shape[2:]
        sizes = {tuple(part.shape[2:]) for part in parts if part.dim() == 4}
        size: tuple[int, ...] = (height, width)
        stride = 1
        if len(sizes) == 1:
            (given,) = sizes
            step = max(round(given[0] / height), 1)
            if (-(-given[0] // step), -(-given[1] // step)) == (height, width):
                size, stride = given, step
        maps = [
            _as_map(part, source.lengths, size) for part, source in zip(parts, sources, strict=True)
        ]
        added = F.conv2d(F.relu(_sum(maps)), self.up, stride=stride, padding=1)
        return added.permute(0, 2, 3, 1) if self.kind == "last" else added


def resample(x: Tensor, lengths: Tensor, wanted: Tensor, frames: int) -> Tensor:
    """Stretch or shrink each sequence from its length to the one wanted: (B, T, D) -> (B, frames, D).

    A frame is the mean of those that it falls between, weighted by nearness; shrinking by r averages over 2 r
    frames. Padding comes out as zeros.

    >>> x, lengths = torch.tensor([[[0.0], [2.0], [9.0]]]), torch.tensor([2])
    >>> resample(x, lengths, torch.tensor([4]), 5).flatten().tolist()
    [0.0, 0.5, 1.5, 2.0, 0.0]
    """
    ratio = (lengths / wanted.clamp(min=1))[:, None, None]
    here = torch.arange(frames, device=x.device)[None, :, None]
    there = torch.arange(x.shape[1], device=x.device)[None, None]
    distance = (there - ((here + 0.5) * ratio - 0.5)).abs()
    weights = (1 - distance / ratio.clamp(min=1)).clamp(min=0)
    weights = weights * valid(lengths, x.shape[1])[:, None] * valid(wanted, frames)[..., None]
    weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-6)
    return weights.to(x.dtype) @ x


def _channels(kind: str) -> int:
    return 1 if kind == "first" else -1


def _alike(sources: Sequence[Flow | Features], kind: str) -> bool:
    """Tell whether activations have the same places, so that their channels can be joined."""
    places = [list(source.x.shape) for source in sources]
    for shape in places:
        del shape[_channels(kind)]
    first = sources[0].lengths
    return places.count(places[0]) == len(places) and all(s.lengths.equal(first) for s in sources)


def _mix(x: Tensor, weight: Tensor, kind: str) -> Tensor:
    """Mix channels: (B, T, D), or maps with channels first."""
    if kind == "first":
        return F.conv2d(x, weight[..., None, None])
    mixed = F.linear(x, weight)
    return mixed.permute(0, 3, 1, 2) if kind == "last" else mixed


def _as_frames(part: Tensor, lengths: Tensor, out: Flow | Features) -> Tensor:
    if part.dim() == 4:
        return part.mean((2, 3))[:, None]
    if part.shape[1] == out.x.shape[1] and lengths.equal(out.lengths):
        return part
    return resample(part, lengths, out.lengths, out.x.shape[1])


def _as_map(part: Tensor, lengths: Tensor, size: tuple[int, ...]) -> Tensor:
    if part.dim() == 3:
        return masked_mean(part, lengths)[..., None, None].expand(-1, -1, *size)
    if tuple(part.shape[2:]) == size:
        return part
    return F.interpolate(part, size, mode="bilinear", antialias=True)


def _sum(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
