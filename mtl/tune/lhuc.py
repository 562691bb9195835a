"""LHUC: a scale per hidden unit and speaker. Swietojanski, Li, Renals 2016. Topic: adaptation."""

from collections.abc import Sequence

import torch
from torch import nn

from mtl.batch import Flow
from mtl.model import Model, edit
from mtl.ops import members


@edit
def lhuc(
    model: Model, size: int, column: str = "speaker", blocks: Sequence[str] | None = None
) -> None:
    """Scale each unit behind `blocks` (default: all) by 2 sigmoid(a), one vector per member of a group.

    `size` counts the members; `Batch.groups[column]` (B,) says which one spoke. All scales start at 1,
    so nothing changes until they are trained. Raises ValueError for a block the trunk lacks.
    """
    own = "lhuc" if column == "speaker" else f"lhuc-{column}"  # several columns go together
    for name, dim in model.trunk.block_dims(blocks).items():
        model.trunk.put_after(name, own, Scale(size, dim, column))


class Scale(nn.Module):
    """2 sigmoid(a) times the units, a by group member (equation 4 with the amplitude of section V)."""

    def __init__(self, size: int, dim: int, column: str) -> None:
        super().__init__()
        self.column = column
        self.a = nn.Parameter(torch.zeros(size, dim))

    def forward(self, flow: Flow) -> Flow:
        """Scale the frames (B, T, D) or maps (B, D, H, W) of each example by its member's vector."""
        scale = 2 * torch.sigmoid(members(self.a, flow.groups, self.column, "LHUC"))
        scale = scale[:, :, None, None] if flow.x.dim() == 4 else scale[:, None]
        return flow._replace(x=flow.x * scale.to(flow.x.dtype))
