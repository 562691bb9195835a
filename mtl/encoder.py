"""Encoder: the shared form of stems and trunks, an ordered list of named blocks."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtl.batch import Batch, Features, Flow

Beside = Callable[[Flow], Tensor]


class Encoder(nn.Module):
    """A stem or trunk: raw input or frames in, a padded sequence (B, T, dim) with lengths out.

    A subclass sets `dim`, fills `blocks` (ordered, input side first) and writes `enter`, `leave` or both.
    Every constructor argument is kept as an attribute of the same name: that is its saved configuration.
    `after[block]` holds what edits put behind a block, such as LHUC, and `before` what they put ahead of
    `enter`, such as LIN. For speech, `hz` is the sample rate of raw input, `frames_per_second` the rate of
    prepared input, and `fixed_seconds` the length to which every utterance is padded (0: none). `last`
    names the modules that `leave` uses. `checkpointing` computes blocks again in the backward pass, for
    less memory. `maps` says of a trunk where the channels of the maps are that its blocks hand on: "first",
    "last", or "" for sequences; `takes` which width it takes, 0 for raw signals.
    """

    hz: int = 16000
    frames_per_second: float = 100.0
    fixed_seconds: float = 0.0
    last: tuple[str, ...] = ()
    checkpointing: bool = False
    maps: str = ""
    takes: int = 0

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

    def store(self, flow: Flow, block: str) -> list[Tensor]:
        """Cut what arrives at a block into its examples, sequences without their padding."""
        x, lengths = flow.x.detach().float().cpu(), flow.lengths.tolist()
        return list(x) if x.dim() == 4 else [x[row, :length] for row, length in enumerate(lengths)]

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
        flow = self.entered(batch) if start is None else start[1]
        first = 0 if start is None else names.index(start[0])
        if start is not None and (early := wanted & set(names[:first])):
            raise ValueError(f"blocks {sorted(early)} are not run: inputs enter at {start[0]!r}")
        kept = {}
        for name in names[first:]:
            flow = self.advance(name, flow)
            if name in wanted:
                kept[name] = self.tap(flow)
        return self.leave(flow)._replace(taps=kept)

    def advance(self, name: str, flow: Flow, beside: Beside | None = None) -> Flow:
        """Run a block, and what edits put behind it.

        `beside` gives, from the block's output, what is added to it: ahead of its last nonlinearity, where
        the block tells that apart, by `weigh` (Flow to Flow) and `activate` (Flow to Flow).
        """
        run = self.blocks[name] if beside is None else partial(_add, self.blocks[name], beside)
        if self.checkpointing and self.training and torch.is_grad_enabled():
            flow = checkpoint(run, flow, use_reentrant=False)
        else:
            flow = run(flow)
        return self.behind(name, flow)

    def behind(self, name: str, flow: Flow) -> Flow:
        """Run what edits put behind a block."""
        for edit in self.after[name].children() if name in self.after else ():
            flow = edit(flow)
        return flow

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

    def dim_at(self, at: str | None) -> int:
        """Give the width at a block, or at the end; ValueError for a block that is missing."""
        return self.dim if at is None else self.block_dims([at])[at]

    def resolve(self, at: str | None) -> str | None:
        """Name the place that a new task reads which asks for `at`."""
        return at

    def awaited(self, at: str | None) -> str | None:
        """Name the block that must run for a task that reads `at`, where stored inputs replace others."""
        return at

    def reaching(self, at: str | None) -> "Encoder":
        """Give the encoder whose frames a task that reads `at` gets."""
        return self

    def described(self) -> "Encoder":
        """Give the encoder whose settings are saved for this one; edits make it what it is."""
        return self

    def entered(self, batch: Batch) -> Flow:
        """Run what edits put ahead of `enter`, and `enter`."""
        for edit in self.before.values():
            batch = edit(batch)
        return self.enter(batch)

    def _known(self, taps: Iterable[str]) -> set[str]:
        wanted = set(taps)
        if unknown := wanted - set(self.blocks):
            raise ValueError(f"no block {sorted(unknown)}; this encoder has: {list(self.blocks)}")
        return wanted


def _add(block: nn.Module, beside: Beside, flow: Flow) -> Flow:
    """Add what stands beside a block to what it gives."""
    weigh, activate = getattr(block, "weigh", None), getattr(block, "activate", None)
    out: Flow = weigh(flow) if weigh and activate else block(flow)
    out = out._replace(x=out.x + beside(out))
    return activate(out) if weigh and activate else out
