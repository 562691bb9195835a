"""logmel: waveform to log-mel frames, then a few convolutions down to the trunk's frame rate."""

from functools import cache

import torch
from torch import Tensor

from mtl.batch import Batch, Flow, pad
from mtl.encoder import Encoder
from mtl.layers import Subsampling, standardise

FLOOR = 1e-6  # of the mel power: digital silence becomes a constant, not minus infinity


class LogMel(Encoder):
    """Log-mel frames normalised per utterance and bin, subsampled to (B, ceil(T/subsample), dim).

    `prepare` gives T = 1 + samples // hop frames of `bins`. `enter` takes prepared frames (B, T, bins), or
    raw samples (B, N) that it prepares itself.

    >>> stem = LogMel(dim=8, subsample=4)
    >>> stem.prepare(torch.zeros(16000)).shape, stem.frames(torch.tensor(101))
    (torch.Size([101, 80]), tensor(26))
    """

    def __init__(
        self,
        dim: int,
        hz: int = 16000,
        bins: int = 80,
        subsample: int = 4,
        window_seconds: float = 0.025,
        hop_seconds: float = 0.010,
    ) -> None:
        super().__init__(dim)
        self.hz, self.bins, self.subsample = hz, bins, subsample
        self.window_seconds, self.hop_seconds = window_seconds, hop_seconds
        self.frames_per_second = 1 / hop_seconds
        self.subsampling = Subsampling(bins, dim, subsample)

    def prepare(self, raw: Tensor) -> Tensor:
        """Turn samples (N,) at `hz` into float32 frames (T, bins); any N from 1 on gives a frame."""
        with torch.autocast(raw.device.type, enabled=False):
            window = round(self.window_seconds * self.hz)
            hop = round(self.hop_seconds * self.hz)
            power = spectrogram(raw.float(), window, hop)
            mel = power @ _filters(power.shape[1], self.bins, self.hz).to(raw.device)
            return standardise(mel.clamp(min=FLOOR).log())

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the output frames of prepared ones."""
        return self.subsampling.frames(lengths)

    def enter(self, batch: Batch) -> Flow:
        """Prepare raw samples if need be, and subsample."""
        inputs, lengths = batch.inputs, batch.lengths
        if inputs.dim() == 2:
            rows = zip(inputs, lengths.tolist(), strict=True)
            prepared = [self.prepare(samples[:length]) for samples, length in rows]
            inputs = pad(prepared)
            lengths = torch.tensor([len(frames) for frames in prepared], device=lengths.device)
        x, lengths = self.subsampling(inputs, lengths)
        return Flow(x, lengths, batch.groups)


def spectrogram(samples: Tensor, window: int, hop: int) -> Tensor:
    """Give the power spectrum of centred Hann windows: (N,) -> (1 + N // hop, frequencies)."""
    points = 1 << (window - 1).bit_length()
    shape = torch.hann_window(window, device=samples.device)
    spectrum = torch.stft(
        samples, points, hop, window, shape, pad_mode="constant", return_complex=True
    )
    return spectrum.abs().square().T


@cache
def _filters(frequencies: int, bins: int, hz: int) -> Tensor:
    """Compute the mel filters (frequencies, bins) once a process; a buffer would follow the model to a
    device on which data workers cannot compute.
    """
    from torchaudio.functional import melscale_fbanks

    filters: Tensor = melscale_fbanks(frequencies, 0.0, hz / 2, bins, hz)
    return filters
