"""Batch: what travels from the data to the heads. Padded tensors with integer lengths.

Letters: B batch, T frames, D width, U labels, V symbols.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Labels(NamedTuple):
    """The targets of one task for a batch.

    `values` is (B,) for classes, (B, U) padded for sequences, (B, ...) for maps; `lengths` (B,) counts
    the valid ones of a sequence; `present` (B,) is False where an example has no label of this task.
    """

    values: Tensor
    lengths: Tensor | None = None
    present: Tensor | None = None

    def select(self, rows: Tensor) -> "Labels":
        """Keep the examples `rows` (R,), an index tensor."""
        return Labels(*(None if part is None else part[rows] for part in self))  # type: ignore[arg-type]


class Batch(NamedTuple):
    """Examples of one stream.

    `inputs` is (B, N) samples, (B, T, D) frames or (B, C, H, W) pixels; `lengths` (B,) counts valid
    samples or frames (the width for images); `labels` maps a task's label name to its targets, empty for
    unlabelled data; `weights` (B,) weighs the losses; `groups` holds class indices such as the speaker;
    `ids` name the examples in caches and messages. Where `start` names a block of the trunk, `inputs`
    (B, T, D) are what arrives there: stored outputs of a frozen prefix.
    """

    inputs: Tensor
    lengths: Tensor
    labels: dict[str, Labels] = {}
    weights: Tensor | None = None
    groups: dict[str, Tensor] = {}
    ids: tuple[str, ...] = ()
    start: str = ""

    def to(self, device: torch.device | str) -> "Batch":
        """Move every tensor to `device`."""
        moved: Batch = _move(self, device)
        return moved


class Flow(NamedTuple):
    """What one block hands to the next: `x` (B, T, D), `lengths` (B,), masks and such in `extra`."""

    x: Tensor
    lengths: Tensor
    groups: dict[str, Tensor] = {}
    extra: dict[str, Any] = {}


class Features(NamedTuple):
    """An encoder's output: `x` (B, T, D), `lengths` (B,), and the inner blocks asked for by name."""

    x: Tensor
    lengths: Tensor
    taps: dict[str, "Features"] = {}

    def at(self, block: str | None) -> "Features":
        """Give the output, or the tap of `block`."""
        return self if block is None else self.taps[block]

    def select(self, rows: Tensor) -> "Features":
        """Keep the examples `rows` (R,), an index tensor; taps are dropped."""
        return Features(self.x[rows], self.lengths[rows])


class Example(NamedTuple):
    """One example before batching: `input` (N,), (T, D) or (C, H, W); a missing label has no key.

    `start` names the block of the trunk that takes the input; empty for the stem.
    """

    input: Tensor
    labels: Mapping[str, Tensor] = {}
    weight: float = 1.0
    groups: Mapping[str, int] = {}
    id: str = ""
    start: str = ""


def collate(examples: Sequence[Example], multiple: int = 1) -> Batch:
    """Pad examples to one batch, sequences to a length that `multiple` divides.

    >>> short, long = Example(torch.ones(2), id="a"), Example(torch.ones(3), id="b")
    >>> batch = collate([short, long])
    >>> batch.inputs.tolist(), batch.lengths.tolist()
    ([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]], [2, 3])
    """
    first = examples[0].input
    if len({example.start for example in examples}) > 1:
        raise ValueError(f"examples of one batch start at {sorted({e.start for e in examples})}")
    image = first.dim() == 3
    lengths = [example.input.shape[-1 if image else 0] for example in examples]
    inputs = torch.stack([e.input for e in examples]) if image else pad([e.input for e in examples])
    if not image and inputs.shape[1] % multiple:
        short = -inputs.shape[1] % multiple
        inputs = torch.cat([inputs, inputs.new_zeros(len(inputs), short, *inputs.shape[2:])], 1)
    names = sorted({name for example in examples for name in example.labels})
    groups = {
        name: torch.tensor([example.groups[name] for example in examples])
        for name in examples[0].groups
    }
    return Batch(
        inputs=inputs,
        lengths=torch.tensor(lengths),
        labels={name: _labels([e.labels.get(name) for e in examples]) for name in names},
        weights=torch.tensor([example.weight for example in examples]),
        groups=groups,
        ids=tuple(example.id for example in examples),
        start=examples[0].start,
    )


def pad(tensors: Sequence[Tensor]) -> Tensor:
    """Stack tensors of unequal first dimension, zeros behind the shorter ones: (B, longest, ...).

    >>> pad([torch.ones(1), torch.ones(2)]).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True)


def _labels(values: Sequence[Tensor | None]) -> Labels:
    """Batch one task's targets; absent ones become zeros that `present` marks."""
    known = next(value for value in values if value is not None)
    present = torch.tensor([value is not None for value in values])
    if known.dim() != 1:
        filled = [torch.zeros_like(known) if value is None else value for value in values]
        return Labels(torch.stack(filled), None, present)
    filled = [known.new_zeros(0) if value is None else value for value in values]
    return Labels(pad(filled), torch.tensor([len(value) for value in filled]), present)


def _move(item: Any, device: torch.device | str) -> Any:
    """Move the tensors in nested tuples and dicts."""
    if isinstance(item, Tensor):
        return item.to(device, non_blocking=True)
    if isinstance(item, dict):
        return {key: _move(value, device) for key, value in item.items()}
    if isinstance(item, Batch | Labels):
        return type(item)(*(_move(part, device) for part in item))
    return item
