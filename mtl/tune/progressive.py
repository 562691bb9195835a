"""progressive: a new column beside frozen ones for each task. Rusu et al. 2016. Topic: transfer."""

from collections.abc import Mapping, Sequence
from typing import Any

from mtl.encoder import Encoder
from mtl.grown import grow
from mtl.model import Model
from mtl.registry import construct, describe
from mtl.trunks.columns import Columns


def progressive(
    model: Model,
    column: str,
    trunk: Mapping[str, Any] | None = None,
    *,
    laterals: Sequence[str] | None = None,
    begin: str = "",
    first: str = "first",
    sealed: Mapping[str, str] | None = None,
) -> None:
    """Freeze all that the model has, and grow a column: a task `at=column` reads it, others what they read.

    `trunk` describes the column's trunk as a saved configuration does, {"name": "conformer", "dim": 96, ...}
    (default: as the column before). `laterals` names the columns that feed it (default: all). `begin` names
    one whose weights it starts with. The trunk that the model has so far becomes the column `first`. A head
    for the new task comes with `model.add(Task(..., at=column))`; a stem for a new modality, by
    `model.stems[name] = stem` and `model.streams[name] = name`.

    What is frozen stays so to the bit: its hash (`sealed`, which is computed) is saved with the model, and
    compared whenever weights are loaded: see `mtl.grown`, which also drops columns, and seals what was thawed
    and trained on purpose. Raises ValueError for names that are taken or unknown, trunks that are not cut
    into blocks or take something else than the first one, and weights that do not fit.

    >>> from mtl.stems.frames import Frames
    >>> from mtl.trunks.transformer import Transformer
    >>> model = Model({"speech": Frames(4, dim=8)}, Transformer(8, depth=2, heads=2))
    >>> progressive(model, "fr", first="de")
    >>> list(model.trunk.blocks), [n for n, _ in model.named_parameters() if _.requires_grad][0]
    (['de', 'fr'], 'trunk.blocks.fr.trunk.blocks.b1.attention.norm.weight')
    """
    known = model.trunk if isinstance(model.trunk, Columns) else None
    if known is None and model.trunk.described() is not model.trunk:
        raise ValueError("this trunk has columns of another kind: grow them with `lora_columns`")
    columns = known or Columns(first, model.trunk)
    first, names = next(iter(columns.blocks)), list(columns.blocks)
    new = construct("trunks", dict(trunk) if trunk else describe(columns.reaching(None)))
    if begin:
        _copy(columns.trunk(begin), new, begin)
    columns.grow(column, new, names if laterals is None else laterals)
    arguments = {"trunk": describe(new), "laterals": columns.column(column).sources}
    arguments |= {"begin": begin, "first": first}
    grow(model, columns, column, "progressive", arguments, sealed)


def _copy(source: Encoder, new: Encoder, name: str) -> None:
    """Copy weights; what edits added to the source stays behind."""
    values, own = source.state_dict(), new.state_dict()
    if odd := [key for key in own if key not in values or values[key].shape != own[key].shape]:
        raise ValueError(
            f"the column cannot begin with the weights of {name!r}, which differ in {odd[0]}: give no trunk, "
            "or one of the same settings"
        )
    new.load_state_dict({key: values[key] for key in own})
