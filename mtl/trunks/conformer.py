"""conformer: feed-forward, attention, convolution, feed-forward. Gulati et al. 2020."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder
from mtl.layers import Attention, Depthwise, Dropout, FeedForward, attention_extra, mask_padding


class Conformer(Encoder):
    """Conformer blocks b1 ... bN: (B, T, dim) -> (B, T, dim).

    Padding is zero in the output; in inner blocks it holds numbers that mean nothing and reach no frame.

    Differs: rotary positions for relative ones; LayerNorm for BatchNorm, whose statistics see padding.
    """

    def __init__(
        self,
        dim: int = 144,
        depth: int = 6,
        heads: int = 4,
        expansion: int = 4,
        kernel: int = 15,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(dim)
        self.takes, self.depth, self.heads, self.expansion = dim, depth, heads, expansion
        self.kernel, self.dropout = kernel, dropout
        for index in range(depth):
            self.blocks[f"b{index + 1}"] = Block(dim, heads, expansion, kernel, dropout)

    def enter(self, batch: Batch) -> Flow:
        """Build the masks and rotary tables that all blocks share."""
        # Under autocast the skip connections stay exact: gradient errors shrink to a third, for free.
        x = batch.inputs.to(next(self.parameters()).dtype)
        extra = attention_extra(x, batch.lengths, self.heads)
        return Flow(x, batch.lengths, batch.groups, extra)

    def rejoin(self, batch: Batch) -> Flow:
        """Blocks take what `enter` takes."""
        return self.enter(batch)

    def leave(self, flow: Flow) -> Features:
        """Set padding to zero."""
        return Features(mask_padding(flow.x, flow.lengths), flow.lengths)


class Block(nn.Module):
    """One Conformer block."""

    def __init__(self, dim: int, heads: int, expansion: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first = FeedForward(dim, expansion, dropout)
        self.attention = Attention(dim, heads, dropout)
        self.convolution = Convolution(dim, kernel, dropout)
        self.second = FeedForward(dim, expansion, dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, flow: Flow) -> Flow:
        """Run the four sublayers, each on top of a skip connection."""
        x = flow.x
        x = torch.add(x, self.first(x), alpha=0.5)
        x = x + self.attention(x, flow.extra["rotary"], flow.extra["keys"])
        x = x + self.convolution(x, flow.extra["kept"])
        x = torch.add(x, self.second(x), alpha=0.5)
        return flow._replace(x=self.norm(x))


class Convolution(nn.Module):
    """Gate, depthwise convolution over `kernel` frames, and mix: (B, T, dim) -> (B, T, dim)."""

    def __init__(self, dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.inward = nn.Linear(dim, 2 * dim)
        self.depthwise = Depthwise(dim, kernel)
        self.inner = nn.LayerNorm(dim)
        self.outward = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, kept: Tensor | None) -> Tensor:
        """Convolve; `kept` (B, T, 1) is 0 behind an utterance's end and 1 elsewhere, None for all 1."""
        x = F.glu(self.inward(self.norm(x)))
        if kept is not None:
            x = x * kept.to(x.dtype)
        x = F.silu(self.inner(self.depthwise(x)))
        out: Tensor = self.dropout(self.outward(x))
        return out
