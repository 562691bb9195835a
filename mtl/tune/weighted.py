"""weighted: a learnt mean of all blocks' outputs in place of the last. Yang et al. 2021, SUPERB, section 3.2.

Topic: transfer.
"""

import torch
from torch import nn

from mtl.batch import Flow
from mtl.model import Model, edit


@edit
def weighted(model: Model) -> None:
    """Let the trunk's end be the mean of its blocks' outputs, weighted by a learnt softmax.

    All weights start equal. Edits made before act on a block's output before it is weighed; those made
    later, behind the last block, on the mean. Raises ValueError where blocks have several widths.

    Differs: what enters the first block is not weighed.
    """
    blocks = model.trunk.blocks
    widths = {name: getattr(block, "dim", model.trunk.dim) for name, block in blocks.items()}
    if len(set(widths.values())) > 1:
        raise ValueError(f"blocks of several widths have no mean: {widths}")
    for number, name in enumerate(blocks):
        model.trunk.put_after(name, "weighted", Weigh(not number, number + 1 == len(blocks)))


class Weigh(nn.Module):
    """Adds a block's output to the sum that `flow.extra` carries; the last one divides it."""

    def __init__(self, first: bool, last: bool) -> None:
        super().__init__()
        self.first, self.last = first, last
        self.logit = nn.Parameter(torch.zeros(1))

    def forward(self, flow: Flow) -> Flow:
        """Add exp(logit) times the frames; raises ValueError where earlier blocks were left out."""
        if not self.first and "weighted" not in flow.extra:
            raise ValueError("a weighted sum needs all blocks: start at the first one")
        weight = self.logit.exp()
        total, weights = (0, 0) if self.first else flow.extra["weighted"]
        total, weights = total + weight * flow.x, weights + weight
        if self.last:
            return flow._replace(x=(total / weights).to(flow.x.dtype))
        return flow._replace(extra={**flow.extra, "weighted": (total, weights)})
