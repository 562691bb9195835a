"""layers: copy, freeze, thaw and reset parts of a model by name. Yosinski et al. 2014. Topic: transfer.

Parts are named as in peft:

    "trunk\\.blocks\\.b[12]"       a regular expression for the whole name of a module or parameter
    ["b1", "attention", "a.bias"]  endings of such names, whole parts between dots
    "b1:b3"  ":b2"  "b3:"          blocks of the trunk in its order, both ends included; also in a list

A module that matches stands for all parameters and buffers below it. None of these is an edit: weights
are saved anyway, and what is frozen is a matter of training.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mtl.model import Model

Names = str | Sequence[str]
_RANGE = re.compile(r"(\w*):(\w*)")
_NORM = re.compile(r"norm", re.IGNORECASE)


@dataclass(frozen=True)
class Report:
    """What names matched: `matched` tensors with their shapes, `missing` ones that a source lacks.

    >>> print(Report({"trunk.norm.weight": (8,)}, ["heads.nl.bias"]))
    + trunk.norm.weight (8,)
    - heads.nl.bias
    """

    matched: dict[str, tuple[int, ...]]
    missing: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """List the tensors that matched."""
        return list(self.matched)

    def __str__(self) -> str:
        found = [f"+ {name} {shape}" for name, shape in self.matched.items()]
        return "\n".join([*found, *(f"- {name}" for name in self.missing)])


def freeze(model: Model, names: Names) -> Report:
    """Train the named parts no longer: no gradients, no dropout, no new statistics.

    Raises ValueError where `names`, or one name of several, matches nothing.
    """
    return _train(model, _match(model, names), False)


def thaw(model: Model, names: Names) -> Report:
    """Train the named parts again. Raises ValueError as `freeze` does."""
    return _train(model, _match(model, names), True)


def top(model: Model, blocks: int) -> Report:
    """Train the heads, the trunk's last `blocks` blocks and what follows them, and nothing else.

    0 blocks: the heads only. Raises ValueError for more blocks than there are.
    """
    behind = [f"trunk.{name}" for name in model.trunk.last] if blocks else []
    chosen = [*_blocks(model, blocks)[1], *behind]
    return _only(model, lambda name: name.startswith("heads.") or _below(name, chosen))


def bottom(model: Model, blocks: int) -> Report:
    """Train the stems, what leads to the first block and the first `blocks` blocks, and nothing else.

    Raises ValueError for more blocks than there are.
    """
    rest = ["heads", *(f"trunk.{name}" for name in model.trunk.last)]
    rest += _blocks(model, len(model.trunk.blocks) - blocks)[1]
    return _only(model, lambda name: not _below(name, rest))


def bitfit(model: Model) -> Report:
    """Train biases, normalisations and heads, and nothing else.

    Ben Zaken et al. 2022, section 3. Differs: the scales of normalisations are trained, too.
    """
    norms = [name for name, m in model.named_modules() if _NORM.search(type(m).__name__)]
    return _only(
        model,
        lambda name: name.startswith("heads.") or name.endswith("bias") or _below(name, norms),
    )


def copy(
    model: Model,
    source: Model | Mapping[str, Tensor],
    names: Names,
    *,
    rename: Mapping[str, str] | None = None,
) -> Report:
    """Copy the values of the named parts from another model, or from a state dict.

    `rename` maps regular expressions to replacements, applied in order with `re.sub` to the names of
    `source`, so that they become names of `model`. What the source lacks stays as it is and is reported
    missing. Raises ValueError where nothing matches, where the source has nothing of it, and, naming all
    of them, where shapes differ; then nothing is changed.
    """
    if not isinstance(source, Model | Mapping):
        raise ValueError(
            f"source {source!r:.40} is neither a model nor a state dict: load it first"
        )
    own = _tensors(model)
    given = _renamed(_tensors(source) if isinstance(source, Model) else source, rename or {})
    wanted = _match(model, names)
    if not (found := [name for name in wanted if name in given]):
        raise ValueError(
            f"{names!r} matches {_some(wanted)}, but the source has none of them; it has: "
            f"{_some(given)}: give `rename`"
        )
    if wrong := [name for name in found if given[name].shape != own[name].shape]:
        lines = [f"- {n}: {tuple(given[n].shape)} there, {tuple(own[n].shape)} here" for n in wrong]
        raise ValueError("\n".join(["shapes differ, so nothing was copied:", *lines]))
    with torch.no_grad():
        for name in found:
            own[name].copy_(given[name])
    missing = [name for name in wanted if name not in given]
    return Report({name: tuple(own[name].shape) for name in found}, missing)


def reset(model: Model, names: Names, seed: int = 0) -> Report:
    """Give the named parts the values that building the model with torch's seed `seed` gives them.

    torch's own random state stays. Raises ValueError as `freeze` does.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        fresh = Model.from_config(model.config())
    return copy(model, fresh, names)


def _tensors(model: Model) -> dict[str, Tensor]:
    """Give the parameters and saved buffers themselves, by name."""
    tensors: dict[str, Tensor] = model.state_dict(keep_vars=True)
    return tensors


def _match(model: Model, names: Names) -> list[str]:
    """List the tensors that `names` match, in the model's order."""
    entries = [names] if isinstance(names, str) else list(names or ())
    matched: set[str] = set()
    for entry in entries:
        wanted = _wanted(model, entry, suffix=not isinstance(names, str))
        found = [name for name in _tensors(model) if any(map(wanted, _places(name)))]
        if not found:
            places = dict.fromkeys(place for name in _tensors(model) for place in _places(name))
            hint = "; for endings give a list" if isinstance(names, str) else ""
            blocks = ", ".join(model.trunk.blocks)
            raise ValueError(
                f"{entry!r} matches nothing; there are {_some(places)}; blocks, for ranges such as "
                f"'b1:b2': {blocks}{hint}"
            )
        matched.update(found)
    if not matched:
        raise ValueError("no names were given")
    return [name for name in _tensors(model) if name in matched]


def _wanted(model: Model, entry: str, suffix: bool) -> Callable[[str], object]:
    """Give the test that one entry of the grammar stands for."""
    if ends := _RANGE.fullmatch(entry):
        blocks = list(model.trunk.blocks)
        if unknown := [end for end in ends.groups() if end and end not in blocks]:
            raise ValueError(f"{entry!r}: no block {unknown}; this trunk has: {', '.join(blocks)}")
        first, last = ends[1] or blocks[0], ends[2] or blocks[-1]
        if blocks.index(first) > blocks.index(last):
            raise ValueError(f"{entry!r}: block {first!r} comes after {last!r}")
        chosen = blocks[blocks.index(first) : blocks.index(last) + 1]
        return {f"trunk.blocks.{name}" for name in chosen}.__contains__
    if suffix:
        return lambda place: f".{place}".endswith(f".{entry}")
    try:
        return re.compile(entry).fullmatch
    except re.error as error:
        raise ValueError(f"{entry!r} is not a regular expression: {error}") from error


def _places(name: str) -> list[str]:
    """List a tensor and the modules that hold it: a.b.c gives a, a.b and a.b.c."""
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _below(name: str, places: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{place}.") for place in places)


def _blocks(model: Model, count: int) -> tuple[list[str], list[str]]:
    """Name all but the last `count` blocks, and these, each with what edits put behind it."""
    names = list(model.trunk.blocks)
    if not 0 <= count <= len(names):
        raise ValueError(f"this trunk has {len(names)} blocks: choose 0 to {len(names)} of them")
    cut = len(names) - count
    early, late = (
        [f"trunk.{kind}.{name}" for name in part for kind in ("blocks", "after")]
        for part in (names[:cut], names[cut:])
    )
    return early, late


def _only(model: Model, trained: Callable[[str], bool]) -> Report:
    """Train the parameters of these names and freeze all others."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained(name))
    found = {n: tuple(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    return Report(found)


def _train(model: Model, names: Iterable[str], trained: bool) -> Report:
    own = _tensors(model)
    for name in names:
        if isinstance(own[name], nn.Parameter):
            own[name].requires_grad_(trained)
    return Report({name: tuple(own[name].shape) for name in names})


def _renamed(tensors: Mapping[str, Tensor], rename: Mapping[str, str]) -> dict[str, Tensor]:
    """Apply the key map; two tensors that get one name are an error."""
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        new = name
        for pattern, replacement in rename.items():
            new = re.sub(pattern, replacement, new)
        if new in found:
            raise ValueError(f"`rename` gives two tensors the name {new!r}; one was {name!r}")
        found[new] = value
    return found


def _some(names: Iterable[str], most: int = 12) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return f"{', '.join(listed[:most])}{more}"
