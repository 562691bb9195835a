"""Report: one set of figures as a printed table and as `metrics.json`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from mtl.atomic import atomic_text
from mtl.evaluate import Evaluation
from mtl.metrics import METRICS, Interval, bootstrap_difference, verdict


class Claim(NamedTuple):
    """A sentence, what was measured of it, and what the interval says: true, false or undecided."""

    claim: str
    verdict: str
    difference: float | None
    interval: Interval | None


@dataclass
class Report:
    """The results of a recipe's run, in the schema of `metrics.json`.

    `comparisons` holds the baselines, {name: {task: figures}}; rates are fractions here and in the file,
    per cent in the table.
    """

    recipe: str
    seed: int
    tasks: Mapping[str, Mapping[str, Any]]
    world_size: int = 1
    seconds: float = 0.0
    comparisons: dict[str, dict[str, Any]] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write `metrics.json`."""
        from mtl import __version__

        figures = {
            "recipe": self.recipe,
            "version": __version__,
            "seed": self.seed,
            "world_size": self.world_size,
            "seconds": round(self.seconds, 1),
            "tasks": self.tasks,
            "comparisons": self.comparisons,
            "claims": [claim._asdict() for claim in self.claims],
            "notes": self.notes,
        }
        atomic_text(path, json.dumps(_finite(figures), indent=1, ensure_ascii=False) + "\n")

    def show(self, console: Console | None = None) -> None:
        """Print the table, the notes and the claims."""
        console = console or Console()
        console.print(self._table())
        for note in self.notes:
            console.print(note, highlight=False, markup=False)
        for claim in self.claims:
            console.print(
                f"claim: {claim.claim}: {claim.verdict}{_measured(claim)}", highlight=False
            )

    def _table(self) -> Table:
        table = Table(title=self.recipe)
        for column in ("task", "n", "metric", "result", "95 % interval", *self.comparisons):
            table.add_column(column, justify="left" if column in ("task", "metric") else "right")
        for task, figures in self.tasks.items():
            for metric in (name for name in METRICS if name in figures):
                others = [rows.get(task, {}).get(metric) for rows in self.comparisons.values()]
                table.add_row(
                    task,
                    str(figures["n"]),
                    f"{metric} %",
                    _percent(figures[metric]),
                    _interval(figures.get(f"{metric}_interval")),
                    *map(_percent, others),
                )
        return table


def compare(
    claim: str, ours: Evaluation, other: Evaluation, task: str, metric: str, relative: bool = True
) -> Claim:
    """Judge "ours has fewer errors than other" on the same examples, paired, over speakers.

    The difference is other - ours, or (other - ours) / other where `relative`.
    """
    theirs, own = other.of(task), ours.of(task)
    if [row.id for row in theirs] != [row.id for row in own]:
        raise ValueError(f"task {task!r}: the two evaluations are of different examples")
    groups = [row.group for row in own]
    interval = bootstrap_difference(
        *other.counts(task, metric),
        *ours.counts(task, metric),
        groups=groups if any(groups) else None,
        relative=relative,
    )
    a, b = (found.tasks()[task][metric] for found in (other, ours))
    difference = (a - b) / a if relative and a else a - b
    return Claim(claim, verdict(interval), difference, interval)


def _measured(claim: Claim) -> str:
    if claim.difference is None:
        return ""
    interval = f" ({_interval(claim.interval)})" if claim.interval else ""
    return f", difference {100 * claim.difference:+.1f} %{interval}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _interval(interval: Sequence[float] | None) -> str:
    if interval is None or not all(map(math.isfinite, interval)):
        return ""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def _finite(value: Any) -> Any:
    """Write unbounded intervals as null: JSON knows no infinity."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
