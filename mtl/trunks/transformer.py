"""transformer: attention and feed-forward, normalised before. Vaswani et al. 2017; Xiong et al. 2020."""

from torch import nn

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder
from mtl.layers import Attention, FeedForward, attention_extra, mask_padding


class Transformer(Encoder):
    """Transformer blocks b1 ... bN: (B, T, dim) -> (B, T, dim).

    Padding is zero in the output; in inner blocks it holds numbers that mean nothing and reach no frame.

    Differs: rotary positions for sinusoids that are added.
    """

    last = ("norm",)

    def __init__(
        self,
        dim: int = 144,
        depth: int = 6,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(dim)
        self.takes, self.depth, self.heads = dim, depth, heads
        self.expansion, self.dropout = expansion, dropout
        for index in range(depth):
            self.blocks[f"b{index + 1}"] = Block(dim, heads, expansion, dropout)
        self.norm = nn.LayerNorm(dim)

    def enter(self, batch: Batch) -> Flow:
        """Build the mask and rotary tables that all blocks share."""
        # Under autocast the skip connections stay exact: gradient errors shrink to a third, for free.
        x = batch.inputs.to(next(self.parameters()).dtype)
        extra = attention_extra(x, batch.lengths, self.heads)
        return Flow(x, batch.lengths, batch.groups, extra)

    def rejoin(self, batch: Batch) -> Flow:
        """Blocks take what `enter` takes."""
        return self.enter(batch)

    def leave(self, flow: Flow) -> Features:
        """Normalise, and set padding to zero."""
        return Features(mask_padding(self.norm(flow.x), flow.lengths), flow.lengths)


class Block(nn.Module):
    """One Transformer block."""

    def __init__(self, dim: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.feed_forward = FeedForward(dim, expansion, dropout)

    def forward(self, flow: Flow) -> Flow:
        """Run the two sublayers, each on top of a skip connection."""
        x = flow.x + self.attention(flow.x, flow.extra["rotary"], flow.extra["keys"])
        return flow._replace(x=x + self.feed_forward(x))
