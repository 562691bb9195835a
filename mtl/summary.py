"""Summary: what a model consists of, in a line for each stem, block and head."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from torch import nn


class Part(NamedTuple):
    """A line: the part's role and name, its kind, its own parameters, what is frozen, and remarks."""

    role: str
    name: str
    kind: str
    size: int
    frozen: str
    remark: str


def summary(model: Any) -> str:
    """Write what a `mtl.Model` consists of: a line for each part, its parameters, and what is frozen.

    Parameters that parts share count where they come first, so that the lines add up to the total.
    """
    parts = list(_parts(model))
    every = list(model.parameters())
    frozen = sum(p.numel() for p in every if not p.requires_grad)
    total = f"{type(model).__name__}: {sum(p.numel() for p in every):,} parameters"
    lines = [f"{total}, {frozen:,} of them frozen" if frozen else total]
    cells = [(p.role, p.name, p.kind, f"{p.size:,}", p.frozen, p.remark) for p in parts]
    widths = [max((len(row[place]) for row in cells), default=0) for place in range(6)]
    for row in cells:
        padded = [
            cell.rjust(width) if place == 3 else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(f"  {'  '.join(padded)}".rstrip())
    return "\n".join(lines)


def _parts(model: Any) -> Iterator[Part]:
    """Give the parts from the input to the output."""
    seen: set[int] = set()
    for name, stem in model.stems.items():
        streams = [stream for stream, modality in model.streams.items() if modality == name]
        remark = f"streams {', '.join(streams)}" if streams != [name] else ""
        yield _part("stem", name, _kind(stem, stem.before), [stem], seen, remark)
    trunk = model.trunk
    for name, block in trunk.blocks.items():
        behind = dict(trunk.after[name].named_children()) if name in trunk.after else {}
        kind = _kind(block, behind)
        yield _part("block", name, kind, [block, *behind.values()], seen, "")
    yield _part("trunk", "the rest", _kind(trunk, trunk.before), [trunk], seen, "")
    for task in model.tasks.values():
        remark = f"reads {task.stream}" + (f" at {task.at}" if task.at else "")
        remark += ", auxiliary" if task.auxiliary else ""
        yield _part(
            "head",
            task.name,
            _kind(model.head(task.name), ()),
            [model.head(task.name)],
            seen,
            remark,
        )


def _kind(module: nn.Module, edits: Iterable[str]) -> str:
    """Name a module's class, and the edits beside it."""
    return " + ".join([type(module).__name__, *edits])


def _part(
    role: str, name: str, kind: str, modules: Iterable[nn.Module], seen: set[int], remark: str
) -> Part:
    """Count the parameters that no part before this one has."""
    own = {id(p): p for module in modules for p in module.parameters() if id(p) not in seen}
    seen.update(own)
    free = [p.requires_grad for p in own.values()]
    frozen = "" if all(free) else "in part frozen" if any(free) else "frozen"
    return Part(role, name, kind, sum(p.numel() for p in own.values()), frozen, remark)
