"""frames: precomputed frames, normalised and subsampled like log-mel ones."""

from torch import Tensor

from mtl.batch import Batch, Flow
from mtl.encoder import Encoder
from mtl.layers import Subsampling, standardise


class Frames(Encoder):
    """Frames of any origin, subsampled: (B, T, bins) -> (B, ceil(T/subsample), dim).

    `normalise` gives every bin of an utterance mean 0 and variance 1; `frames_per_second` counts frames as
    they come.
    """

    def __init__(
        self,
        bins: int,
        dim: int,
        subsample: int = 2,
        normalise: bool = True,
        frames_per_second: float = 100.0,
    ) -> None:
        super().__init__(dim)
        self.bins, self.subsample, self.normalise = bins, subsample, normalise
        self.frames_per_second = frames_per_second
        self.subsampling = Subsampling(bins, dim, subsample)

    def prepare(self, raw: Tensor) -> Tensor:
        """Normalise frames (T, bins) as float32.

        Raises ValueError where the frames have another width.
        """
        if raw.dim() != 2 or raw.shape[1] != self.bins:
            raise ValueError(f"frames of shape {tuple(raw.shape)}; expected (T, {self.bins})")
        return standardise(raw.float()) if self.normalise else raw.float()

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the output frames of prepared ones."""
        return self.subsampling.frames(lengths)

    def enter(self, batch: Batch) -> Flow:
        """Subsample."""
        x, lengths = self.subsampling(batch.inputs, batch.lengths)
        return Flow(x, lengths, batch.groups)
