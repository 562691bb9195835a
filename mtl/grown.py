"""grown: models whose trunk became columns by edits: what growing freezes, and proof that it stays so."""

from collections.abc import Iterable, Mapping
from typing import Any

from mtl.model import Model, WrongModel
from mtl.ops import fingerprint
from mtl.routed import Routed

SEALED = "sealed"  # in an edit: the hash of every part that it froze


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
    hashes = hash_parts(model, _parts(model) - known - new) if sealed is None else dict(sealed)
    _freeze(model, hashes)
    model.edits.append({"name": name, "column": column, **arguments, SEALED: hashes})


def drop(model: Model, column: str) -> None:
    """Take away a column that no other reads, with the tasks that read it; what was frozen stays so.

    Without its last grown column a model has its first trunk again. Raises ValueError for a column that was
    not grown, that others read, or of which a task shares its head with one that reads another.
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


def seal(model: Model) -> None:
    """Take what is frozen as it is now for what loading expects: after a change on purpose."""
    for edit in model.edits:
        if SEALED in edit:
            edit[SEALED] = hash_parts(model, _parts(model) & set(edit[SEALED]))


def _check(model: Model, _: Any) -> None:
    """After loading: freeze what growing froze; raise WrongModel where its values are not those of then."""
    for edit in model.edits:
        hashes = edit.get(SEALED, {})
        _freeze(model, hashes)
        now = hash_parts(model, _parts(model) & set(hashes))
        if odd := sorted(part for part in hashes if now.get(part) != hashes[part]):
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
    for part in set(parts) & _parts(model):
        model.get_submodule(part).requires_grad_(False)
