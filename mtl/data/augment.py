"""Augment: what chance does to training speech, drawn from (seed, example, epoch) alone.

Neither the order of the examples nor the number of workers or processes changes what one gets.
"""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 20  # speeds are multiples of 1/20: the resampling kernel stays small


@dataclass(frozen=True)
class Augment:
    """What may happen to a training utterance; the default does nothing.

    SpecAugment (Park 2019): `time_masks` stretches of up to `time_frames` frames, together at most
    `time_share` of the utterance, and `bin_masks` bands of up to `bins` mel bins, together at most
    `bin_share` of them (of 13 cepstra two wide bands would leave nothing), are set to the mean.
    Speed perturbation (Ko 2015) plays the samples at one of the `speeds`, multiples of 0.05;
    precomputed frames are stretched in time, their pitch stays. White
    noise is added at a random signal-to-noise ratio within `noise_db`. In a share `nobody` of the draws an
    utterance is nobody's: its group numbers are 0. `draws` > 0 repeats the draws of the first `draws`
    epochs, so that caches of what a frozen part computes stay exact. Raises ValueError for other speeds
    and shares.
    """

    time_masks: int = 0
    time_frames: int = 30
    time_share: float = 0.2
    bin_masks: int = 0
    bins: int = 20
    bin_share: float = 0.5
    speeds: tuple[float, ...] = (1.0,)
    noise_db: tuple[float, float] | None = None
    nobody: float = 0.0
    draws: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        steps = [speed * STEPS for speed in self.speeds]
        if not steps or any(step < 1 or abs(step - round(step)) > 1e-6 for step in steps):
            raise ValueError(
                f"speeds are {self.speeds}; give multiples of {1 / STEPS}, such as 0.9"
            )
        if not 0 <= self.nobody <= 1:
            raise ValueError(f"nobody is {self.nobody}; it is a share of the draws, 0 to 1")

    def rng(self, name: str, epoch: int, purpose: int) -> np.random.Generator:
        """Give the generator of one example in one epoch."""
        number = epoch % self.draws if self.draws else epoch
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), number, purpose])

    def speed(self, name: str, epoch: int) -> float:
        """Draw an utterance's speed."""
        return float(self.rng(name, epoch, 0).choice(self.speeds))

    def noise(self, samples: Tensor, name: str, epoch: int) -> Tensor:
        """Add white noise to samples (N,)."""
        if self.noise_db is None:
            return samples
        rng = self.rng(name, epoch, 1)
        ratio = 10 ** (rng.uniform(*self.noise_db) / 20)
        noise = torch.from_numpy(rng.standard_normal(len(samples)).astype(np.float32))
        return samples + noise * (samples.square().mean().sqrt() / ratio)

    def mask(self, frames: Tensor, name: str, epoch: int) -> Tensor:
        """Mask frames (T, D) that are normalised to mean 0 in each bin; gives a copy."""
        if not self.time_masks and not self.bin_masks:
            return frames
        rng, frames = self.rng(name, epoch, 2), frames.clone()
        length, width = frames.shape
        longest = min(self.time_frames, int(length * self.time_share / max(self.time_masks, 1)))
        for _ in range(self.time_masks):
            start, stop = _span(rng, length, longest)
            frames[start:stop] = 0
        widest = min(self.bins, int(width * self.bin_share / max(self.bin_masks, 1)))
        for _ in range(self.bin_masks):
            start, stop = _span(rng, width, widest)
            frames[:, start:stop] = 0
        return frames

    def unname(self, groups: dict[str, int], name: str, epoch: int) -> dict[str, int]:
        """Give the numbers of an utterance's groups, or 0 for each that is drawn to be nobody's."""
        if not self.nobody:
            return groups
        draws = self.rng(name, epoch, 3).random(len(groups)).tolist()
        return {
            column: 0 if draw < self.nobody else number
            for (column, number), draw in zip(groups.items(), draws, strict=True)
        }


def _span(rng: np.random.Generator, length: int, longest: int) -> tuple[int, int]:
    """Draw a stretch of 0 to `longest` places."""
    size = int(rng.integers(0, longest + 1))
    start = int(rng.integers(0, length - size + 1))
    return start, start + size


def change_speed(samples: Tensor, speed: float, hz: int) -> Tensor:
    """Play samples (N,) at `speed` by resampling: pitch and tempo change, about N / speed remain."""
    if speed == 1.0:
        return samples
    from torchaudio.functional import resample

    changed: Tensor = resample(samples, round(speed * STEPS) * hz // STEPS, hz)
    return changed


def change_tempo(frames: Tensor, speed: float) -> Tensor:
    """Stretch precomputed frames (T, D) in time: about T / speed remain, between neighbours on a line.

    >>> change_tempo(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), 2.0).tolist()
    [[0.5], [2.5]]
    """
    if speed == 1.0:
        return frames
    size = max(1, round(len(frames) / speed))
    return F.interpolate(frames.float().T[None], size=size, mode="linear")[0].T
