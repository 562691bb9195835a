"""lora_columns: a column of low rank for each task beside frozen ones. Hu et al. 2021; Rusu et al. 2016.

Topic: transfer.
"""

from collections.abc import Mapping

from mtl.grown import grow
from mtl.model import Model
from mtl.trunks.lowrank import LowRank


def lora_columns(
    model: Model,
    column: str,
    rank: int = 8,
    alpha: float = 16.0,
    targets: str = r"blocks\..*",
    first: str = "first",
    sealed: Mapping[str, str] | None = None,
) -> None:
    """Freeze all that the model has, and grow a column of low-rank updates: a task `at=column` reads it.

    Layers of the trunk that match `targets`, a regular expression for whole names, get alpha / rank * B A x,
    and what earlier columns have there with learnt scales: see `mtl.trunks.lowrank`. B starts at zero, so
    that the column starts near the trunk as it was, which becomes the column `first`. All else is as with
    `progressive`; the two do not mix. Raises ValueError for a trunk that has other columns, names that are
    taken, and targets that match nothing.

    >>> from mtl.stems.frames import Frames
    >>> from mtl.trunks.transformer import Transformer
    >>> model = Model({"speech": Frames(4, dim=8)}, Transformer(8, depth=1, heads=2))
    >>> lora_columns(model, "fr", rank=2, targets=r"blocks\\.b1\\.attention\\..*")
    >>> sum(p.numel() for p in model.parameters() if p.requires_grad)  # 2 (8 + 24) + 2 (8 + 8)
    96
    """
    known = model.trunk if isinstance(model.trunk, LowRank) else None
    if known is None and model.trunk.described() is not model.trunk:
        raise ValueError("this trunk has columns of another kind: grow them with `progressive`")
    columns = known or LowRank(first, model.trunk)
    columns.grow(column, rank, alpha, targets)
    arguments = {"rank": rank, "alpha": alpha, "targets": targets}
    arguments |= {"first": next(iter(columns.blocks))}
    grow(model, columns, column, "lora_columns", arguments, sealed)
