"""routed: encoders whose blocks are columns, one of which each task reads by its name."""

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from mtl.batch import Features, Flow
from mtl.encoder import Encoder


class Routed(Encoder):
    """Columns side by side: `at="fr"` reads the end of one, `at="fr.b2"` a block of its trunk.

    A subclass says which trunk a column has, and what it was made of is what is saved. `frozen` names what of
    its model growing froze: see `mtl.grown`.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.frozen: set[str] = set()

    def trunk(self, column: str) -> Encoder:
        """Give the trunk of a column. Raises ValueError for one that is missing."""
        raise NotImplementedError

    def there(self, column: str) -> nn.Module:
        """Give a column. Raises ValueError for one that is missing."""
        if column not in self.blocks:
            raise ValueError(f"no column {column!r}; this trunk has: {', '.join(self.blocks)}")
        return self.blocks[column]

    def readers(self, column: str) -> list[str]:
        """Name the columns that need another."""
        raise NotImplementedError

    def remove(self, column: str) -> None:
        """Forget a column."""
        del self.blocks[column]
        if column in self.after:
            del self.after[column]
        self.dim = self.reaching(None).dim

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the frames of the newest column."""
        return self.reaching(None).frames(lengths)

    def resolve(self, at: str | None) -> str | None:
        """Say which column is meant by the end: the newest at this time."""
        return list(self.blocks)[-1] if at is None else at

    def reaching(self, at: str | None) -> Encoder:
        """Give the trunk of the column that a task reads."""
        return self.trunk(cast(str, self.resolve(at)).partition(".")[0])

    def described(self) -> Encoder:
        """Give the first column: edits grow the others."""
        return self.trunk(next(iter(self.blocks)))

    def block_dims(self, blocks: Iterable[str] | None = None) -> dict[str, int]:
        """Give the width at the end of each column, or of blocks named as in "fr.b2"."""
        chosen = list(self.blocks) if blocks is None else list(blocks)
        return {at: self.reaching(at).dim_at(at.partition(".")[2] or None) for at in chosen}

    def put_after(self, block: str, name: str, module: nn.Module) -> None:
        """Let `module` run behind a column, or behind the block "fr.b2" of one."""
        column, _, inner = block.partition(".")
        if inner:
            self.trunk(column).put_after(inner, name, module)
        else:
            super().put_after(block, name, module)

    def name_new(self, column: str) -> str:
        """Give a new column's name. Raises ValueError where it is empty, taken or holds a dot."""
        if not column or "." in column or column in self.blocks or hasattr(self.blocks, column):
            raise ValueError(
                f"column {column!r}: give a name without a dot that torch does not need itself, other than: "
                f"{', '.join(self.blocks)}"
            )
        return column

    def ended(self, column: str, end: Features, flow: Flow) -> Features:
        """Run what edits put behind a column."""
        changed = self.behind(column, Flow(end.x, end.lengths, flow.groups))
        return Features(changed.x, changed.lengths)

    def _known(self, taps: Iterable[str]) -> set[str]:
        wanted = set(taps)
        super()._known(tap.partition(".")[0] for tap in wanted)
        self.block_dims(wanted)
        return wanted
