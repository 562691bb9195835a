"""adapter: a narrow residual network behind each block. Houlsby et al. 2019, section 2.1. Topic: adaptation.

One per speaker: Tomanek et al. 2021. Differs: one a block instead of two inside it, normalised ahead of it
as in Bapna and Firat 2019 but without weights, and no biases.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from mtl.batch import Flow
from mtl.model import Model, edit
from mtl.ops import members


@edit
def adapter(
    model: Model,
    size: int,
    dim: int = 16,
    column: str = "speaker",
    blocks: Sequence[str] | None = None,
) -> None:
    """Add gelu(norm(x) down) up to what leaves `blocks` (default: all), down and up per member of a group.

    `size` counts the members; `Batch.groups[column]` (B,) says which one spoke; `dim` is the width
    between down and up. All up start at zero, so nothing changes until they are trained. Raises
    ValueError for a block the trunk lacks.
    """
    own = "adapter" if column == "speaker" else f"adapter-{column}"  # several columns go together
    for name, wide in model.trunk.block_dims(blocks).items():
        model.trunk.put_after(name, own, Bottleneck(size, wide, dim, column))


class Bottleneck(nn.Module):
    """Adds gelu(norm(x) down) up to x, down and up by group member."""

    def __init__(self, size: int, wide: int, dim: int, column: str) -> None:
        super().__init__()
        self.wide, self.column = wide, column
        # Everyone starts alike, so that what is learnt of a speaker does not depend on a number.
        down = torch.randn(wide, dim) / wide**0.5
        self.down = nn.Parameter(down.repeat(size, 1, 1))
        self.up = nn.Parameter(torch.zeros(size, dim, wide))

    def forward(self, flow: Flow) -> Flow:
        """Change the frames (B, T, D) or maps (B, D, H, W) of each example by its member's weights.

        Raises ValueError for another width, such as that of maps whose channels are last.
        """
        maps = flow.x.dim() == 4
        x = flow.x.flatten(2).mT if maps else flow.x
        if x.shape[2] != self.wide:
            raise ValueError(
                f"x of shape {tuple(flow.x.shape)}; an adapter of width {self.wide} takes frames "
                f"(B, T, {self.wide}) or maps (B, {self.wide}, H, W): leave this block out of `blocks`"
            )
        down, up = (
            members(values, flow.groups, self.column, "adapter").to(x.dtype)
            for values in (self.down, self.up)
        )
        update = F.gelu(F.layer_norm(x, x.shape[2:]) @ down) @ up
        update = update.mT.reshape(flow.x.shape) if maps else update
        return flow._replace(x=flow.x + update.to(flow.x.dtype))
