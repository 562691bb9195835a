"""members: who has which row of the edits by member, saved with the model. Topic: transfer."""

from collections.abc import Sequence

from mtl.model import Model, edit


@edit
def members(model: Model, column: str, names: Sequence[str]) -> None:
    """Say that in the edits that look into `column`, row n is for the n-th of `names`, from 1; 0 is nobody.

    Nothing else changes; `mtl.members.numbers` reads it. Raises ValueError for names that are empty or
    repeat, for a column that has names already, and where an edit has another number of rows, or none looks
    there.
    """
    if wrong := sorted({name for name in names if not name or list(names).count(name) > 1}):
        raise ValueError(f"members {wrong} of {column!r} are empty or repeat")
    if any(entry["name"] == "members" and entry["column"] == column for entry in model.edits):
        raise ValueError(f"the members of {column!r} have names already")
    edits = [entry for entry in model.edits if "size" in entry]
    sizes = {entry["size"] for entry in edits if entry.get("column", "speaker") == column}
    if sizes != {len(names) + 1}:
        raise ValueError(
            f"{len(names)} members of {column!r} need edits of size {len(names) + 1} (0 is nobody); "
            f"there are: {', '.join(map(str, sorted(sizes))) or 'none'}"
        )
