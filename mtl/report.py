"""Report: one set of figures as a printed table, as `metrics.json` and as `report.html`."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from mtl.atomic import atomic_text
from mtl.config import write
from mtl.data.manifest import Utterance
from mtl.device import start_processes
from mtl.evaluate import Evaluation, Row
from mtl.fit import Fitted
from mtl.metrics import Interval, bootstrap_difference, verdict
from mtl.page import Page
from mtl.tables import LEFT, bounds, figures_table, split_columns

HEARD_HZ = 16000
PLAYED_SECONDS = 15.0  # longer sounds would make the page heavy: 43 kB a second
SMOKE = "smoke run: the figures mean nothing"


class Claim(NamedTuple):
    """A sentence, what was measured of it, and what the interval says: true, false or undecided.

    `of` names what the difference is of, such as "scratch less tuned".
    """

    claim: str
    verdict: str
    difference: float | None
    interval: Interval | None
    of: str = ""


@dataclass
class Report:
    """The results of a recipe's run, in the schema of `metrics.json`.

    `comparisons` holds the baselines, {name: {task: figures}}; rates are fractions here and in the file,
    per cent in the table and the page. The page also shows `figures`, pairs of an SVG text of `mtl.plots`
    and a caption, and whatever is added to `page`.
    """

    recipe: str
    seed: int
    tasks: Mapping[str, Mapping[str, Any]]
    world_size: int = 1
    seconds: float = 0.0
    comparisons: dict[str, dict[str, Any]] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    page: Page = field(default_factory=Page)

    def add_learning(self, fitted: Fitted, title: str) -> None:
        """Add the curves of a training run: the losses of its tasks and the error on its dev data."""
        from mtl.plots import learning

        hidden = [task.name for task in fitted.model.tasks.values() if task.auxiliary]
        self.figures.append((learning(fitted.history, hidden), f"{title}: training"))

    def add_errors(
        self, evaluation: Evaluation, utterances: Sequence[Utterance] = (), count: int = 1
    ) -> None:
        """Add each task's worst `count` texts, with their sound, or the confusions of its classes.

        The worst texts become notes as well. A sound that cannot be read is not played.
        """
        from mtl.plots import confusion

        sounds = {utterance.id: utterance for utterance in utterances}
        for task in evaluation.tasks():
            rows = evaluation.of(task)
            if "accuracy" in rows[0].counts:
                pairs = [(row.reference, row.prediction) for row in rows]
                self.figures.append((confusion(pairs), f"{task}: confusions"))
                continue
            self.page.heading(f"Worst of {task}")
            for row in evaluation.worst(task, count):
                heard = f"worst {task}: {row.reference!r} heard as {row.prediction!r}"
                self.notes.append(heard)
                self._play(row, sounds.get(row.id), heard)

    def write(self, folder: Path) -> None:
        """Write `metrics.json` and `report.html` into the folder of the run."""
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
        text = json.dumps(_finite(figures), indent=1, ensure_ascii=False)
        atomic_text(folder / "metrics.json", text + "\n")
        self._page(folder, __version__).write(folder / "report.html", self.recipe)

    def publish(self, config: Any, out: Path, started: float) -> None:
        """Write settings, figures and page into `out` and print the table, in the first process only.

        `started` is `time.monotonic()` of the recipe's start. A smoke run makes no claims. Raises ValueError,
        in the end, where runs failed and none gave a figure.
        """
        self.seconds = time.monotonic() - started
        if getattr(config, "smoke", False):
            self.claims, self.notes = [], [SMOKE, *self.notes]
        if start_processes().is_main_process:
            write(config, out / "config.yaml")
            self.write(out)
            self.show()
            Console(stderr=True).print(f"{self.seconds:.0f} s; report.html is in {out}")
        failed = [note for note in self.notes if note.startswith("failed: ")]
        if failed and not (self.tasks or self.comparisons):
            raise ValueError(f"no run gave a figure; the first {failed[0]}")

    def show(self, console: Console | None = None) -> None:
        """Print the table, the notes and the claims."""
        console = console or Console()
        columns, rows = self.table()
        for places in split_columns(columns, rows, console.width):
            table = Table(title=self.recipe)
            for place in places:
                words = columns[place] in LEFT
                table.add_column(
                    columns[place], justify="left" if words else "right", no_wrap=not words
                )
            for row in rows:
                table.add_row(*(row[place] for place in places))
            console.print(table)
        for note in self.notes:
            console.print(note, highlight=False, markup=False)
        for claim in self.claims:
            console.print(f"claim: {_judged(claim)}", highlight=False, markup=False)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Give the columns and rows of the table, one for each metric of each task; fractions in per cent."""
        return figures_table(self.tasks, self.comparisons)

    def _page(self, folder: Path, version: str) -> Page:
        """Put the table first, and how to have it again last."""
        page = Page().table(*self.table(), left=LEFT)
        page.items(f"{_judged(claim)}" for claim in self.claims).items(self.notes)
        for svg, caption in self.figures:
            page.figure(svg, caption)
        page.parts += self.page.parts
        page.heading("How to run this again").text(
            f"mtl {version}, seed {self.seed}, {self.world_size} process(es), {self.seconds:.0f} s"
        )
        config = folder / "config.yaml"
        if config.is_file():
            page.code(f"accelerate launch recipes/{self.recipe}.py --config {config}")
            page.code(config.read_text(encoding="utf-8"))
        return page

    def _play(self, row: Row, utterance: Utterance | None, caption: str) -> None:
        """Let one hear an utterance, or say why one cannot."""
        from mtl.data.audio import AudioError, read_audio

        if row.problem:
            caption = f"{caption} ({row.problem})"
        if utterance is None or utterance.audio is None:
            self.page.text(caption)
            return
        try:
            seconds = min(utterance.seconds, PLAYED_SECONDS)
            samples = read_audio(utterance.audio, HEARD_HZ, utterance.offset, seconds)
            self.page.audio(samples, HEARD_HZ, caption)
        except AudioError:
            self.page.text(caption)


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


def _judged(claim: Claim) -> str:
    if claim.difference is None:
        return f"{claim.claim}: {claim.verdict}"
    found = bounds(claim.interval)
    interval = f" ({found})" if found else ""
    return f"{claim.claim}: {claim.verdict}, difference {100 * claim.difference:+.1f} %{interval}"


def _finite(value: Any) -> Any:
    """Write unbounded intervals as null: JSON knows no infinity."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
