"""swin: attention in windows that shift, in stages of ever coarser patches. Liu et al. 2021."""

from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.foreign.maps import stored

TYPES = ("swin",)
LAST = ("layernorm",)


class Layer(nn.Module):
    """A layer (B, H W, D), and behind the last one of a stage what merges four patches into one."""

    def __init__(self, layer: Any, merge: nn.Module | None, dim: int) -> None:
        super().__init__()
        self.layer, self.merge, self.dim = layer, merge, dim
        self._window, self._shift = layer.window_size, layer.shift_size

    def forward(self, flow: Flow) -> Flow:
        """Run the layer on the map whose size the flow carries."""
        height, width = flow.extra["size"]
        # The original narrows both for a small image, and would keep them so for all that follow.
        self.layer.window_size, self.layer.shift_size = self._window, self._shift
        x = self.layer(flow.x, (height, width))[0]
        if self.merge is None:
            return flow._replace(x=x)
        x = self.merge(x, (height, width))
        return _flow(x, ((height + 1) // 2, (width + 1) // 2), flow.lengths, flow.groups)


def cut(rest: Any) -> tuple[int, dict[str, nn.Module]]:
    """Take the layers s1b1, s1b2, ... of all stages out."""
    blocks: dict[str, nn.Module] = {}
    wide = rest.config.embed_dim
    for number, stage in enumerate(rest.encoder.layers, 1):
        for index, layer in enumerate(stage.blocks, 1):
            merge = stage.downsample if index == len(stage.blocks) else None
            wide *= 1 if merge is None else 2
            blocks[f"s{number}b{index}"] = Layer(layer, merge, wide)
    rest.encoder.layers = nn.ModuleList()
    rest.embeddings.mask_token = None
    return wide, blocks


def enter(rest: Any, batch: Batch) -> Flow:
    """Cut pixels (B, C, H, W) into patches; positions, if any, are interpolated for other sizes."""
    embeddings = rest.embeddings
    pixels = batch.inputs.to(embeddings.patch_embeddings.projection.weight.dtype)
    size = rest.config.image_size
    trained = (size, size) if isinstance(size, int) else tuple(size)
    other = tuple(pixels.shape[-2:]) != trained
    x, grid = embeddings(pixels, interpolate_pos_encoding=other)
    return _flow(x, grid, batch.lengths, batch.groups)


def rejoin(rest: Any, blocks: nn.ModuleDict, batch: Batch) -> Flow:
    """Take stored patches (B, T, D) of a square map. Raises ValueError where T is no square."""
    x = stored(batch)
    side = isqrt(x.shape[1])
    if side**2 != x.shape[1]:
        raise ValueError(f"{x.shape[1]} stored patches are no square map; store the images")
    return _flow(x, (side, side), batch.lengths, batch.groups)


def leave(rest: Any, flow: Flow) -> Features:
    """Normalise."""
    return Features(rest.layernorm(flow.x), flow.lengths)


def tap(rest: Any, flow: Flow) -> Features:
    """Give the patches of an inner layer."""
    return Features(flow.x, flow.lengths)


def frames(rest: Any, lengths: Tensor) -> Tensor:
    """Count the last stage's patches of square images, given their width."""
    factor = rest.config.patch_size * 2 ** (len(rest.config.depths) - 1)
    side: Tensor = -(-lengths // factor)
    return side**2


def _flow(x: Tensor, size: tuple[int, int], lengths: Tensor, groups: dict[str, Tensor]) -> Flow:
    return Flow(x, torch.full_like(lengths, x.shape[1]), groups, {"size": size})
