"""Tally: the cells of a study as rows, curves and claims of a report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtl.metrics import Interval, bootstrap_difference, mean_and_range, seed_interval, verdict
from mtl.report import Claim, Report
from mtl.study import Result

Cell = Mapping[str, Any]


def tally(
    report: Report,
    results: Sequence[Result],
    row: Callable[[Cell], str],
    column: Callable[[Cell], str],
    figure: str = "value",
) -> None:
    """Add a study's means over its seeds to the table, each with its range; failed cells become notes.

    `row` and `column` name the place of a cell. A cell's figures hold `figure`, the `metric` it is of, and
    the number `n` of test examples.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        if result.figures is None:
            named = " ".join(f"{name}={value}" for name, value in result.cell.items())
            report.notes.append(f"failed: {named}: {result.problem}")
        elif figure in result.figures:
            groups.setdefault((column(result.cell), row(result.cell)), []).append(result.figures)
    for (kind, name), found in groups.items():
        mean, low, high = mean_and_range([figures[figure] for figures in found])
        entry = {found[0]["metric"]: mean, "n": found[0]["n"]}
        entry |= {"range": [low, high], "seeds": len(found)}
        report.comparisons.setdefault(kind, {})[name] = entry


def lines(
    results: Sequence[Result], x: str, label: str, figure: str = "value"
) -> dict[str, dict[float, list[float]]]:
    """Collect {label: {x: [one value per seed]}} for `mtl.plots.curves`."""
    found: dict[str, dict[float, list[float]]] = {}
    for result in results:
        if result.figures is not None and figure in result.figures:
            line = found.setdefault(str(result.cell[label]), {})
            line.setdefault(float(result.cell[x]), []).append(result.figures[figure])
    return found


def over_seeds(claim: str, differences: Sequence[float]) -> Claim:
    """Judge that a difference is above 0, from one value per seed: Student's t interval of the mean.

    >>> over_seeds("tuning helps", [0.02, 0.03, 0.04]).verdict, over_seeds("one run", [0.1]).verdict
    ('true', 'undecided')
    """
    interval = seed_interval(differences)
    return Claim(claim, verdict(interval), sum(differences) / len(differences), interval)


def over_examples(
    claim: str, a: Sequence[Sequence[Any]], b: Sequence[Sequence[Any]], margin: float = 0.0
) -> Claim:
    """Judge that rate a minus rate b is above `margin`, on the same examples, paired, over speakers.

    Rows are (errors or hits, units, speaker). The difference is given without the margin taken off.

    >>> over_examples("b errs less", [[2, 9, "x"], [3, 9, "y"]] * 9, [[1, 9, "x"], [2, 9, "y"]] * 9).verdict
    'true'
    """
    if [row[2] for row in a] != [row[2] for row in b]:
        raise ValueError("the two runs were tested on different examples")
    columns = [[row[place] for row in rows] for rows in (a, b) for place in (0, 1)]
    low, high = bootstrap_difference(*columns, groups=[row[2] for row in a])
    rate = [sum(row[0] for row in rows) / sum(row[1] for row in rows) for rows in (a, b)]
    judged = verdict(Interval(low - margin, high - margin))
    return Claim(claim, judged, rate[0] - rate[1], Interval(low, high))
