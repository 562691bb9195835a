"""w2v_bert: w2v-BERT 2.0, a conformer over log-mel frames. Chung et al. 2021; Seamless Communication 2023."""

from typing import Any

from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.foreign.wav2vec2 import augment, keys, shorter
from mtl.layers import mask_padding

TYPES = ("wav2vec2-bert",)
LAST = ("intermediate_ffn", "adapter")


def cut(rest: Any) -> tuple[int, dict[str, nn.Module]]:
    """Take the layers out."""
    config, layers = rest.config, rest.encoder.layers
    rest.encoder.layers = nn.ModuleList()
    blocks: dict[str, nn.Module] = {
        f"b{index}": Layer(layer, config.hidden_size) for index, layer in enumerate(layers, 1)
    }
    return config.hidden_size if rest.adapter is None else config.output_hidden_size, blocks


class Layer(nn.Module):
    """A conformer layer; `dim` is the width of what it gives."""

    def __init__(self, layer: nn.Module, dim: int) -> None:
        super().__init__()
        self.layer, self.dim = layer, dim

    def forward(self, flow: Flow) -> Flow:
        """Run it."""
        kept = flow.extra["keys"]
        x = self.layer(
            flow.x,
            attention_mask=kept,
            relative_position_embeddings=flow.extra["positions"],
            conv_attention_mask=None if kept is None else kept[:, 0, 0],
        )
        return flow._replace(x=x)


def enter(rest: Any, batch: Batch) -> Flow:
    """Project pairs of frames (B, T, 2 bins)."""
    x = batch.inputs.to(rest.feature_projection.projection.weight.dtype)
    x = augment(rest, rest.feature_projection(x)[0], batch.lengths)
    x = rest.encoder.dropout(mask_padding(x, batch.lengths))
    return rejoin(rest, None, batch._replace(inputs=x))


def rejoin(rest: Any, blocks: Any, batch: Batch) -> Flow:
    """Make the mask and the table of positions for inputs of a layer."""
    x, embed = batch.inputs, rest.encoder.embed_positions
    extra = {
        "keys": keys(batch.lengths, x.shape[1]),
        "positions": None if embed is None else embed(x),
    }
    return Flow(x, batch.lengths, batch.groups, extra)


def leave(rest: Any, flow: Flow) -> Features:
    """Shorten, where the model has an adapter."""
    x, lengths = flow.x, flow.lengths
    if rest.intermediate_ffn is not None:
        x = x + 0.5 * rest.intermediate_ffn(x)
    if (adapter := rest.adapter) is not None:
        if adapter.proj is not None:
            x = adapter.proj_layer_norm(adapter.proj(x))
        for layer in adapter.layers:
            x, lengths = _adapt(layer, x, lengths)
    return Features(mask_padding(x, lengths), lengths)


def _adapt(layer: Any, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Run an adapter layer: transformers' lets padding into its convolutions, this does not."""
    residual = mask_padding(layer.residual_layer_norm(x), lengths)
    residual = layer.activation(layer.residual_conv(residual.mT)).mT
    x = mask_padding(layer.self_attn_layer_norm(x), lengths)
    x = layer.activation(layer.self_attn_conv(x.mT)).mT
    lengths = shorter(layer.self_attn_conv, lengths)
    x, _ = layer.self_attn(x, attention_mask=keys(lengths, x.shape[1]))
    x = layer.self_attn_dropout(x) + residual
    return x + layer.ffn(layer.ffn_layer_norm(x)), lengths


def frames(rest: Any, lengths: Tensor) -> Tensor:
    """Count the output frames."""
    for layer in () if rest.adapter is None else rest.adapter.layers:
        lengths = shorter(layer.self_attn_conv, lengths)
    return lengths


def tap(rest: Any, flow: Flow) -> Features:
    """Give a layer's output."""
    return Features(mask_padding(flow.x, flow.lengths), flow.lengths)
