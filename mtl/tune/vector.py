"""vector: a vector per member, added to frames. Toshniwal et al. 2018; Kannan et al. 2019. Topic: transfer.

With the language as member: the trunk is told what it hears. Differs: they append the vector, or a one to
zeros, to the frames; a linear layer behind would add a vector of its own making all the same.
"""

import torch
from torch import nn

from mtl.batch import Batch
from mtl.model import Model, edit
from mtl.ops import members, valid


@edit
def vector(model: Model, size: int, column: str = "speaker") -> None:
    """Add one vector per member of a group to the frames that enter the trunk.

    `size` counts the members; `Batch.groups[column]` (B,) says which one spoke. All vectors start at zero, so
    nothing changes until they are trained. Raises ValueError for a trunk that takes something else than
    frames of its own width, such as samples.
    """
    dim = model.trunk.dim
    if odd := {name: stem.dim for name, stem in model.stems.items() if stem.dim != dim}:
        raise ValueError(
            f"a vector of width {dim} cannot be added to what stems give this trunk, of width {odd}: "
            "choose adapter or lhuc, which act behind its blocks"
        )
    # Of one name per column, so that languages and speakers have vectors side by side.
    name = "vector" if column == "speaker" else f"vector-{column}"
    model.trunk.put_before(name, Vector(size, dim, column))


class Vector(nn.Module):
    """Adds v to the frames, v by group member."""

    def __init__(self, size: int, dim: int, column: str) -> None:
        super().__init__()
        self.column = column
        self.v = nn.Parameter(torch.zeros(size, dim))

    def forward(self, batch: Batch) -> Batch:
        """Add each example's vector to its frames (B, T, dim); padding stays as it is.

        Raises ValueError for inputs that are not frames, such as maps.
        """
        x = batch.inputs
        if x.dim() != 3:
            raise ValueError(f"a vector is added to frames (B, T, D), not to {tuple(x.shape)}")
        added = members(self.v, batch.groups, self.column, "vector").to(x.dtype)
        kept = valid(batch.lengths, x.shape[1])[..., None]
        return batch._replace(inputs=x + added[:, None] * kept.to(x.dtype))
