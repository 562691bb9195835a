"""maps: ConvNeXt and ResNet, whose layers hand on maps (B, C, H, W). Liu et al. 2022; He et al. 2016.

A head gets a map as a sequence (B, H W, C), row by row.
"""

from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow

TYPES = ("convnext", "resnet")
MAPS = "first"  # where the channels of what blocks hand on are
LAST = ("layernorm",)  # ConvNeXt's, behind the pool: unused here, it is the head's to take over


class Layer(nn.Module):
    """A layer of the original, from Flow to Flow; `dim` counts its output channels."""

    def __init__(self, layer: nn.Module, dim: int) -> None:
        super().__init__()
        self.layer, self.dim = layer, dim

    def forward(self, flow: Flow) -> Flow:
        """Run the layer."""
        return flow._replace(x=self.layer(flow.x))


def cut(rest: Any) -> tuple[int, dict[str, nn.Module]]:
    """Take the layers s1b1, s1b2, ... of all stages out; the first of a stage makes the map coarser."""
    blocks: dict[str, nn.Module] = {}
    widths = rest.config.hidden_sizes
    for number, (stage, dim) in enumerate(zip(rest.encoder.stages, widths, strict=True), 1):
        coarser = list(getattr(stage, "downsampling_layer", ()))
        for index, layer in enumerate(stage.layers, 1):
            whole = nn.Sequential(*coarser, layer) if index == 1 else layer
            blocks[f"s{number}b{index}"] = Layer(whole, dim)
    rest.encoder.stages = nn.ModuleList()
    return widths[-1], blocks


def enter(rest: Any, batch: Batch) -> Flow:
    """Turn pixels (B, C, H, W) into the first map."""
    before = rest.embedder if rest.config.model_type == "resnet" else rest.embeddings
    x = before(batch.inputs.to(next(before.parameters()).dtype))
    return Flow(x, batch.lengths, batch.groups)


def rejoin(rest: Any, blocks: nn.ModuleDict, batch: Batch) -> Flow:
    """Take stored maps, see `as_map`."""
    return Flow(as_map(stored(batch)), batch.lengths, batch.groups)


def leave(rest: Any, flow: Flow) -> Features:
    """Give the last map as a sequence."""
    return as_sequence(flow)


def tap(rest: Any, flow: Flow) -> Features:
    """Give an inner layer's map as a sequence."""
    return as_sequence(flow)


def frames(rest: Any, lengths: Tensor) -> Tensor:
    """Count the places of the last map of square images, given their width."""
    config = rest.config
    stages = len(config.hidden_sizes)
    if config.model_type == "convnext":
        side: Tensor = lengths // (config.patch_size * 2 ** (stages - 1))
    else:
        halvings = 2 + stages - 1 + config.downsample_in_first_stage
        side = -(-lengths // 2**halvings)
    return side**2


def as_sequence(flow: Flow) -> Features:
    """Lay out maps (B, C, H, W) row by row.

    >>> as_sequence(Flow(torch.zeros(2, 5, 3, 3), torch.tensor([12, 12]))).x.shape
    torch.Size([2, 9, 5])
    """
    x = flow.x.flatten(2).mT
    return Features(x, torch.full_like(flow.lengths, x.shape[1]))


def stored(batch: Batch) -> Tensor:
    """Give stored inputs, sequences (B, T, D) without the frames that batching put behind them.

    Raises ValueError for sequences of several lengths: image encoders hide no padding.
    """
    if batch.inputs.dim() == 4:
        return batch.inputs
    lengths = sorted(set(batch.lengths.tolist()))
    if len(lengths) > 1:
        raise ValueError(
            f"stored images of {lengths} places in one batch; they must be of one size"
        )
    return batch.inputs[:, : lengths[0]]


def as_map(x: Tensor) -> Tensor:
    """Turn stored sequences (B, T, C) of square maps into maps; maps (B, C, H, W) stay.

    Raises ValueError where T is no square.
    """
    if x.dim() == 4:
        return x
    side = isqrt(x.shape[1])
    if side**2 != x.shape[1]:
        raise ValueError(f"{x.shape[1]} stored places are no square map; store maps (C, H, W)")
    return x.mT.reshape(len(x), -1, side, side).contiguous()
