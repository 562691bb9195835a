"""wav2vec2: wav2vec 2.0 and its kin, from samples. Baevski et al. 2020; Hsu et al. 2021; Chen et al. 2022.

Differs: padding changes nothing, also where the first layer normalises over time: it does so over an
utterance's own frames. No layer is ever dropped.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.layers import mask_padding
from mtl.ops import valid

TYPES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")
LAST = ("final_norm", "adapter")


def cut(rest: Any) -> tuple[int, dict[str, nn.Module]]:
    """Take the layers out; a norm behind them becomes `rest.final_norm`."""
    config, encoder = rest.config, rest.encoder
    stable = getattr(config, "do_stable_layer_norm", False)
    kind = Biased if config.model_type == "wavlm" else Layer
    blocks: dict[str, nn.Module] = {
        f"b{index}": kind(layer, config.hidden_size)
        for index, layer in enumerate(encoder.layers, 1)
    }
    encoder.layers = nn.ModuleList()
    if stable:
        rest.final_norm = encoder.layer_norm
        del encoder.layer_norm
    adapts = getattr(rest, "adapter", None) is not None
    return config.output_hidden_size if adapts else config.hidden_size, blocks


class Layer(nn.Module):
    """A Transformer layer; `dim` is the width of what it gives."""

    def __init__(self, layer: nn.Module, dim: int) -> None:
        super().__init__()
        self.layer, self.dim = layer, dim

    def forward(self, flow: Flow) -> Flow:
        """Run it."""
        return flow._replace(x=self.layer(flow.x, attention_mask=flow.extra["keys"]))


class Biased(Layer):
    """A layer of WavLM: attention with gated relative positions, whose table the first layer owns.

    transformers computes these in `multi_head_attention_forward` and keeps the weights; here it is sdpa.
    """

    layer: Any

    def forward(self, flow: Flow) -> Flow:
        """Run it; the first layer adds the bias (heads, T, T) to what travels on."""
        layer, x, bias = self.layer, flow.x, flow.extra.get("bias")
        if bias is None:
            bias = layer.attention.compute_bias(x.shape[1], x.shape[1])
        stable = "Stable" in type(layer).__name__
        inner = layer.layer_norm(x) if stable else x
        x = x + layer.dropout(_attend(layer.attention, inner, bias, flow.extra["keys"]))
        if stable:
            x = x + layer.feed_forward(layer.final_layer_norm(x))
        else:
            x = layer.layer_norm(x)
            x = layer.final_layer_norm(x + layer.feed_forward(x))
        return flow._replace(x=x, extra=flow.extra | {"bias": bias})


def _attend(attention: Any, x: Tensor, bias: Tensor, keys: Tensor | None) -> Tensor:
    """Attend with gated relative positions (Chi et al. 2022, XLM-E): (B, T, D) -> (B, T, D)."""

    def split(y: Tensor) -> Tensor:
        return y.view(*y.shape[:2], attention.num_heads, -1).transpose(1, 2)

    gates = attention.gru_rel_pos_linear(split(x)).unflatten(-1, (2, 4)).sum(-1).sigmoid()
    update, reset = gates.chunk(2, -1)
    mask = (update * (reset * attention.gru_rel_pos_const - 1) + 2) * bias
    mask = mask if keys is None else mask.masked_fill(~keys, -torch.inf)
    q, k, v = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
    seen = F.scaled_dot_product_attention(
        split(q), split(k), split(v), mask.to(q.dtype), attention.dropout * attention.training
    )
    out: Tensor = attention.out_proj(seen.transpose(1, 2).flatten(2))
    return out


def enter(rest: Any, batch: Batch) -> Flow:
    """Samples (B, N) to frames (B, T, D): convolutions, projection, positions."""
    x, lengths = _convolve(rest, batch.inputs, batch.lengths)
    projected = rest.feature_projection(x.mT)
    x = projected if isinstance(projected, Tensor) else projected[0]  # HuBERT's gives no tuple
    x = mask_padding(augment(rest, x, lengths), lengths)
    x = x + _positions(rest.encoder.pos_conv_embed, x, lengths)
    x = x if hasattr(rest, "final_norm") else rest.encoder.layer_norm(x)
    x = rest.encoder.dropout(x)
    return Flow(x, lengths, batch.groups, {"keys": keys(lengths, x.shape[1])})


def rejoin(rest: Any, blocks: Any, batch: Batch) -> Flow:
    """Make the mask, and WavLM's bias, for stored inputs of a layer."""
    frames = batch.inputs.shape[1]
    extra: dict[str, Any] = {"keys": keys(batch.lengths, frames)}
    if isinstance(first := next(iter(blocks.values())), Biased):
        extra["bias"] = first.layer.attention.compute_bias(frames, frames)
    return Flow(batch.inputs, batch.lengths, batch.groups, extra)


def leave(rest: Any, flow: Flow) -> Features:
    """Normalise where the layers do so before their sublayers; shorten where the model has an adapter."""
    x = rest.final_norm(flow.x) if hasattr(rest, "final_norm") else flow.x
    adapter = getattr(rest, "adapter", None)
    if adapter is None:
        return Features(mask_padding(x, flow.lengths), flow.lengths)
    if adapter.proj is not None:
        x = adapter.proj_layer_norm(adapter.proj(x))
    lengths = flow.lengths
    for layer in adapter.layers:
        x = layer(mask_padding(x, lengths).mT).mT
        lengths = shorter(layer.conv, lengths)
    return Features(mask_padding(x, lengths), lengths)


def frames(rest: Any, lengths: Tensor) -> Tensor:
    """Count the output frames of samples; 0 for fewer than one frame needs."""
    adapter = getattr(rest, "adapter", None)
    for layer in [*rest.feature_extractor.conv_layers, *(adapter.layers if adapter else ())]:
        lengths = shorter(layer.conv, lengths)
    return lengths


def tap(rest: Any, flow: Flow) -> Features:
    """Give a layer's output."""
    return Features(mask_padding(flow.x, flow.lengths), flow.lengths)


def keys(lengths: Tensor, frames: int) -> Tensor | None:
    """Mark the frames that may be seen, (B, 1, 1, T) booleans; None where all may."""
    kept = valid(lengths.clamp(min=1), frames)  # a row without any key would give nan
    # An exported graph must serve all batches: it never takes the short way.
    whole = not torch.compiler.is_exporting() and bool(kept.all())
    return None if whole else kept[:, None, None]


def shorter(convolution: nn.Conv1d, lengths: Tensor) -> Tensor:
    """Count what a convolution leaves of frames."""
    pad, size, stride = (
        int(convolution.padding[0]),
        convolution.kernel_size[0],
        convolution.stride[0],
    )
    return ((lengths + 2 * pad - size).div(stride, rounding_mode="floor") + 1).clamp(min=0)


def augment(rest: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """Hide spans of frames and of channels while training, as the config says. Park et al. 2019."""
    config = rest.config
    if not (rest.training and getattr(config, "apply_spec_augment", True)):
        return x
    if config.mask_time_prob > 0:
        least = config.mask_time_min_masks
        hidden = spans(lengths, x.shape[1], config.mask_time_prob, config.mask_time_length, least)
        x = torch.where(hidden[..., None], rest.masked_spec_embed.to(x.dtype), x)
    if config.mask_feature_prob > 0:
        width, size = x.shape[2], config.mask_feature_length
        widths = torch.full_like(lengths, width)
        least = config.mask_feature_min_masks
        x = x.masked_fill(spans(widths, width, config.mask_feature_prob, size, least)[:, None], 0.0)
    return x


def spans(lengths: Tensor, frames: int, share: float, size: int, least: int) -> Tensor:
    """Draw spans of `size` frames, at least `least`, over about a `share`: (B,) -> (B, frames) booleans.

    Spans may overlap, and stay inside an utterance; one shorter than a span gets none.
    """
    places = (lengths - size + 1).clamp(min=0)
    wanted = share * lengths / size + torch.rand((), device=lengths.device)
    count = wanted.long().clamp(min=least).minimum(lengths // size).minimum(places)
    draws = torch.rand(len(lengths), frames, device=lengths.device)
    draws = draws.masked_fill(~valid(places, frames), -1.0)
    starts = draws.argsort(1, descending=True).argsort(1) < count[:, None]
    return F.max_pool1d(F.pad(starts.float(), (size - 1, 0)), size, 1).bool()


def _convolve(rest: Any, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Run the convolutional front end: (B, N) -> (B, D, T)."""
    layers = rest.feature_extractor.conv_layers
    field = 1
    for layer in reversed(layers):
        field = (field - 1) * layer.conv.stride[0] + layer.conv.kernel_size[0]
    x = F.pad(samples, (0, max(field - samples.shape[1], 0)))[:, None]
    x = x.to(layers[0].conv.weight.dtype)
    for layer in layers:
        lengths = shorter(layer.conv, lengths)
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            x = layer.activation(_group_norm(norm, layer.conv(x), lengths))
        else:
            x = layer(x)
    return x, lengths


def _group_norm(norm: nn.GroupNorm, x: Tensor, lengths: Tensor) -> Tensor:
    """Normalise each channel over an utterance's own frames: (B, D, T) -> (B, D, T)."""
    kept = valid(lengths, x.shape[2])[:, None]
    if not torch.compiler.is_exporting() and bool(kept.all()):
        out: Tensor = norm(x)
        return out
    count = lengths.clamp(min=1)[:, None, None]
    x = x.float() * kept
    x = (x - x.sum(2, keepdim=True) / count) * kept
    x = x * (x.square().sum(2, keepdim=True) / count + norm.eps).rsqrt()
    return x * norm.weight[:, None] + norm.bias[:, None]


def _positions(embed: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """Convolve over time; padding is zero before each convolution, as beyond the end of one utterance."""
    if hasattr(embed, "layers"):  # data2vec
        for layer in embed.layers:
            x = layer(mask_padding(x, lengths).mT).mT
        return x
    if getattr(embed, "batch_norm", None) is not None:  # a few HuBERTs
        x = embed.batch_norm(x.mT).mT
    out: Tensor = embed.activation(embed.padding(embed.conv(mask_padding(x, lengths).mT)))
    return out.mT
