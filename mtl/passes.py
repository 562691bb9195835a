"""Passes: streams through a model, each by itself, or those of one stem together."""

from collections.abc import Mapping

import torch

from mtl.batch import Batch, Features
from mtl.model import Model

Taps = Mapping[str, set[str]]


def one_by_one(model: Model, batches: Mapping[str, Batch], taps: Taps) -> dict[str, Features]:
    """Run each stream's batch, and give its features with the blocks `taps[stream]`."""
    return {stream: model(stream, batch, taps[stream]) for stream, batch in batches.items()}


def together(model: Model, batches: Mapping[str, Batch], taps: Taps) -> dict[str, Features]:
    """Run streams that share a stem, and whose inputs have one shape, as one batch; the others alone.

    Only what looks at a whole batch tells the difference, such as batch norm: its means are then of all.
    `groups` that not every stream has are left out.
    """
    found: dict[str, Features] = {}
    for streams in _alike(model, batches):
        wanted = set().union(*(taps[stream] for stream in streams))
        features = model(streams[0], _join([batches[stream] for stream in streams]), wanted)
        start = 0
        for stream in streams:
            rows = slice(start, start + len(batches[stream].lengths))
            found[stream], start = _cut(features, rows), rows.stop
    return {stream: found[stream] for stream in batches}


def _alike(model: Model, batches: Mapping[str, Batch]) -> list[list[str]]:
    """Put streams together that can be one batch."""
    kinds: dict[tuple[object, ...], list[str]] = {}
    for stream, batch in batches.items():
        kind = (model.stem(stream), batch.start, batch.inputs.shape[1:])
        kinds.setdefault(kind, []).append(stream)
    return list(kinds.values())


def _join(batches: list[Batch]) -> Batch:
    """Make one batch of what a forward pass looks at."""
    if len(batches) == 1:
        return batches[0]
    known = [name for name in batches[0].groups if all(name in each.groups for each in batches)]
    return Batch(
        torch.cat([each.inputs for each in batches]),
        torch.cat([each.lengths for each in batches]),
        groups={name: torch.cat([each.groups[name] for each in batches]) for name in known},
        start=batches[0].start,
    )


def _cut(f: Features, rows: slice) -> Features:
    taps = {name: _cut(tap, rows) for name, tap in f.taps.items()}
    return Features(f.x[rows], f.lengths[rows], taps)
