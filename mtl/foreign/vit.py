"""vit: ViT, DeiT and DINOv2: a class token, then the patches. Dosovitskiy 2021, Touvron 2021, Oquab 2023."""

from typing import Any

import torch
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.foreign.maps import stored

TYPES = ("vit", "deit", "dinov2")
LAST = ("layernorm",)


class Layer(nn.Module):
    """A layer of the original, from Flow to Flow."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, flow: Flow) -> Flow:
        """Run the layer."""
        return flow._replace(x=self.layer(flow.x))


def cut(rest: Any) -> tuple[int, dict[str, nn.Module]]:
    """Take the layers b1 ... bN out, and what a sequence of features never uses."""
    place, name = (rest.encoder, "layer") if hasattr(rest, "encoder") else (rest, "layers")
    layers = getattr(place, name)
    setattr(place, name, nn.ModuleList())
    rest.pooler = rest.embeddings.mask_token = None
    return rest.config.hidden_size, {f"b{i + 1}": Layer(layer) for i, layer in enumerate(layers)}


def enter(rest: Any, batch: Batch) -> Flow:
    """Cut pixels (B, C, H, W) into tokens; positions are interpolated for sizes not trained on."""
    embeddings = rest.embeddings
    pixels = batch.inputs.to(embeddings.patch_embeddings.projection.weight.dtype)
    same = tuple(pixels.shape[-2:]) == tuple(embeddings.patch_embeddings.image_size)
    # DINOv2 knows no other way, and so has no switch for it.
    switch = {} if rest.config.model_type == "dinov2" else {"interpolate_pos_encoding": not same}
    return _flow(embeddings(pixels, **switch), batch)


def rejoin(rest: Any, blocks: nn.ModuleDict, batch: Batch) -> Flow:
    """Take stored tokens (B, T, D)."""
    return _flow(stored(batch), batch)


def leave(rest: Any, flow: Flow) -> Features:
    """Normalise."""
    return Features(rest.layernorm(flow.x), flow.lengths)


def tap(rest: Any, flow: Flow) -> Features:
    """Give the tokens of an inner layer."""
    return Features(flow.x, flow.lengths)


def frames(rest: Any, lengths: Tensor) -> Tensor:
    """Count the tokens of square images, given their width."""
    embeddings = rest.embeddings
    patches = embeddings.patch_embeddings
    others = embeddings.position_embeddings.shape[1] - patches.num_patches
    side: Tensor = lengths // patches.patch_size[0]
    tokens: Tensor = side**2 + others
    return tokens


def _flow(x: Tensor, batch: Batch) -> Flow:
    return Flow(x, torch.full_like(batch.lengths, x.shape[1]), batch.groups)
