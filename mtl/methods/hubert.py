"""HuBERT: units of hidden frames, told from the frames around. Hsu et al. 2021. Topic: self-taught.

Units are k-means clusters, first of cepstra, then of what a model learnt in this way has in a block:
`mtl.units` finds them. No text is needed.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Batch
from mtl.method import Method, View
from mtl.model import Model
from mtl.ops import valid


def spans(lengths: Tensor, frames: int, share: float, span: int) -> Tensor:
    """Draw hidden spans of `span` frames, a `share` of all frames beginning one: (B,) -> (B, frames).

    From torch's global generator; spans overlap (Hsu et al. 2021, section 3.2). Padding is never hidden, and
    every example has a span, cut at its end.

    >>> spans(torch.tensor([8, 3]), 8, share=0.0, span=4).sum(1).tolist()
    [4, 3]
    """
    draws = torch.rand(len(lengths), frames)
    starts = draws < share
    # One that fits begins wherever the draw is smallest, however short the example.
    last = (lengths.cpu() - span).clamp(min=0)
    open_ = torch.arange(frames) <= last[:, None]
    first = draws.masked_fill(~open_, 2.0).argmin(1)
    starts[torch.arange(len(starts)), first] = True
    covered = F.max_pool1d(F.pad(starts.float(), (span - 1, 0))[:, None], span, 1)[:, 0] > 0
    return covered.to(lengths.device) & valid(lengths, frames)


def cepstra(frames: Tensor, count: int) -> Tensor:
    """Give the first `count` coefficients of the cosine transform of frames (..., D): (..., count).

    >>> cepstra(torch.ones(1, 4), 2).round(decimals=6).abs().tolist()
    [[2.0, 0.0]]
    """
    bins = frames.shape[-1]
    places = (torch.arange(bins, device=frames.device) + 0.5) * math.pi / bins
    waves = torch.cos(places[:, None] * torch.arange(count, device=frames.device))
    scale = torch.full((count,), math.sqrt(2 / bins), device=frames.device)
    scale[:1] = math.sqrt(1 / bins)
    return frames @ (waves * scale).to(frames.dtype)


def stacked(frames: Tensor, factor: int) -> Tensor:
    """Lay `factor` frames side by side, zeros behind the last: (B, T, D) -> (B, ceil(T / factor), factor D).

    >>> stacked(torch.arange(5.0).view(1, 5, 1), factor=2).tolist()
    [[[0.0, 1.0], [2.0, 3.0], [4.0, 0.0]]]
    """
    b, count, dim = frames.shape
    return F.pad(frames, (0, 0, 0, -count % factor)).reshape(b, -1, factor * dim)


class HuBERT(Method):
    """Hides spans of the frames of `stream` and adds the cross entropy of their units.

    `centres` (V, D) are the units: the nearest to a place's stacked cepstra, `coefficients` of each frame (0
    takes frames as they are), or to what a `teacher` model has behind the block `at` (empty: the trunk)
    hearing all. Spans begin at a `share` of the trunk's frames and are `span` of these long; hidden frames
    become 0, the mean of normalised ones. Terms: `units`, and the share told right, `accuracy`, which is
    reported alone. Raises ValueError for a stream that the model lacks, samples in the place of frames, and
    centres that do not fit.

    Differs: spans are hidden in the frames that enter the stem; a linear layer takes the place of cosines.
    """

    centres: Tensor
    teacher: Model

    def __init__(
        self,
        centres: Tensor,
        stream: str = "speech",
        share: float = 0.08,
        span: int = 7,
        coefficients: int = 13,
        teacher: Model | None = None,
        at: str = "",
    ) -> None:
        super().__init__()
        if centres.dim() != 2 or len(centres) < 2 or not 0 <= share <= 1 or span < 1:
            raise ValueError(
                f"centres {tuple(centres.shape)}, share {share}, span {span}; give (V, D) of 2 units at "
                "least, a share from 0 to 1, and a span of 1 frame or more"
            )
        self.register_buffer("centres", centres.detach().clone().float())
        if teacher is not None:
            self.teacher = copy.deepcopy(teacher).requires_grad_(False).eval()
        self.stream, self.share, self.span = stream, share, span
        self.coefficients, self.at = coefficients, at
        self._whole: tuple[Batch, Tensor] | None = None

    def build(self, model: Model) -> None:
        """Make the layer that tells units, and count the frames that a place of the trunk stands for."""
        stem = model.stem(self.stream)
        long = torch.tensor(5040)  # divided by every subsampling
        self.factor = max(round(5040 / int(model.trunk.frames(stem.frames(long)))), 1)
        self.tell = nn.Linear(model.trunk.dim, len(self.centres))
        if "teacher" in self._modules:
            self.teacher.trunk.block_dims([self.at] if self.at else [])

    def train(self, mode: bool = True) -> "HuBERT":
        """Set the training mode; the teacher keeps evaluating."""
        super().train(mode)
        if "teacher" in self._modules:
            self.teacher.eval()
        return self

    def inputs(self, batches: dict[str, Batch]) -> dict[str, Batch]:
        """Hide spans, and remember the batch as it was."""
        if self.stream not in batches:
            return batches
        batch = batches[self.stream]
        if batch.inputs.dim() != 3:
            raise ValueError(
                f"stream {self.stream!r} gives {tuple(batch.inputs.shape)}; units are of frames (B, T, D)"
            )
        frames = batch.inputs.shape[1]
        places = -(-frames // self.factor)
        lengths = -(-batch.lengths // self.factor)
        hidden = spans(lengths, places, self.share, self.span)
        self._whole = batch, hidden
        each = hidden.repeat_interleave(self.factor, 1)[:, :frames, None]
        return batches | {self.stream: batch._replace(inputs=batch.inputs.masked_fill(each, 0.0))}

    @torch.no_grad()
    def units(self, batch: Batch, places: int) -> Tensor:
        """Give the unit of each place, from the whole frames: (B, places), from 0 to V - 1."""
        if "teacher" in self._modules:
            taps = (self.at,) if self.at else ()
            rows = self.teacher(self.stream, batch, taps).at(self.at or None).x
        else:
            with torch.autocast(batch.inputs.device.type, enabled=False):
                frames, few = batch.inputs.float(), self.coefficients
                rows = stacked(cepstra(frames, few) if few else frames, self.factor)
        if rows.shape[1] != places or rows.shape[2] != self.centres.shape[1]:
            raise ValueError(
                f"places {rows.shape[1]} of width {rows.shape[2]} for centres of width "
                f"{self.centres.shape[1]} and {places} places: find them for this stem (mtl.units)"
            )
        with torch.autocast(rows.device.type, enabled=False):
            return torch.cdist(rows.float(), self.centres.expand(len(rows), -1, -1)).argmin(2)

    def terms(self, view: View) -> dict[str, Tensor]:
        """Give the loss on hidden frames, in the phase of the tasks."""
        whole, self._whole = self._whole, None
        if whole is None or view.phase != "train":
            return {}
        batch, hidden = whole
        x = view.features[self.stream].x
        units = self.units(batch, x.shape[1])
        logits = self.tell(x).float()
        losses = F.cross_entropy(logits.mT, units, reduction="none")
        right = (logits.detach().argmax(2) == units).float()
        counts = hidden.sum(1).clamp(min=1)
        loss, share = ((each * hidden).sum(1) / counts for each in (losses, right))
        return {"units": view.mean(self.stream, loss), "accuracy": view.mean(self.stream, share)}
