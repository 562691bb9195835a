"""waveform: samples as they are, for trunks that begin with their own convolutions."""

import torch.nn.functional as F
from torch import Tensor

from mtl.encoder import Encoder


class Waveform(Encoder):
    """Samples (B, N) at `hz`, passed on; with `normalise` each utterance gets mean 0 and variance 1.

    >>> import torch
    >>> Waveform(normalise=True).prepare(torch.tensor([1.0, 3.0])).round(decimals=3).tolist()
    [-1.0, 1.0]
    """

    def __init__(self, hz: int = 16000, normalise: bool = False) -> None:
        super().__init__(dim=1)
        self.hz, self.normalise = hz, normalise
        self.frames_per_second = float(hz)

    def prepare(self, raw: Tensor) -> Tensor:
        """Normalise samples (N,). Raises ValueError for anything else."""
        if raw.dim() != 1:
            raise ValueError(f"samples of shape {tuple(raw.shape)}; expected (N,)")
        return F.layer_norm(raw.float(), raw.shape) if self.normalise else raw.float()
