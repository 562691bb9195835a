"""Runs: what recipes left in their folders, read again: runs side by side, and all claims on one page."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtl.metrics import METRICS
from mtl.page import Page
from mtl.tables import bounds, shown, times_of, titled

FILE = "metrics.json"
SETTINGS = "config.yaml"
PLACES = ("config", "out")  # settings that say where, not what
Table = tuple[list[str], list[list[str]]]
VERDICTS = ("true", "false", "undecided")


class Run(NamedTuple):
    """A run's folder, the figures of its `metrics.json`, and its settings by dotted name."""

    folder: Path
    figures: dict[str, Any]
    settings: dict[str, Any]

    @property
    def command(self) -> str:
        """Give the command that repeats it."""
        again = f"accelerate launch recipes/{self.figures['recipe']}.py"
        settings = self.folder / SETTINGS
        return f"{again} --config {settings}" if settings.is_file() else again


class Told(NamedTuple):
    """A claim of a run: what was measured of a sentence, against what, and how to have it again.

    `difference` and `interval` are fractions; None where nothing was measured, or an end is unbounded.
    """

    claim: str
    verdict: str
    difference: float | None
    interval: list[float | None] | None
    baseline: str
    command: str
    folder: str


def read_run(path: Path) -> Run:
    """Read the folder that a recipe wrote its figures to. Raises ValueError where it holds none."""
    folder = path.parent if path.name == FILE else path
    try:
        figures = json.loads((folder / FILE).read_text("utf-8"))
        whole = {"recipe", "tasks", "comparisons", "claims"} <= figures.keys()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ValueError(f"{folder} holds no {FILE}: give the --out folder of a recipe") from error
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{folder / FILE} is damaged: {error}") from error
    if not whole:
        raise ValueError(f"{folder / FILE} was not written by a recipe of mtl")
    return Run(folder, figures, _settings(folder / SETTINGS))


def _settings(file: Path) -> dict[str, Any]:
    """Read the settings of a run, nested ones with dots; none where there is no such file."""
    import yaml

    if not file.is_file():
        return {}
    try:
        return dict(_flat(yaml.safe_load(file.read_text("utf-8")) or {}))
    except (yaml.YAMLError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{file} is no file of settings: {said}") from error


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def labels(runs: Sequence[Run]) -> list[str]:
    """Name runs by their folders, by as much of the path as tells them apart.

    >>> labels([Run(Path("runs/a/out"), {}, {}), Run(Path("runs/b/out"), {}, {})])
    ['a/out', 'b/out']
    """
    folders = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, folders)) + 1):
        named = ["/".join(parts[-depth:]) for parts in folders]
        if len(set(named)) == len(named):
            return named
    return [str(run.folder) for run in runs]


def side_by_side(runs: Sequence[Run]) -> Table:
    """Give the figures of runs, a column each, with their intervals or ranges; fractions in per cent.

    A row is a metric of a task, of the result itself or of a baseline, which `task` then names as well.
    """
    places = {place: None for run in runs for place in _figures(run)}
    rows = []
    for kind, task, metric in places:
        cells = [_cell(_figures(run).get((kind, task, metric)), metric) for run in runs]
        rows.append([f"{task} ({kind})" if kind else task, titled(metric), *cells])
    return ["task", "metric", *labels(runs)], rows


def _figures(run: Run) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    """Give a run's figures by (baseline or "", task, metric)."""
    sets = {"": run.figures["tasks"], **run.figures["comparisons"]}
    return {
        (kind, task, metric): figures
        for kind, tasks in sets.items()
        for task, figures in tasks.items()
        for metric in METRICS
        if metric in figures
    }


def _cell(figures: Mapping[str, Any] | None, metric: str) -> str:
    """Write a figure with its interval, or the range of its seeds."""
    if figures is None:
        return ""
    times = times_of(metric)
    between = bounds(figures.get(f"{metric}_interval") or figures.get("range"), times)
    return shown(figures[metric], times) + (f" ({between})" if between else "")


def differing(runs: Sequence[Run]) -> Table:
    """Give the settings in which runs differ, a column for each run; where they wrote to is left out."""
    about = ("recipe", "version", "seed", "world_size")
    sets = [{name: run.figures.get(name) for name in about} | run.settings for run in runs]
    rows = []
    for name in dict.fromkeys(name for settings in sets for name in settings):
        values = [_written(settings, name) for settings in sets]
        if len(set(values)) > 1 and name not in PLACES:
            rows.append([name, *values])
    return ["setting", *labels(runs)], rows


def _written(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False) if name in settings else ""


def claims(folders: Sequence[Path]) -> list[Told]:
    """Collect the claims of all runs below some folders. Raises ValueError for a folder without any run."""
    found: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder")
        files = sorted(folder.rglob(FILE))
        if not files:
            raise ValueError(f"{folder} holds no {FILE}: no recipe has written there")
        found |= {file.resolve(): read_run(file) for file in files}
    return [told for run in found.values() for told in _told(run)]


def _told(run: Run) -> Iterator[Told]:
    others = ", ".join(run.figures["comparisons"])
    for claim in run.figures["claims"]:
        baseline = claim.get("of") or others
        measured = (claim["claim"], claim["verdict"], claim["difference"], claim["interval"])
        yield Told(*measured, baseline, run.command, str(run.folder))


def claims_table(found: Sequence[Told]) -> Table:
    """Give claims as rows, true ones first; differences in per cent."""
    rows = [
        [told.claim, told.verdict, _signed(told.difference), bounds(told.interval), told.baseline]
        for told in sorted(found, key=lambda told: VERDICTS.index(told.verdict))
    ]
    return ["claim", "verdict", "difference %", "95 % interval", "baseline"], rows


def _signed(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{100 * value:+.1f}"


def claims_page(found: Sequence[Told]) -> Page:
    """Show every claim: how many hold, the table, and the commands, a section for each."""
    counts = (f"{sum(told.verdict == verdict for told in found)} {verdict}" for verdict in VERDICTS)
    page = Page().text(
        f"{len(found)} claims: {', '.join(counts)}. A claim is true or false where its 95 % interval says so."
    )
    page.table(*claims_table(found), left=("verdict", "baseline"))
    for command in dict.fromkeys(told.command for told in found):
        own = [told for told in found if told.command == command]
        page.heading(own[0].folder).code(command)
        page.items(f"{told.claim}: {told.verdict}" for told in own)
    return page


def runs_page(runs: Sequence[Run]) -> Page:
    """Show runs side by side: their figures, their settings where these differ, and their commands."""
    page = Page().table(*side_by_side(runs), left=("metric",)).heading("What differs")
    columns, rows = differing(runs)
    page = page.table(columns, rows, left=columns) if rows else page.text("No setting does.")
    page.heading("How to run these again")
    for run in runs:
        page.code(run.command)
    return page
