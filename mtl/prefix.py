"""prefix: what the frozen front of a network gives, computed once per example and kept.

`Prefix` wraps a data set and gives what arrives at the first trained block; the model enters there
(`Batch.start`). Where a forward pass takes f in the frozen part and t in the rest, an epoch takes about 3t.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from warnings import warn

import torch
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from mtl.batch import Batch, Example, Flow, collate
from mtl.checkpoint import digest
from mtl.data.cache import Cache
from mtl.device import one_thread
from mtl.model import Model
from mtl.ops import fingerprint
from mtl.predict import chunks
from mtl.progress import Bar
from mtl.registry import describe
from mtl.stream import MULTIPLE, Data


def prefix_end(model: Model, stream: str) -> str | None:
    """Name the block before which all that `stream` runs through is frozen; None where there is none.

    It is the first block with anything trained in it, or put behind it by edits, or the first one that a
    task of the stream reads, or else the last block. `obstacle` says why there is none.
    """
    if obstacle(model, stream):
        return None
    blocks = list(model.trunk.blocks)
    needed = {model.trunk.awaited(task.at) for task in model.tasks_of(stream)}
    trained = [name for name, p in model.trunk.named_parameters() if p.requires_grad]
    needed |= {name.split(".")[1] for name in trained if _below(name, ("blocks", "after"))}
    return next((name for name in blocks if name in needed), blocks[-1])


def obstacle(model: Model, stream: str) -> str:
    """Say why nothing of what `stream` runs through can be kept; empty where something can."""
    stem, trunk = model.stem(stream), model.trunk
    if trained := [name for name, p in stem.named_parameters() if p.requires_grad]:
        return f"the stem of stream {stream!r} is trained ({trained[0]}): freeze it"
    for name, parameter in trunk.named_parameters():
        if parameter.requires_grad and not _below(name, ("blocks", "after", *trunk.last)):
            return f"trunk.{name} is trained, which leads to the first block: freeze it"
    if stem.fixed_seconds:
        return "the trunk takes recordings of one length only, which take too much room"
    return "" if len(trunk.blocks) else "the trunk has no blocks"


class Prefix:
    """A data set whose inputs are what arrives at the first trained block, in 32 bit: (T, D).

    `draws` counts the augmentations that are kept of each example: epoch e gives that of epoch e % draws,
    evaluation the plain example. `cache` (default: 2 GB of memory) may have a folder, which later runs
    share; a full one drops what was used least. Features are stored under a hash of the frozen weights
    and of the example's input and groups, so neither other weights nor other data ever meet them. Labels
    stay in memory.

    All is computed in evaluation mode and without autocast: random masks, such as those of wav2vec 2.0, are
    not drawn. Data workers inherit what `fill` computed before training, and compute what they miss on the
    processor. Maps are stored as (C, H, W). Whether the trunk takes them is tried on the first example.

    Raises ValueError where nothing is frozen (see `obstacle`), where the trunk cannot enter at the block,
    and, at the latest when an example comes again or 32 others did, where the frozen part has changed.
    """

    def __init__(
        self, data: Data, model: Model, stream: str, *, draws: int = 1, cache: Cache | None = None
    ) -> None:
        if draws < 1:
            raise ValueError(f"draws is {draws}; keep at least 1 augmentation of each example")
        self.data, self.draws, self.seconds, self.ids = data, draws, data.seconds, data.ids
        self.cache, self.unit = cache or Cache(dtype=torch.float32), getattr(data, "unit", 1)
        self._front = _Front(model, stream)
        self.block = self._front.block
        # As many frames as its input is padded to: dropout then draws as it would without a cache.
        padded = model.trunk.frames(model.stem(stream).frames(torch.tensor(MULTIPLE)))
        self.multiple = max(int(padded), 1) if getattr(data, "multiple", MULTIPLE) > 1 else 1
        self.settings = f"{getattr(data, 'settings', '')} {self.block} {self._front.hash} {draws}"
        self._known: dict[tuple[int, int | None], tuple[str, Example]] = {}
        self._since: set[int] = set()  # given since the last check, which takes longer than giving

    def __len__(self) -> int:
        return len(self.data)

    def column(self, name: str) -> Sequence[str]:
        """Give a property of every example."""
        return self.data.column(name)

    def labels(self, index: int) -> Mapping[str, Any]:
        """Give an example's raw labels."""
        return self.data.labels(index)

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Give what arrives at the block, computed now (alone) where it is not stored.

        Raises ValueError as the data set does, and where the frozen part has changed; RuntimeError in a
        data worker that would need the accelerator.
        """
        if index in self._since or len(self._since) % 32 == 0:
            self._since.clear()  # first: who failed is checked again
            self._front.check()
        self._since.add(index)
        number = None if draw is None else draw % self.draws
        key, known, load = self._look_up(index, number)
        stored = self.cache.get(key, lambda: self._front.run([load()], self.multiple)[0])
        labels = known.labels if targets else {}
        return known._replace(input=stored, labels=labels, start=self.block)

    def fill(self, batch: float = 60.0, *, plain: bool = False, show: bool = True) -> int:
        """Compute all that is missing, `batch` seconds (or examples) at once; give how many that were.

        All `draws` are filled, or, with `plain`, what evaluation takes. The model computes where it is: move
        it to the accelerator first. Passes over examples that cannot be used; warns of too small a cache.
        """
        self._front.check()
        draws: Sequence[int | None] = [None] if plain else range(self.draws)
        todo = [(draw, chunk) for draw in draws for chunk in chunks(self.seconds, batch)]
        computed = 0
        with Bar(f"features up to {self.block}", len(todo), show=show) as bar:
            for done, (draw, chunk) in enumerate(todo):
                missing = self._missing(chunk, draw)
                features = self._front.run(list(missing.values()), self.multiple) if missing else []
                for key, x in zip(missing, features, strict=True):
                    self.cache.get(key, lambda x=x: x)  # type: ignore[misc]
                computed += len(missing)
                bar.update(done + 1, f"{computed} computed")
        keys = {key for key, _ in self._known.values()} if self.cache.folder is None else set()
        if lost := sum(self.cache.find(key) is None for key in keys):
            warn(
                f"the cache is too small for {lost} of {len(keys)} examples, which will be computed one "
                "by one in every epoch: give it more megabytes, or a folder",
                stacklevel=2,
            )
        return computed

    def _missing(self, chunk: Sequence[int], draw: int | None) -> dict[str, Example]:
        """Load the examples whose features are not stored, by key."""
        missing = {}
        for index in chunk:
            with suppress(ValueError):  # named and counted when training or evaluation asks for it
                key, _, load = self._look_up(index, draw)
                if self.cache.find(key) is None:
                    missing[key] = load()
        return missing

    def _look_up(self, index: int, draw: int | None) -> tuple[str, Example, Callable[[], Example]]:
        """Give an example's key, all of it but the input, and how to get it whole.

        It is loaded the first time: only its input says what its features are.
        """

        def load() -> Example:
            with one_thread():  # as while training: several would round differently
                return self.data.example(index, draw)

        if (index, draw) in self._known:
            return *self._known[index, draw], load
        example = load()
        if example.input.dim() == 3:
            self.multiple = 1  # an image's tokens are never padded
        key = fingerprint(
            {"input": example.input}, self._front.hash, sorted(example.groups.items())
        )
        rest = example._replace(input=example.input.new_empty(0))
        self._known[index, draw] = key, rest
        return key, rest, lambda: example


class _Front:
    """The frozen part of a model that a stream runs through, up to `block`; `hash` tells it from others."""

    def __init__(self, model: Model, stream: str) -> None:
        end = prefix_end(model, stream)
        if end is None:
            raise ValueError(f"no part of the network can be kept: {obstacle(model, stream)}")
        self.model, self.stream, self.block = model, stream, end
        self._held = _held(model, stream, end)
        self._marks, self.hash, self._tried = self._mark(), self._weigh(), False

    def check(self) -> None:
        """Raise ValueError where this part is not what it was."""
        marks = self._mark()
        if marks == self._marks:
            return
        if thawed := [p for p, old in self._marks.items() if marks[p][-1] != old[-1]]:
            raise ValueError(
                f"{thawed[0]}, before block {self.block!r}, is trained now: make a new Prefix"
            )
        if self._weigh() != self.hash:  # what was written again may be the same
            raise ValueError(f"weights before block {self.block!r} have changed: make a new Prefix")
        self._marks = marks

    def run(self, examples: list[Example], multiple: int) -> list[Tensor]:
        """Give what arrives at the block, without padding, on the processor."""
        device = next(self.model.parameters()).device
        if get_worker_info() is not None and device.type != "cpu":
            raise RuntimeError(
                f"{examples[0].id} is not stored, and data workers cannot compute on {device.type}: call "
                "fill() before training, with a cache that holds everything, or train with workers=0"
            )
        mode = self.model.training
        self.model.eval()
        try:
            with torch.autocast(device.type, enabled=False):
                if not self._tried:
                    self._try(collate(examples[:1]).to(device), multiple)
                with torch.no_grad():
                    flow = self._arriving(collate(examples).to(device))
                    return self.model.trunk.store(flow, self.block)
        finally:
            self.model.train(mode)

    def _arriving(self, batch: Batch) -> Flow:
        """Run a batch up to the block."""
        handle = self.model.trunk.blocks[self.block].register_forward_pre_hook(_stop)
        try:
            names = list(self.model.trunk.blocks)  # columns run where they are asked for
            self.model(self.stream, batch, names[names.index(self.block) :])
        except _Arrived as arrived:
            return arrived.flow
        finally:
            handle.remove()
        raise ValueError(f"this trunk never runs its block {self.block!r}")

    def _try(self, batch: Batch, multiple: int) -> None:
        """Raise ValueError unless one example gives the same from the block on, padded, as it does whole."""
        flow, problem = self._arriving(batch), ""
        if flow.x.requires_grad:
            raise ValueError(f"what arrives at block {self.block!r} depends on trained weights")
        first = self.model.trunk.store(flow, self.block)[0]
        stored = collate([Example(first, start=self.block)], multiple)
        with torch.no_grad():
            x, lengths, _ = self.model(self.stream, batch)
            try:
                again = self.model(self.stream, stored.to(x.device)._replace(groups=batch.groups))
                close = torch.allclose(again.x[:, : x.shape[1]], x, rtol=1e-3, atol=1e-4)
                problem = (
                    "" if close and again.lengths.equal(lengths) else "its output would differ"
                )
            except (KeyError, RuntimeError, ValueError) as error:
                problem = str(error)
        if problem:
            raise ValueError(f"the trunk cannot be entered at block {self.block!r}: {problem}")
        self._tried = True

    def _mark(self) -> dict[str, tuple[int, int, bool]]:
        """Mark where each tensor lies, how often it was written, and whether it is trained."""
        return {
            place: (value.data_ptr(), value._version, value.requires_grad)
            for place, value in self._values()
        }

    def _weigh(self) -> str:
        """Hash names and values, and the settings of what holds them."""
        parts = describe(self.model.stem(self.stream)), describe(self.model.trunk), self.model.edits
        return fingerprint(dict(self._values()), digest(*parts), self.block)

    def _values(self) -> list[tuple[str, Tensor]]:
        """Look the tensors up: a model that moves to another device gets other buffers."""
        return [(place, owner[name]) for place, owner, name in self._held]


class _Arrived(Exception):
    """Ends a forward pass, with what a block was given."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow


def _stop(_: nn.Module, given: tuple[Flow]) -> None:
    raise _Arrived(given[0])


def _held(model: Model, stream: str, block: str) -> list[tuple[str, dict[str, Any], str]]:
    """List the tensors that decide what arrives at a block: (place, what a module holds, its name there)."""
    stem, trunk, blocks = model.stem(stream), model.trunk, list(model.trunk.blocks)
    later = [f"{part}.{n}" for n in blocks[blocks.index(block) :] for part in ("blocks", "after")]
    # Some models use what `leave` uses on entering as well; what is trained they cannot.
    trained = [name for name, p in trunk.named_parameters() if p.requires_grad]
    later += [last for last in trunk.last if any(_below(name, (last,)) for name in trained)]
    names = [("stem", stem, name) for name in stem.state_dict()]
    names += [("trunk", trunk, name) for name in trunk.state_dict() if not _below(name, later)]
    held = []
    for part, encoder, name in names:
        above, _, own = name.rpartition(".")
        module = encoder.get_submodule(above)
        owner: dict[str, Any] = module._parameters if own in module._parameters else module._buffers
        held.append((f"{part}.{name}", owner, own))
    return held


def _below(name: str, places: Sequence[str]) -> bool:
    return f"{name}.".startswith(tuple(f"{place}." for place in places))
