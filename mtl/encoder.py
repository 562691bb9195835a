"""Encoder: the shared form of stems and trunks, an ordered list of named blocks."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtl.batch import Batch, Features, Flow


class Encoder(nn.Module):
    """A stem or trunk: raw input or frames in, a padded sequence (B, T, dim) with lengths out.

    A subclass sets `dim`, fills `blocks` (ordered, input side first) and writes `enter`, `leave` or both.
    Every constructor argument is kept as an attribute of the same name: that is its saved configuration.
    `after[block]` holds what edits put behind a block, such as LHUC, and `before` what they put ahead of
    `enter`, such as LIN. For speech, `hz` is the sample rate of raw input, `frames_per_second` the rate of
    prepared input, and `fixed_seconds` the length to which every utterance is padded (0: none). `last`
    names the modules that `leave` uses. `checkpointing` computes blocks again in the backward pass, for
    less memory.
    """

    hz: int = 16000
    frames_per_second: float = 100.0
    fixed_seconds: float = 0.0
    last: tuple[str, ...] = ()
    checkpointing: bool = False

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.before = nn.ModuleDict()
        self.blocks = nn.ModuleDict()
        self.after = nn.ModuleDict()

    def prepare(self, raw: Tensor) -> Tensor:
        """Turn one raw example into what `enter` takes; runs in the data worker and may be cached."""
        return raw

    def prepare_map(self, raw: Tensor) -> Tensor:
        """Fit a map (H, W), a number per pixel of a picture, as `prepare` fits the picture: (H', W').

        Numbers are picked, never mixed. Raises ValueError for stems that cannot say how.
        """
        raise ValueError(
            f"the stem {type(self).__name__} fits no maps to pictures; use another, such as pixels"
        )

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the output frames of prepared inputs: integer tensor to integer tensor."""
        return lengths

    def enter(self, batch: Batch) -> Flow:
        """Everything before the first block."""
        return Flow(batch.inputs, batch.lengths, batch.groups)

    def rejoin(self, batch: Batch) -> Flow:
        """What arrives at a block, from its stored `inputs` (B, T, dim): masks and such, made anew."""
        return Flow(batch.inputs, batch.lengths, batch.groups)

    def leave(self, flow: Flow) -> Features:
        """Everything after the last block."""
        return Features(flow.x, flow.lengths)

    def tap(self, flow: Flow) -> Features:
        """What a head on an inner block gets: a sequence (B, T, D), also of maps."""
        return Features(flow.x, flow.lengths)

    def forward(
        self, batch: Batch, taps: Iterable[str] = (), start: tuple[str, Flow] | None = None
    ) -> Features:
        """Run the blocks; `taps` names inner blocks to hand out, `start` is (block, what it gets).

        Raises ValueError for taps that are no blocks, or that come before `start`.
        """
        wanted = self._known(taps)
        names = list(self.blocks)
        flow = self._entered(batch) if start is None else start[1]
        first = 0 if start is None else names.index(start[0])
        if start is not None and (early := wanted & set(names[:first])):
            raise ValueError(f"blocks {sorted(early)} are not run: inputs enter at {start[0]!r}")
        kept = {}
        for name in names[first:]:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                flow = checkpoint(self.blocks[name], flow, use_reentrant=False)
            else:
                flow = self.blocks[name](flow)
            for edit in self.after[name].children() if name in self.after else ():
                flow = edit(flow)
            if name in wanted:
                kept[name] = self.tap(flow)
        return self.leave(flow)._replace(taps=kept)

    def put_before(self, name: str, module: nn.Module) -> None:
        """Let `module`, from Batch to Batch, run ahead of `enter`; the names of the weights stay."""
        if name in self.before:
            raise ValueError(f"the encoder already has {name!r} ahead of it")
        self.before[name] = module

    def put_after(self, block: str, name: str, module: nn.Module) -> None:
        """Let `module`, from Flow to Flow, run behind a block; the names of the weights stay."""
        if block not in self.after:
            self.after[block] = nn.ModuleDict()
        inserted = self.after[block]
        if not isinstance(inserted, nn.ModuleDict) or name in inserted:
            raise ValueError(f"block {block!r} already has {name!r} behind it")
        inserted[name] = module

    def block_dims(self, blocks: Iterable[str] | None = None) -> dict[str, int]:
        """Give the width behind each of `blocks` (default: all); ValueError for one that is missing."""
        chosen = list(self.blocks) if blocks is None else list(blocks)
        self._known(chosen)
        return {name: getattr(self.blocks[name], "dim", self.dim) for name in chosen}

    def _entered(self, batch: Batch) -> Flow:
        for edit in self.before.values():
            batch = edit(batch)
        return self.enter(batch)

    def _known(self, taps: Iterable[str]) -> set[str]:
        wanted = set(taps)
        if unknown := wanted - set(self.blocks):
            raise ValueError(f"no block {sorted(unknown)}; this encoder has: {list(self.blocks)}")
        return wanted
