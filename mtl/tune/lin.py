"""LIN: a linear layer per speaker ahead of the network. Neto et al. 1995, section 3. Topic: adaptation.

Seide et al. 2011 (fDLR) share the layer among the frames of a window, as it is done here.
"""

import torch
from torch import nn

from mtl.batch import Batch
from mtl.model import Model, edit
from mtl.ops import members


@edit
def lin(model: Model, size: int, column: str = "speaker", modality: str = "speech") -> None:
    """Turn the prepared frames x of a modality into x + x W + b, with W and b per member of a group.

    `size` counts the members; `Batch.groups[column]` (B,) says which one spoke. All W and b start at
    zero, so nothing changes until they are trained. Raises ValueError for a modality that the model
    lacks, or whose stem takes something else than frames.
    """
    if modality not in model.stems:
        raise ValueError(f"no modality {modality!r}; this model has: {', '.join(model.stems)}")
    stem = model.stem(modality)
    bins = getattr(stem, "bins", None)
    if bins is None:
        raise ValueError(
            f"LIN maps frames, and the stem {type(stem).__name__} of {modality!r} takes none: choose a "
            "model whose stem is logmel or frames, or another edit, such as lhuc"
        )
    stem.put_before("lin", Linear(size, bins, column))


class Linear(nn.Module):
    """Adds x W + b to the frames x, W and b by group member."""

    def __init__(self, size: int, bins: int, column: str) -> None:
        super().__init__()
        self.column = column
        self.weight = nn.Parameter(torch.zeros(size, bins, bins))
        self.bias = nn.Parameter(torch.zeros(size, bins))

    def forward(self, batch: Batch) -> Batch:
        """Map the frames (B, T, bins); what becomes of padding, stems set to zero again.

        Raises ValueError for inputs that are not frames, such as raw samples.
        """
        x = batch.inputs
        if x.dim() != 3:
            raise ValueError(
                f"LIN maps prepared frames (B, T, {self.bias.shape[1]}); the inputs have shape "
                f"{tuple(x.shape)}: run the stem's `prepare` on each example"
            )
        weight, bias = (
            members(values, batch.groups, self.column, "LIN") for values in (self.weight, self.bias)
        )
        return batch._replace(inputs=x + torch.baddbmm(bias[:, None], x, weight))
