"""Delta: what an adaptation changed, alone: taken from a model, kept in one file, worn by the model again.

Edits of `mtl/tune` with an argument `size` are by member: each speaker has a row of the tensors they
add. Of these a delta holds one row, and a model wears any number of such deltas at once.
"""

import copy
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mtl.atomic import atomic_file
from mtl.checkpoint import digest
from mtl.model import Model
from mtl.naming import as_name, file_name, name_of, names
from mtl.ops import fingerprint
from mtl.registry import describe, edit_function

FORMAT = 1  # raised when an older reader would misread a file, or an edit's tensors change
Edit = dict[str, Any]


class Delta(NamedTuple):
    """What an adaptation changed.

    `base` maps each part of the unadapted model that this builds on ("stems", "trunk", "heads.de") to
    its hash, see `parts`. `edits` are those that adapting added, `tensors` what they hold and what else
    differs from the base. A delta of one member has edits of size 1 and rows (1, ...). `notes`
    says how it came about, in plain JSON.
    """

    name: str
    base: dict[str, str]
    edits: list[Edit]
    tensors: dict[str, Tensor]
    notes: dict[str, Any]


def take(
    model: Model,
    base: Model,
    name: str,
    member: int | None = None,
    strength: float = 1.0,
    **notes: Any,
) -> Delta:
    """Give what of `model`, an adapted copy of `base`, differs from it.

    With `member`, this member's rows of by-member edits; without, all that differs, the speaker being
    member 1 of such edits. `strength` goes from the base (0) to the adapted model (1): tensors are
    interpolated (Wortsman et al. 2022, WiSE-FT, section 3); of those that an edit added, only the ones
    that it starts at zero, lest B A of LoRA be scaled twice. It joins the `notes`. Raises ValueError for
    a bad name or strength, a model that is no copy of the base with edits added, a member that an edit
    lacks, and where more than its rows changed.
    """
    name = as_name(name)
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; it goes from 0 (the base) to 1 (as adapted)")
    edits = _new_edits(model, base, member)
    start, shared = _edited(base, edits)
    adapted = {
        key: value if member is None or key in shared else value[member : member + 1]
        for key, value in _values(model).items()
    }
    if odd := {key for key, *_ in _forms(start) ^ _forms(adapted)}:
        raise ValueError(f"not as in the base after these edits: {', '.join(sorted(odd)[:5])}")
    tensors = {}
    for key, old in start.items():
        new = adapted[key]
        if key in shared or not old.any():  # doubles, which hold counters as well
            new = torch.lerp(old.double(), new.double(), strength).to(old.dtype)
        if key not in shared or not new.equal(old):
            tensors[key] = new.clone(memory_format=torch.contiguous_format)
    changed = [key for key in tensors if key in shared]
    if member is not None and changed:
        raise ValueError(
            f"{', '.join(changed[:5])}: changed for all members, which a delta of member {member} "
            "cannot hold: freeze it, or take the whole model (member=None)"
        )
    heads = {".".join(key.split(".")[:2]) for key in changed if key.startswith("heads.")}
    hashes = parts(base, ["stems", "trunk", *sorted(heads)])
    return Delta(name, hashes, edits, tensors, _plain({"strength": strength, **notes}))


def wear(model: Model, deltas: Sequence[Delta]) -> dict[str, int]:
    """Put `deltas` on `model`, in place, and give their numbers: {"": 0, "anna": 1}, "" being nobody.

    That is what `Speech(groups={"speaker": numbers})` takes. Any number of deltas of one member go
    together, also of different edits; one that changes the whole model goes alone. Raises ValueError, and
    leaves the model as it is, for deltas of another model, of one name, or that do not go together.

    >>> from mtl.stems.frames import Frames
    >>> from mtl.trunks.transformer import Transformer
    >>> from mtl.tune.lhuc import lhuc
    >>> base = Model({"speech": Frames(4, dim=8)}, Transformer(8, depth=1, heads=2))
    >>> model = copy.deepcopy(base)
    >>> lhuc(model, size=2)  # nobody and anna; now train it
    >>> anna = take(model, base, "anna", member=1, utterances=10)
    >>> anna.tensors["trunk.after.b1.lhuc.a"].shape, size(anna), anna.notes
    (torch.Size([1, 8]), 32, {'strength': 1.0, 'utterances': 10})
    >>> wear(base, [anna])
    {'': 0, 'anna': 1}
    """
    listed = ", ".join(repr(delta.name) for delta in deltas)
    numbers = {"": 0} | {delta.name: number for number, delta in enumerate(deltas, 1)}
    if len(numbers) <= len(deltas):
        raise ValueError(f"deltas {listed}: two of one name; rename a file")
    _refuse_foreign(model, deltas)
    own = model.state_dict().keys()
    whole = [
        d for d in deltas if own & d.tensors.keys() or any(e.get("size") != 1 for e in d.edits)
    ]
    if whole and len(deltas) > 1:
        raise ValueError(f"{whole[0].name!r} changes the whole model: load it alone, not {listed}")
    try:
        edits = whole[0].edits if whole else _merged(deltas)
        _edited(model, edits)  # on a copy first
    except ValueError as error:
        raise ValueError(f"{listed} do not go together: {error.args[0]}") from error
    device = next(model.parameters()).device
    _replay(model, edits)
    model.to(device).train(model.training)  # what edits add comes on the processor, and training
    values = model.state_dict()
    for number, delta in enumerate(deltas, 1):
        for key, value in delta.tensors.items():
            (values[key] if whole else values[key][number : number + 1]).copy_(value)
    return numbers


def save(delta: Delta, folder: str | PathLike[str]) -> Path:
    """Write `<folder>/<name>.safetensors` at once or not at all, over an older one.

    What of the name no file can bear is encoded, see `mtl.naming`; it lists and finds them by true name.
    Raises ValueError for an empty name, `mtl.atomic.DiskFull` when the disk fills.
    """
    from safetensors.torch import save_file

    about = {"format": FORMAT, "name": as_name(delta.name), "base": delta.base}
    about |= {"edits": delta.edits, "notes": delta.notes}
    target = Path(folder, file_name(delta.name))
    with atomic_file(target) as path:
        save_file(delta.tensors, path, metadata={"mtl": json.dumps(about)})
    return target


def read(path: str | PathLike[str]) -> Delta:
    """Read what `save` wrote; who renames the file renames the speaker.

    FileNotFoundError lists what lies beside it; ValueError for what is no delta, or needs a newer mtl.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        known = ", ".join(names(path.parent)) or "none"
        raise FileNotFoundError(
            f"no delta {name_of(path, None)!r} in {path.parent}; it has: {known}"
        )
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("mtl", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    kinds = {"format": int, "base": dict, "edits": list, "notes": dict}
    given = about if isinstance(about, dict) else {}
    if odd := [name for name, kind in kinds.items() if not isinstance(given.get(name), kind)]:
        raise ValueError(f"{path} is no delta of mtl: its metadata lack {', '.join(sorted(odd))}")
    if about["format"] > FORMAT:
        raise ValueError(f"{path}: format {about['format']} is newer than {FORMAT}: upgrade mtl")
    name = name_of(path, str(about.get("name") or ""))
    return Delta(name, about["base"], about["edits"], tensors, about["notes"])


def folder_beside(source: str | PathLike[str]) -> Path:
    """Give where a model's deltas lie: `speakers` beside its folder, or here for a model of the hub."""
    path = Path(source)
    if not path.is_dir():
        return Path("speakers")
    return (path if path.name not in ("", "..") else path.resolve()).parent / "speakers"


def size(delta: Delta) -> int:
    """Count the bytes of a delta's tensors."""
    return sum(value.nbytes for value in delta.tensors.values())


def parts(model: Model, names: Iterable[str]) -> dict[str, str]:
    """Hash parts of a model, "stems", "trunk", "heads.de": values, configuration and the model's edits.

    Values count to the bit: hash the model as it was loaded. ValueError for a part that it lacks.
    """
    there: dict[str, Iterable[nn.Module]] = {"stems": model.stems.values(), "trunk": [model.trunk]}
    there |= {f"heads.{name}": [head] for name, head in model.heads.items()}
    found = {}
    for name in names:
        if name not in there:
            raise ValueError(f"no part {name!r}; this model has: {', '.join(there)}")
        described = [describe(module) for module in there[name]]
        values = model.get_submodule(name).state_dict()
        found[name] = fingerprint(values, digest(described, model.edits))
    return found


def _new_edits(model: Model, base: Model, member: int | None) -> list[Edit]:
    """Give the edits that `model` has beyond its base, of size 1 where one member is wanted."""
    ours, theirs = _plain(model.config()), _plain(base.config())
    new: list[Edit] = ours["edits"][len(theirs["edits"]) :]
    ours["edits"] = ours["edits"][: len(theirs["edits"])]
    if odd := [key for key in theirs if ours[key] != theirs[key]]:
        raise ValueError(f"no copy of the base with edits added: {', '.join(odd)} differ")
    for edit in new:
        if member is not None and not 0 <= member < edit.get("size", 0):
            raise ValueError(f"member {member} has no row of its own in {edit}")
        if member is None and edit.get("size", 2) < 2:
            raise ValueError(f"one member only in {edit}: give member=0")
    return new if member is None else [edit | {"size": 1} for edit in new]


def _edited(base: Model, edits: Iterable[Edit]) -> tuple[dict[str, Tensor], set[str]]:
    """Give the values of `base` after fresh `edits`, and the names that its own tensors then have."""
    memo: dict[int, Any] = {  # the copy shares the values, not the parameters: edits freeze some
        id(value): nn.Parameter(value.detach(), value.requires_grad)
        for value in base.state_dict(keep_vars=True).values()
    }
    own = {id(value) for value in memo.values()}
    model = copy.deepcopy(base, memo)
    _replay(model, edits)
    found = model.state_dict(keep_vars=True)
    return _values(model), {key for key, value in found.items() if id(value) in own}


def _replay(model: Model, edits: Iterable[Edit]) -> None:
    with torch.random.fork_rng(devices=[]):  # what is drawn next does not depend on deltas
        for edit in edits:
            arguments = {key: value for key, value in edit.items() if key != "name"}
            edit_function(edit["name"])(model, **arguments)


def _values(model: Model) -> dict[str, Tensor]:
    return {key: value.detach().cpu() for key, value in model.state_dict().items()}


def _forms(values: Mapping[str, Tensor]) -> set[tuple[str, torch.Size, torch.dtype]]:
    return {(key, value.shape, value.dtype) for key, value in values.items()}


def _refuse_foreign(model: Model, deltas: Sequence[Delta]) -> None:
    there = parts(model, ["stems", "trunk", *(f"heads.{name}" for name in model.heads)])
    for delta in deltas:
        odd = {part for part, value in delta.base.items() if there.get(part) != value}
        wrong = [f"{part} {'differs' if part in there else 'is missing'}" for part in sorted(odd)]
        if wrong:
            raise ValueError(
                f"delta {delta.name!r} was made on another model ({', '.join(wrong)}): "
                "adapt again, or load the model it was made on"
            )


def _merged(deltas: Sequence[Delta]) -> list[Edit]:
    """List the distinct edits, with a row for each delta and nobody; each delta finds its own order."""
    order: TopologicalSorter[str] = TopologicalSorter()
    for delta in deltas:
        keys = [json.dumps(_spelt_out(edit), sort_keys=True) for edit in delta.edits]
        for number, key in enumerate(keys):
            order.add(key, *keys[:number])
    return [json.loads(key) | {"size": 1 + len(deltas)} for key in order.static_order()]


def _spelt_out(edit: Edit) -> Edit:
    """Add the defaults of an edit's arguments, so that equal edits look alike."""
    arguments = inspect.signature(edit_function(edit["name"])).parameters.values()
    return {p.name: p.default for p in arguments if p.default is not p.empty} | edit


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
