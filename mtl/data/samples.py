"""samples: an array of sound, read in parts as a file is."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.data.audio import resample

CHANNELS = 8  # at most: more may be precomputed frames


class Samples:
    """Sound (N,), or (N, channels) or (channels, N), which are mixed down, at `hz`; `seconds` long.

    Bytes have their silence at 128, other whole numbers at 0. Raises ValueError for other shapes.

    >>> Samples(torch.tensor([[0, 128], [64, 128]], dtype=torch.uint8), hz=2).cut(2)
    array([-0.75, 0.  ], dtype=float32)
    """

    def __init__(self, raw: Tensor, hz: int | None) -> None:
        sound = raw.dim() == 1 or (raw.dim() == 2 and min(raw.shape) <= CHANNELS)
        if hz is None or not sound or not raw.numel():
            raise ValueError(
                f"an array of {tuple(raw.shape)}: give samples (N,) or (N, channels) and their rate, "
                "hz, or precomputed frames (T, D) without it"
            )
        channels_first = raw.dim() == 2 and raw.shape[0] <= raw.shape[1]
        self._raw = raw.T if channels_first else raw
        self.hz, self.seconds = hz, len(self._raw) / hz

    def cut(
        self, hz: int, offset: float = 0.0, seconds: float | None = None
    ) -> NDArray[np.float32]:
        """Give the samples (n,) from `offset` for `seconds`, at `hz`; ValueError for NaN or infinity."""
        start = round(offset * self.hz)
        count = len(self._raw) - start if seconds is None else max(round(seconds * self.hz), 1)
        return resample(self._mono(start, count), self.hz, hz)

    def blocks(self, seconds: float = 1.0) -> Iterator[NDArray[np.float32]]:
        """Give all samples at their own rate, in blocks (n,) of `seconds`."""
        size = max(round(seconds * self.hz), 1)
        for start in range(0, len(self._raw), size):
            yield self._mono(start, size)

    def _mono(self, start: int, count: int) -> NDArray[np.float32]:
        raw = self._raw[start : start + count]
        if raw.dtype == torch.uint8:
            raw = (raw.float() - 128) / 128
        elif not raw.is_floating_point():
            raw = raw / torch.iinfo(raw.dtype).max
        if raw.dim() == 2:
            raw = raw.mean(dim=1)
        if not raw.isfinite().all():
            raise ValueError("samples that are NaN or infinite")
        return np.asarray(raw.float().numpy())
