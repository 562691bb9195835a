"""LHUC: a scale per hidden unit and speaker. Swietojanski, Li, Renals 2016. Topic: adaptation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl.batch import Flow
from mtl.model import Model, edit


@edit
def lhuc(
    model: Model, size: int, column: str = "speaker", blocks: Sequence[str] | None = None
) -> None:
    """Scale each unit behind `blocks` (default: all) by 2 sigmoid(a), one vector per member of a group.

    `size` counts the members; `Batch.groups[column]` (B,) says which one spoke. All scales start at 1,
    so nothing changes until they are trained. Raises ValueError for a block the trunk lacks.
    """
    chosen = list(model.trunk.blocks) if blocks is None else list(blocks)
    if unknown := sorted(set(chosen) - set(model.trunk.blocks)):
        raise ValueError(f"no block {unknown}; this trunk has: {', '.join(model.trunk.blocks)}")
    for name in chosen:
        dim = getattr(model.trunk.blocks[name], "dim", model.trunk.dim)
        model.trunk.put_after(name, "lhuc", Scale(size, dim, column))


class Scale(nn.Module):
    """2 sigmoid(a) times the units, a by group member (equation 4 with the amplitude of section V)."""

    def __init__(self, size: int, dim: int, column: str) -> None:
        super().__init__()
        self.column = column
        self.a = nn.Parameter(torch.zeros(size, dim))

    def forward(self, flow: Flow) -> Flow:
        """Scale the frames (B, T, D) or maps (B, D, H, W) of each example by its member's vector."""
        if self.column not in flow.groups:
            raise ValueError(
                f"LHUC needs groups[{self.column!r}]; the batch has {list(flow.groups)}"
            )
        scale: Tensor = 2 * torch.sigmoid(self.a[flow.groups[self.column]])
        scale = scale[:, :, None, None] if flow.x.dim() == 4 else scale[:, None]
        return flow._replace(x=flow.x * scale.to(flow.x.dtype))
