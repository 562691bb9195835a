"""grown: models whose trunk became columns by edits: what growing freezes, and proof that it stays so."""

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from mtl.model import Model, WrongModel
from mtl.ops import fingerprint
from mtl.routed import Routed

SEALED = "sealed"  # in an edit: the hash of every part that it froze
ADDED = re.compile(r"\b(after|before)\.|lora_")  # weights that edits put into parts


def grow(
    model: Model,
    columns: Routed,
    column: str,
    name: str,
    arguments: Mapping[str, Any],
    sealed: Mapping[str, str] | None,
) -> None:
    """Make `columns` the trunk of a model, freeze all but the new column, and record the edit `name`.

    Tasks that read the trunk, or a block of it, read its first column. `sealed` are the hashes that a saved
    model came with; without, they are taken.
    """
    new = {f"trunk.blocks.{column}"}
    columns.get_submodule(f"blocks.{column}").to(next(model.parameters()).device)
    if model.trunk is not columns:
        first = next(iter(columns.blocks))
        for task in model.tasks.values():
            at = first if task.at is None else f"{first}.{task.at}"
            model.tasks[task.name] = task._replace(at=at)
        model.trunk = columns
        model.register_load_state_dict_post_hook(_check)  # type: ignore[no-untyped-call]
    columns.train(model.training)
    known = {part for edit in model.edits for part in edit.get(SEALED, ())}
    changed = list(thawed(model)) if sealed is None else []
    hashes = hash_parts(model, _parts(model) - known - new) if sealed is None else dict(sealed)
    columns.frozen.clear()  # also what was thawed is frozen again
    _freeze(model, known | hashes.keys())
    seal(model, changed)
    model.edits.append({"name": name, "column": column, **arguments, SEALED: hashes})


def drop(model: Model, column: str) -> None:
    """Take away a column that no other reads, with the tasks that read it; what was frozen stays so.

    Without its last grown column a model has its first trunk again. Raises ValueError for a column that was
    not grown, that others read, of which a task shares its head with one that reads another, or that an
    edit made since may hold on to.
    """
    columns = model.trunk
    ours = [edit for edit in model.edits if SEALED in edit]
    gone = [edit for edit in ours if edit["column"] == column]
    if not gone or not isinstance(columns, Routed):
        known = ", ".join(edit["column"] for edit in ours) or "none"
        raise ValueError(f"column {column!r} was not grown; these were: {known}")
    if readers := columns.readers(column):
        raise ValueError(f"column {column!r} is read by {', '.join(readers)}: drop that first")
    leaving = [n for n, task in model.tasks.items() if (task.at or "").split(".")[0] == column]
    for task in model.tasks.values():
        if task.head in leaving and task.name not in leaving:
            raise ValueError(f"task {task.name!r} uses the head of {task.head!r}: remove it first")
    _refuse_edited(model, gone[0], last=len(ours) == 1)
    for name in leaving:
        del model.tasks[name]
        if name in model.heads:
            del model.heads[name]
    columns.remove(column)
    model.edits.remove(gone[0])
    if len(ours) == 1:
        model.trunk = columns.described()
        for name, task in model.tasks.items():
            model.tasks[name] = task._replace(at=(task.at or "").partition(".")[2] or None)
    else:
        heir = next(edit for edit in ours if edit is not gone[0])
        heir[SEALED] = {**gone[0][SEALED], **heir[SEALED]}
        seal(model)


def _refuse_edited(model: Model, gone: dict[str, Any], last: bool) -> None:
    """Raise ValueError for edits that could not be replayed without the column that `gone` grew."""
    since = [e for e in model.edits[model.edits.index(gone) :] if SEALED not in e]
    named = re.compile(rf"\b{re.escape(gone['column'])}\b")
    if odd := [edit for edit in since if last or named.search(json.dumps(edit))]:
        raise ValueError(
            f"edit {odd[0]['name']!r} came after column {gone['column']!r} was grown, and may hold on to it: "
            "take the model as it was before that edit"
        )


def seal(model: Model, parts: Iterable[str] | None = None) -> None:
    """Take what was frozen as it is now for what loading expects: after a change on purpose.

    `parts` are those meant, by name (default: all).
    """
    for edit in model.edits:
        if SEALED in edit:
            meant = set(edit[SEALED]) & set(edit[SEALED] if parts is None else parts)
            kept = {part: edit[SEALED][part] for part in edit[SEALED] if part not in meant}
            edit[SEALED] = kept | hash_parts(model, _parts(model) & meant)


def thawed(model: Model) -> dict[str, str]:
    """Name the parts that growing froze and that hold something trained now, with the column then grown."""
    found = {part: edit["column"] for edit in model.edits for part in edit.get(SEALED, ())}
    frozen = model.trunk.frozen & _parts(model) if isinstance(model.trunk, Routed) else set()
    return {
        part: column
        for part, column in found.items()
        if part in frozen and any(p.requires_grad for p in model.get_submodule(part).parameters())
    }


def warn_thawed(model: Model) -> None:
    """Warn of what is about to be trained although growing froze it."""
    for part, column in thawed(model).items():
        own = model.get_submodule(part).named_parameters()
        if not any(p.requires_grad and not ADDED.search(name) for name, p in own):
            continue
        warnings.warn(
            f"{part} was frozen when column {column!r} was grown, and is trained now: old tasks change, and "
            "what is saved loads only after `mtl.grown.seal(model)`",
            stacklevel=2,
        )


def _check(model: Model, _: Any) -> None:
    """After loading: freeze what growing froze; raise WrongModel where its values are not those of then.

    What was thawed since, or holds what a later edit put there to be trained, may have changed.
    """
    for edit in model.edits:
        hashes = edit.get(SEALED, {})
        _freeze(model, hashes)
        kept = hashes.keys() - thawed(model)
        now = hash_parts(model, _parts(model) & kept)
        if odd := sorted(part for part in kept if now.get(part) != hashes[part]):
            raise WrongModel(
                f"{', '.join(odd)}: not as frozen when column {edit['column']!r} was grown: the weights are "
                "of another model, or were changed (if on purpose: `mtl.grown.seal` it before saving)"
            )


def hash_parts(model: Model, parts: Iterable[str]) -> dict[str, str]:
    """Hash the values of parts of a model, by name."""
    return {part: fingerprint(model.get_submodule(part).state_dict()) for part in sorted(parts)}


def _parts(model: Model) -> set[str]:
    """Name the stems, heads and columns, and what edits put around columns, that hold any values."""
    above = {"stems", "heads", "trunk", "trunk.blocks", "trunk.before", "trunk.after"}
    above |= {f"trunk.after.{block}" for block in model.trunk.after}
    inside = {n: m for n, m in model.named_modules() if n.rpartition(".")[0] in above}
    return {name for name, module in inside.items() if name not in above and module.state_dict()}


def _freeze(model: Model, parts: Iterable[str]) -> None:
    """Freeze parts, once: whoever thaws one means it."""
    if isinstance(model.trunk, Routed):
        for part in set(parts) & _parts(model) - model.trunk.frozen:
            model.get_submodule(part).requires_grad_(False)
            model.trunk.frozen.add(part)
