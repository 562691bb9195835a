"""DSN: what domains share, told from what each has of its own. Bousmalis et al. 2016. Topic: adaptation.

Domain separation networks.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.adversary import scale_gradient
from mtl.batch import Batch, Features
from mtl.domains import Adapting, domain_classifier, ramp, tell_apart
from mtl.encoder import Encoder
from mtl.method import View
from mtl.model import Model
from mtl.ops import masked_mean, reverse_gradient
from mtl.rebuilding import FrameDecoder, PictureDecoder, counted, scale_invariant
from mtl.registry import construct, describe


def difference(shared: Tensor, private: Tensor) -> Tensor:
    """Give ||Hc' Hp||^2 / D^2, (), of codes (N, D), whose rows are centred and then made of length 1.

    Bousmalis et al. 2016, equation 5: 0 where no coordinate of one goes along with one of the other. Divided
    by the number of products, as in the authors' code.

    >>> a = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> difference(a, a), difference(a, a * 7 + 3), difference(a, torch.zeros(2, 2))
    (tensor(1.), tensor(1.), tensor(0.))
    """
    rows = [F.normalize((h - h.mean(0)).float(), dim=1, eps=1e-6) for h in (shared, private)]
    return (rows[0].T @ rows[1]).square().mean()


class DSN(Adapting):
    """A task's loss plus three of codes: shared ones of the model, and private ones of each domain.

    The shared code is what the model has behind the block `at` (empty text: the trunk). A private encoder for
    each domain, of the same make as stem and trunk, gives a code of the same width; one decoder makes inputs
    again from their sums: a picture from its averaged codes, or frames of speech from their frames' codes.
    Added are the domains' errors (term `reconstruction`), the alikeness of shared and private code (term
    `difference`), and from the share `start` of the steps on a domain classifier's loss (term `domain`; its
    `accuracy` is reported). `reconstruct`, `separate` and `weight` are how often their gradients reach the
    shared code, the last one reversed and with the ramp of `mtl.methods.dann`, which begins at `start`. For
    the paper's other similarity, MMD, put `mtl.methods.dan` beside it and make weight 0. Raises ValueError
    for numbers out of range, streams of raw samples, and as `mtl.domains.Adapting`.

    Differs: the domain term alone starts late, as in the paper; in the authors' code all three do. Its own
    networks learn at the full rate: at a hundredth of it, decoders stay what they are for long.
    """

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        at: str = "",
        weight: float = 0.25,
        reconstruct: float = 0.01,
        separate: float = 0.075,
        start: float = 0.1,
        width: int = 16,
    ) -> None:
        super().__init__(source, target)
        if min(weight, reconstruct, separate) < 0 or not 0 <= start < 1 or width < 1:
            raise ValueError(
                f"weight is {weight}, reconstruct {reconstruct}, separate {separate}, start {start}, width "
                f"{width}; strengths may not be below 0, start is a share below 1, width 1 at least"
            )
        self.at, self.weight, self.reconstruct = at, weight, reconstruct
        self.separate, self.start, self.width = separate, start, width
        self.taps = (at,) if at else ()

    def build(self, model: Model) -> None:
        """Make private encoders, the decoder and the domain classifier."""
        super().build(model)
        dim = model.trunk.dim_at(self.at or None)
        self.private = nn.ModuleList(_fresh(model, stream) for stream in self.streams)
        self.decoder = self._decoder(model, dim)
        self.classifier = domain_classifier(model, self.at, len(self.streams), hidden=100)

    def _decoder(self, model: Model, dim: int) -> nn.Module:
        made: dict[tuple[Any, ...], nn.Module] = {}
        for stream in self.streams:
            stem: Any = model.stem(stream)
            if getattr(stem, "size", 0) and getattr(stem, "channels", 0):
                shape = (stem.channels, stem.size)
                made[shape] = PictureDecoder(dim, stem.channels, stem.size, self.width)
            elif getattr(stem, "bins", 0):
                long = torch.tensor(2400)  # what all strides divide
                factor = int(long // model.trunk.frames(stem.frames(long)))
                made[stem.bins, factor] = FrameDecoder(dim, stem.bins, factor, 16 * self.width)
            else:
                raise ValueError(
                    f"stream {stream!r}: DSN makes pictures or frames again; its stem "
                    f"{type(stem).__name__} takes neither, give one such as pixels or logmel"
                )
        if len(made) > 1:
            raise ValueError(
                f"streams {list(self.streams)} differ in shape: one decoder serves all"
            )
        return next(iter(made.values()))

    def terms(self, view: View) -> dict[str, Tensor]:
        """Compare codes, make the inputs again and tell the domains apart, in the phase of the tasks."""
        if view.phase != "train":
            return {}
        errors, alike, shared = [], [], []
        for stream, encoder in zip(self.streams, self.private, strict=True):
            batch, code = view.batches[stream], view.features[stream].at(self.at or None)
            own = encoder(stream, batch, self.taps).at(self.at or None)
            private = masked_mean(own.x.float(), own.lengths)
            shared.append(masked_mean(code.x.float(), code.lengths))
            errors.append(view.mean(stream, self._error(batch, code, own)))
            held = scale_gradient(shared[-1], self.separate)
            pairs = view.gather(stream, torch.cat([held, private], 1))
            alike.append(difference(*pairs.chunk(2, 1)))
        terms = {
            "reconstruction": torch.stack(errors).sum(),
            "difference": torch.stack(alike).sum(),
        }
        if self.weight and view.progress >= self.start:
            begun = (view.progress - self.start) / (1 - self.start)
            reversed_ = [reverse_gradient(z, self.weight * ramp(begun)) for z in shared]
            terms |= tell_apart(view, self.streams, [self.classifier(z) for z in reversed_])
        return terms

    def _error(self, batch: Batch, code: Features, own: Features) -> Tensor:
        """Give the error (B,) of what the decoder makes of shared and private codes (B, T, D)."""
        x, codes = batch.inputs, scale_gradient(code.x, self.reconstruct) + own.x
        if x.dim() == 4:
            return scale_invariant(x, self.decoder(masked_mean(codes.float(), code.lengths)))
        made = self.decoder(codes)
        shorter = min(x.shape[1], made.shape[1])  # padding, or the end of the last window
        x, made = x[:, :shorter], made[:, :shorter]
        return scale_invariant(x, made, counted(x, batch.lengths))


def _fresh(model: Model, stream: str) -> Model:
    """Make an encoder of the same make, with weights of its own, and without edits."""
    kind = model.streams[stream]
    stem: Encoder = construct("stems", describe(model.stem(stream)))
    trunk: Encoder = construct("trunks", describe(model.trunk))
    # On maps that lie so the convolutions of our own stems take half the time.
    if any(parameter.dim() == 4 for parameter in stem.parameters()):
        stem = stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model({kind: stem}, trunk, streams={stream: kind})
