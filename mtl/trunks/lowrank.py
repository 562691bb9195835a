"""lowrank: one frozen trunk that columns of low rank change, each with those before.

Hu et al. 2021, beside the columns of Rusu et al. 2016.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder
from mtl.lateral import SCALE
from mtl.routed import Routed


class LowRank(Routed):
    """A trunk `base`, and columns of updates: with W, column k has B_k A_k and the sum of a_kj B_j A_j.

    The sum is over earlier columns j, its scales a learnt per layer; a column costs what its A and B hold.
    The first column is the trunk as it is. All columns share what leads to the first block; from there on the
    trunk is run once for each column that is asked for.

    Made by `mtl.tune.lora_columns`, and saved as the trunk and edits. As columns differ from the first block
    on, what arrives there is all that can be stored of what is frozen (see `mtl.prefix`).
    """

    def __init__(self, name: str, trunk: Encoder) -> None:
        super().__init__(trunk.dim)
        self.takes, self.maps, self.base = trunk.takes, trunk.maps, trunk
        self.blocks[self.name_new(name)] = Updates({}, 0.0)

    def trunk(self, column: str) -> Encoder:
        """Give the trunk, which all columns share."""
        self.there(column)
        return self.base

    def readers(self, column: str) -> list[str]:
        """Name the columns that were grown later: all of them use it."""
        names = list(self.blocks)
        return names[names.index(column) + 1 :]

    def grow(self, name: str, rank: int, alpha: float, targets: str) -> None:
        """Add a column of `rank` to the linear layers and convolutions of the blocks that match `targets`.

        Raises ValueError for a name that is taken, a rank below 1, and where nothing matches.
        """
        self.name_new(name)
        if rank < 1:
            raise ValueError(f"rank is {rank}; give at least 1")
        blocks = self.base.blocks
        layers = {n: m for n, m in blocks.named_modules() if _is_linear(m) and _called(blocks, n)}
        chosen = {n: m for n, m in layers.items() if re.fullmatch(targets, f"blocks.{n}")}
        if not chosen:
            listed = ", ".join(f"blocks.{name}" for name in list(layers)[:12])
            raise ValueError(
                f"{targets!r} matches no linear layer or convolution of the blocks; they have: {listed}"
            )
        earlier = [cast(Updates, updates) for updates in self.blocks.values()]
        made = {
            name: Update(layer, rank, sum(name in updates for updates in earlier))
            for name, layer in chosen.items()
        }
        self.blocks[name] = Updates(made, alpha / rank)

    def forward(
        self, batch: Batch, taps: Iterable[str] = (), start: tuple[str, Flow] | None = None
    ) -> Features:
        """Run the columns that `taps` name, or the newest; `x` is the end of the last of them.

        Raises ValueError for taps that there are not.
        """
        wanted, order = self._known(taps), list(self.blocks)
        asked = {tap.partition(".")[0] for tap in wanted} or {order[-1]}
        entered = self.base.entered(self._before(batch)) if start is None else start[1]
        kept = {}
        for column in sorted(asked, key=order.index):
            flow = self.blocks[column](entered)
            for block in self.base.blocks:
                flow = self._advance(column, block, flow)
                if f"{column}.{block}" in wanted:
                    kept[f"{column}.{block}"] = self.base.tap(flow)
            last = self.ended(column, self.base.leave(flow), flow)
            kept[column] = last
        return last._replace(taps=kept)

    def store(self, flow: Flow, block: str) -> list[Tensor]:
        """Cut what arrives at the first block of the trunk into examples."""
        return self.base.store(flow, next(iter(self.base.blocks)))

    def rejoin(self, batch: Batch) -> Flow:
        """Give what was stored to the first block of the trunk."""
        return self.base.rejoin(batch._replace(start=next(iter(self.base.blocks))))

    def _before(self, batch: Batch) -> Batch:
        for edit in self.before.values():
            batch = edit(batch)
        return batch

    def _advance(self, column: str, block: str, flow: Flow) -> Flow:
        run = partial(self._run, column, block)
        if self.checkpointing and self.training and torch.is_grad_enabled():
            flow = checkpoint(run, flow, use_reentrant=False)
        else:
            flow = run(flow)
        return self.base.behind(block, flow)

    def _run(self, column: str, block: str, flow: Flow) -> Flow:
        """Run a block with a column's updates, also when it is run again for the backward pass."""
        with self._changed(column, block):
            out: Flow = self.base.blocks[block](flow)
        return out

    @contextmanager
    def _changed(self, column: str, block: str) -> Iterator[None]:
        """Let the layers of a block feel a column's updates, and those before with its scales."""
        order = list(self.blocks)
        earlier = [cast(Updates, self.blocks[n]) for n in order[: order.index(column)]]
        own = cast(Updates, self.blocks[column])
        with ExitStack() as stack:
            for name in own.names():
                if name.partition(".")[0] == block:
                    used = [(each.of(name), each.factor) for each in earlier if name in each]
                    hook = partial(_add, own.of(name), own.factor, used)
                    layer = self.base.blocks.get_submodule(name)
                    stack.callback(layer.register_forward_hook(hook).remove)
            yield

    def train(self, mode: bool = True) -> "LowRank":
        """Set the training mode; a frozen trunk keeps evaluating."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.base.parameters()):
            self.base.eval()
        return self


class Update(nn.Module):
    """B A beside a layer, and the scales of the updates that were there before. B starts at zero."""

    def __init__(self, layer: nn.Module, rank: int, earlier: int) -> None:
        super().__init__()
        self.scales = nn.Parameter(SCALE * (1 + 0.1 * torch.randn(earlier)))
        down, up = _pair(layer, rank)
        self.down, self.up = down, up
        nn.init.zeros_(cast(Tensor, up.weight))

    def forward(self, x: Tensor) -> Tensor:
        """Give B A x."""
        out: Tensor = self.up(self.down(x))
        return out


class Updates(nn.Module):
    """The updates of a column, by the name of their layer, all times `factor`."""

    def __init__(self, updates: dict[str, Update], factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.updates = nn.ModuleDict({name.replace(".", "/"): u for name, u in updates.items()})

    def forward(self, flow: Flow) -> Flow:
        """Give what a column begins with, unchanged: it is called where others run their first block."""
        return flow

    def __contains__(self, name: str) -> bool:
        return name.replace(".", "/") in self.updates

    def of(self, name: str) -> Update:
        """Give the update of a layer."""
        return cast(Update, self.updates[name.replace(".", "/")])

    def names(self) -> list[str]:
        """Name the layers."""
        return [name.replace("/", ".") for name in self.updates]


def _add(
    own: Update,
    factor: float,
    earlier: Sequence[tuple[Update, float]],
    _: nn.Module,
    given: tuple[Any, ...],
    out: Tensor,
) -> Tensor:
    """Add to what a layer gave, as a forward hook does."""
    total: Tensor = out + factor * own(given[0])
    for scale, (update, weight) in zip(own.scales, earlier, strict=True):
        total = total + scale * weight * update(given[0])
    return total


def _pair(layer: nn.Module, rank: int) -> tuple[nn.Module, nn.Module]:
    """Make A, which looks where the layer looks, and B."""
    if isinstance(layer, nn.Linear):
        return (
            nn.Linear(layer.in_features, rank, bias=False),
            nn.Linear(rank, layer.out_features, bias=False),
        )
    kind = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Conv1d
    old = cast(nn.Conv2d, layer)
    where = (old.kernel_size, old.stride, old.padding, old.dilation)
    down: Any = kind(old.in_channels, rank, *where, bias=False)  # type: ignore[arg-type]
    return down, kind(rank, old.out_channels, 1, bias=False)


def _called(blocks: nn.Module, name: str) -> bool:
    """Tell whether a layer is called: torchvision's Swin only reads its weights, which no hook sees."""
    holder = blocks.get_submodule(name.rpartition(".")[0])
    return not type(holder).__name__.startswith("ShiftedWindowAttention")


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return module.groups == 1
    unused = nn.modules.linear.NonDynamicallyQuantizableLinear  # read by attention, never called
    return isinstance(module, nn.Linear) and not isinstance(module, unused)
