"""whisper: the encoder of Whisper, from log-mel frames. Radford et al. 2023.

Every frame sees all 30 seconds, silence included, as in training: only what leaves is cut to the utterance.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.foreign.wav2vec2 import shorter, spans
from mtl.layers import mask_padding
from mtl.ops import valid

TYPES = ("whisper",)
LAST = ("encoder.layer_norm",)
LEAN = {"decoder_layers": 0}
RANGE = 2.0  # the extractor raises whatever is this far below an utterance's loudest value ...
SILENCE = -1.5  # ... and gives this for zeros


def cut(rest: Any) -> tuple[int, dict[str, nn.Module]]:
    """Take the layers out, and drop the decoder."""
    del rest.decoder
    dim, layers = rest.config.d_model, rest.encoder.layers
    rest.encoder.layers = nn.ModuleList()
    return dim, {f"b{index}": Layer(layer) for index, layer in enumerate(layers, 1)}


class Layer(nn.Module):
    """A layer of the encoder."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, flow: Flow) -> Flow:
        """Run it over the whole window."""
        return flow._replace(x=self.layer(flow.x, None))


def enter(rest: Any, batch: Batch) -> Flow:
    """Fill frames (B, T, bins) up to the window with silence, halve their rate, add positions.

    Raises ValueError for more frames than the window has.
    """
    encoder, window = rest.encoder, 2 * rest.config.max_source_positions
    x, lengths = batch.inputs, batch.lengths
    if x.shape[1] > window:
        raise ValueError(f"{x.shape[1]} frames; this Whisper takes {window}: cut the recording")
    x = F.pad(x, (0, 0, 0, window - x.shape[1]))
    kept = valid(lengths, window)[..., None]
    loudest = x.masked_fill(~kept, -torch.inf).amax((1, 2), keepdim=True)
    x = torch.where(kept, x, (loudest - RANGE).clamp(min=SILENCE))
    x = _augment(rest, x, lengths).to(encoder.conv1.weight.dtype)
    x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(x.mT)))).mT + encoder.embed_positions.weight
    x = F.dropout(x, encoder.dropout, rest.training)
    return Flow(x, frames(rest, lengths), batch.groups)


def rejoin(rest: Any, blocks: Any, batch: Batch) -> Flow:
    """Take stored inputs of a layer; ValueError where they do not span the window."""
    has, needs = batch.inputs.shape[1], rest.config.max_source_positions
    if has != needs:
        raise ValueError(
            f"Whisper's layers take all {needs} frames; {has} were stored: keep silence too"
        )
    return Flow(batch.inputs, batch.lengths, batch.groups)


def leave(rest: Any, flow: Flow) -> Features:
    """Normalise, and cut to the utterance."""
    x = rest.encoder.layer_norm(flow.x)
    return Features(mask_padding(x, flow.lengths), flow.lengths)


def frames(rest: Any, lengths: Tensor) -> Tensor:
    """Count the output frames: half of them, rounded up."""
    return shorter(rest.encoder.conv2, shorter(rest.encoder.conv1, lengths))


def tap(rest: Any, flow: Flow) -> Features:
    """Give a layer's output, cut to the utterance."""
    return Features(mask_padding(flow.x, flow.lengths), flow.lengths)


def _augment(rest: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """Set spans of frames and of bins to zero while training, as the config says."""
    config = rest.config
    if not (rest.training and getattr(config, "apply_spec_augment", False)):
        return x
    if config.mask_time_prob > 0:
        least, size = config.mask_time_min_masks, config.mask_time_length
        hidden = spans(lengths, x.shape[1], config.mask_time_prob, size, least)
        x = x.masked_fill(hidden[..., None], 0.0)
    if config.mask_feature_prob > 0:
        least, size = config.mask_feature_min_masks, config.mask_feature_length
        widths = torch.full_like(lengths, x.shape[2])
        hidden = spans(widths, x.shape[2], config.mask_feature_prob, size, least)
        x = x.masked_fill(hidden[:, None], 0.0)
    return x
