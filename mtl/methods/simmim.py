"""SimMIM: hidden patches of pictures are told from the rest. Xie et al. 2022. Topic: self-taught.

A masked autoencoder; with noise and nothing hidden, a denoising one (Vincent et al. 2008).
"""

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from mtl.batch import Batch
from mtl.domains import tupled
from mtl.encoder import Encoder
from mtl.method import Method, View
from mtl.model import Model


def hide(count: int, size: int, patch: int, share: float) -> Tensor:
    """Draw which pixels of `count` pictures are hidden, a `share` of their patches: (count, size, size).

    From torch's global generator. Every picture has the same number of hidden patches.

    >>> hide(2, size=4, patch=2, share=0.5).sum((1, 2)).tolist()
    [8, 8]
    """
    side = size // patch
    order = torch.rand(count, side * side).argsort(1).argsort(1)
    chosen = (order < round(share * side * side)).view(count, side, side)
    return chosen.repeat_interleave(patch, 1).repeat_interleave(patch, 2)


def cells(x: Tensor, side: int) -> Tensor:
    """Cut pictures (B, C, S, S) into side x side cells, row by row: (B, side^2, C (S / side)^2).

    >>> cells(torch.arange(16).view(1, 1, 4, 4), side=2)[0, 1].tolist()
    [2, 3, 6, 7]
    """
    b, c, size, _ = x.shape
    cell = size // side
    cut = x.view(b, c, side, cell, side, cell).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(b, side * side, c * cell * cell)


def masked_l1(said: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Give the mean absolute error of each example over what is `counted` (0 or 1), all (B, ...): (B,).

    >>> masked_l1(torch.tensor([[1.0, 5.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[1, 0]])).item()
    1.0
    """
    counted = counted.to(said.dtype)
    errors = ((said - wanted).abs() * counted).flatten(1).sum(1)
    return errors / counted.flatten(1).sum(1).clamp(min=1)


class SimMIM(Method):
    """Hides patches in the pictures of `streams` and adds the error of what the trunk says is there.

    A `share` of the patches of `patch` x `patch` pixels becomes grey, and `noise` (a standard deviation;
    black is -1 and white 1) is added to all pixels. A layer of the method's own tells each cell of the
    clean picture from the place of the trunk that stands for it; counted are hidden pixels or, where
    nothing is hidden, all. It needs no labels. Tasks of these streams learn from spoilt pictures as well.
    Raises ValueError for stems that do not take pictures of one size, for a patch or a trunk whose places
    do not divide it, and where nothing is spoilt.

    Differs: hidden patches become grey where the paper learns what to put there; they are not left out,
    as in He et al. 2022, so that any trunk will do.
    """

    def __init__(
        self,
        streams: str | Sequence[str] = "images",
        patch: int = 4,
        share: float = 0.6,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        if patch < 1 or not 0 <= share < 1 or noise < 0 or not (share or noise):
            raise ValueError(
                f"patch is {patch}, share {share}, noise {noise}; a share is from 0 to below 1, and "
                "something must be hidden or noisy"
            )
        self.streams = tupled(streams)
        self.patch, self.share, self.noise = patch, share, noise
        self.tell = nn.ModuleDict()
        self._clean: dict[str, tuple[Tensor, Tensor]] = {}

    def build(self, model: Model) -> None:
        """Make a layer for each stream."""
        for stream in self.streams:
            stem: Any = model.stem(stream)
            side = self._side(stream, stem, model.trunk)
            numbers = stem.channels * (stem.size // side) ** 2
            self.tell[stream] = nn.Linear(model.trunk.dim, numbers)

    def _side(self, stream: str, stem: Any, trunk: Encoder) -> int:
        """Give the places of the trunk along each side of a picture."""
        size = getattr(stem, "size", 0)
        if not (size and hasattr(stem, "channels")):
            raise ValueError(
                f"stream {stream!r}: only pictures of one size can be hidden in part; give it a stem "
                "such as pixels or patches"
            )
        places = int(trunk.frames(stem.frames(torch.tensor(size))))
        side = isqrt(places)
        if side**2 != places or size % side or size % self.patch:
            raise ValueError(
                f"stream {stream!r}: pictures of {size} pixels become {places} places, patches are "
                f"{self.patch} pixels; choose a size that the patch and the places' root divide"
            )
        return side

    def inputs(self, batches: dict[str, Batch]) -> dict[str, Batch]:
        """Spoil the pictures, and remember what they were."""
        spoilt = dict(batches)
        for stream in self.streams:
            if stream in batches:
                x = batches[stream].inputs
                hidden = hide(len(x), x.shape[-1], self.patch, self.share).to(x.device)[:, None]
                noise = self.noise * torch.randn(x.shape).to(x) if self.noise else 0.0
                shown = (x + noise).masked_fill(hidden, 0.0)
                spoilt[stream] = batches[stream]._replace(inputs=shown)
                counted = hidden if self.share else torch.ones_like(hidden)
                self._clean[stream] = x, counted.expand_as(x)
        return spoilt

    def terms(self, view: View) -> dict[str, Tensor]:
        """Give each stream's error, its mean over pictures, in the phase of the tasks."""
        clean, self._clean = self._clean, {}
        if view.phase != "train":
            return {}
        found = {}
        for stream, (x, counted) in clean.items():
            features = view.features[stream].x
            side = isqrt(features.shape[1])
            said = self.tell[stream](features).float()
            errors = masked_l1(said, cells(x, side).float(), cells(counted, side))
            found[stream] = view.mean(stream, errors)
        return found
