"""Together: what tasks gain by being trained together, over being trained alone, from the cells of a study.

A cell has an `arm`, the `task` that it trains alone, empty where it trains the first `tasks` of them
together, a `seed`, perhaps a `draw` of the data, and settings. Its figures are those of `figures`.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mtl.diagnosis import Trained, diagnose
from mtl.evaluate import Evaluation, Row, evaluate
from mtl.fit import Fitted
from mtl.metrics import METRICS, error_rate
from mtl.model import Model
from mtl.plots import curves
from mtl.report import Report
from mtl.stream import Data
from mtl.study import Result
from mtl.tally import differences, lines, over_seeds, skips, tally

JOINT, ALONE = "together", "alone"
SHOWN = 12  # tasks, up to which each is judged and diagnosed
AT_ONCE = 500.0  # images or seconds of a test batch
NO_SETTING = ("arm", "task", "tasks", "draw", "seed")
Cell = Mapping[str, Any]


def numbers(text: str) -> list[int]:
    """Read whole numbers; raises ValueError for anything else.

    >>> numbers("2, 10")
    [2, 10]
    """
    words = [word.strip() for word in text.split(",")]
    if not all(map(str.isdecimal, words)):
        raise ValueError(f"{text!r}: give whole numbers, comma separated, such as 2,10")
    return [int(word) for word in words]


def refuse_none(**options: int) -> None:
    """Raise ValueError for an option that is below 1.

    >>> refuse_none(seeds=0)
    Traceback (most recent call last):
    ValueError: --seeds is 0; give at least 1
    """
    for name, value in options.items():
        if value < 1:
            raise ValueError(f"--{name} is {value}; give at least 1")


def refuse_negative(**options: int) -> None:
    """Raise ValueError for an option that is below 0.

    >>> refuse_negative(single=-1)
    Traceback (most recent call last):
    ValueError: --single is -1; give 0 or more
    """
    for name, value in options.items():
        if value < 0:
            raise ValueError(f"--{name} is {value}; give 0 or more")


def shares(own: list[str], known: Collection[str]) -> dict[str, int]:
    """Read `name=count`; raises ValueError for what is not so, or names no data set."""
    found = dict(word.partition("=")[::2] for word in own)
    if wrong := [n for n, count in found.items() if n not in known or not count.isdecimal()]:
        raise ValueError(f"--own {wrong[0]}: write NAME=COUNT, NAME one of {', '.join(known)}")
    return {name: int(count) for name, count in found.items()}


def figures(model: Model, tested: Mapping[str, Data], fitted: Fitted) -> dict[str, Any]:
    """Evaluate a run on data by stream; give what `tell` wants of it, as JSON can hold it.

    {"tasks": {task: value, metric, n, counts and what was `skipped`}, "history", "untrained"}; `counts` has
    a row (errors or hits, units, speaker or id) for each example.
    """
    result = evaluate(model, tested, batch=AT_ONCE)
    evaluated, found = {row.task for row in result.rows}, {}
    for name in (task for task in model.tasks if task in evaluated):
        rows = result.of(name)
        metric = next(iter(rows[0].counts))
        counts = [[*row.counts[metric], row.group] for row in rows]
        value = error_rate(*result.counts(name, metric))
        skipped = {row.id: row.problem for row in rows if row.problem}
        found[name] = {"metric": metric, "value": value, "n": len(rows), "counts": counts}
        found[name] |= {"skipped": skipped}
    return {"tasks": found, "history": fitted.history, "untrained": fitted.skipped}


def tell(
    report: Report, results: Sequence[Result], x: str, label: str, margin: float = 0.0
) -> None:
    """Add the table, the claims, the diagnosis and, where the setting `x` varies, curves over it.

    With a `margin` it is claimed that training together costs less than that, else that it gains.
    """
    found = _by_task(results)
    failed = [result for result in results if result.figures is None]
    tally(report, [*found, *failed], "{task}".format_map, _name)
    joint = [result.cell for result in results if result.cell["tasks"]]
    for cell in {_name(cell): cell for cell in joint}.values():
        _compare(report, found, cell, margin)
    _look(report, results)
    report.notes += skips(found, "skipped", "test examples, which count as errors")
    report.notes += skips(results, "untrained", "training examples")
    if len({cell[x] for cell in joint}) > 1:
        drawn = curves(lines(found, x, "arm"), label, _metric(found), percent=True)
        report.figures.append((drawn, "mean over the tasks, and range over tasks and seeds"))


def _by_task(results: Sequence[Result]) -> list[Result]:
    """Give a result for each task of each run; draws count as seeds."""
    return [
        Result(cell | {"task": task, "seed": 1000 * cell.get("draw", 0) + cell["seed"]}, found)
        for cell, figures, *_ in results
        for task, found in (figures or {"tasks": {}})["tasks"].items()
    ]


def _setting(cell: Cell) -> dict[str, Any]:
    return {name: value for name, value in cell.items() if name not in NO_SETTING}


def _name(cell: Cell) -> str:
    """Name the column of a cell."""
    words = [f"{name} {value or 'all'}" for name, value in _setting(cell).items()]
    return ", ".join([f"{cell['arm']} {cell['tasks'] or ''}".strip(), *words])


def _metric(found: Sequence[Result]) -> str:
    metrics = {result.figures["metric"] for result in found if result.figures}
    return " or ".join(sorted(metrics))


def _compare(report: Report, found: Sequence[Result], cell: Cell, margin: float) -> None:
    """Judge what an arm takes off each task's error alone, and off all of them on average."""
    points = f"{100 * margin:g} point{'s' * (margin != 0.01)}"
    less = f"less than {points} more errors" if margin else "fewer errors"
    a = {"arm": cell["arm"], "tasks": cell["tasks"]} | _setting(cell)
    b = {"arm": ALONE} | _setting(cell)
    gains, errors = {}, {}
    for task in dict.fromkeys(r.cell["task"] for r in found if a.items() <= r.cell.items()):
        alone = [
            r.figures for r in found if r.figures and (b | {"task": task}).items() <= r.cell.items()
        ]
        gain = differences(found, a | {"task": task}, b | {"task": task})
        if alone and gain:
            more = METRICS[alone[0]["metric"]].direction == "max"
            gains[task] = gain if more else {seed: -value for seed, value in gain.items()}
            values = [1 - one["value"] if more else one["value"] for one in alone]
            errors[task] = sum(values) / len(values)
    seeds = set.intersection(*(set(gain) for gain in gains.values())) if gains else set()
    if not seeds:
        return
    for task, gain in gains.items() if len(gains) <= SHOWN else ():
        claim = f"{_name(a)}: {less} in {task}"
        report.claims.append(over_seeds(claim, list(gain.values()), -margin))
    means = [sum(gain[seed] for gain in gains.values()) / len(gains) for seed in sorted(seeds)]
    report.claims.append(over_seeds(f"{_name(a)}: {less} on average", means, -margin))
    share = sum(means) / len(means) / max(sum(errors.values()) / len(errors), 1e-9)
    report.notes.append(f"{_name(a)}: mean error {-share:+.1%} against alone, {len(gains)} tasks")


def _look(report: Report, results: Sequence[Result]) -> None:
    """Diagnose the first run whose gradients were looked at."""
    whole = [r for r in results if r.figures and not r.cell["seed"] and not r.cell.get("draw")]
    looked = [r for r in whole if r.cell["arm"] == JOINT and 1 < r.cell["tasks"] <= SHOWN]
    for cell, figures, *_ in looked[:1]:
        assert figures is not None
        same = {"arm": ALONE} | _setting(cell)
        alone = {
            r.cell["task"]: _trained(r.figures)
            for r in whole
            if r.figures and same.items() <= r.cell.items() and r.cell["task"] in figures["tasks"]
        }
        if alone:
            diagnose(_trained(figures, list(alone)), alone).add_to(report)


def _trained(figures: Mapping[str, Any], tasks: Sequence[str] = ()) -> Trained:
    """Make again what a run left, of its stored figures."""
    rows = [
        Row(name, str(place), str(row[2]), "", "", 0.0, {found["metric"]: (row[0], row[1])})
        for name, found in figures["tasks"].items()
        if not tasks or name in tasks
        for place, row in enumerate(found["counts"])
    ]
    return Trained(figures["history"], Evaluation(rows))
