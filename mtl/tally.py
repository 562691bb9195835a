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
    the number `n` of test examples; a figure may also be a dict of its own `value`, `metric` and `n`.
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        if result.figures is None:
            named = " ".join(f"{name}={value}" for name, value in result.cell.items())
            note = f"failed: {named}: {result.problem}"
            report.notes += [note] if note not in report.notes else []
        elif figure in result.figures:
            place = (column(result.cell), row(result.cell))
            groups.setdefault(place, []).append(_figures(result.figures, figure))
    for (kind, name), found in groups.items():
        mean, low, high = mean_and_range([figures["value"] for figures in found])
        entry = {found[0]["metric"]: mean, "n": found[0]["n"]}
        entry |= {"range": [low, high], "seeds": len(found)}
        report.comparisons.setdefault(kind, {})[name] = entry


def skips(results: Sequence[Result], figure: str, what: str) -> list[str]:
    """Say how many examples the cells could not use, of those that `figure` gives as {id: reason}.

    >>> skips([Result({}, {"skipped": {"a.png": "a.png: damaged"}})], "skipped", "tested")
    ['tested: 1 could not be used, the first a.png: damaged']
    """
    found: dict[str, str] = {}
    for result in results:
        found |= (result.figures or {}).get(figure, {})
    for name, reason in sorted(found.items())[:1]:
        first = reason if reason.startswith(name) else f"{name}: {reason}"
        return [f"{what}: {len(found)} could not be used, the first {first}"]
    return []


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


def _figures(figures: Mapping[str, Any], figure: str) -> dict[str, Any]:
    """Give a figure as `value`, with the `metric` and `n` it is of."""
    found = figures[figure]
    return {**figures, **(found if isinstance(found, Mapping) else {"value": found})}


def differences(results: Sequence[Result], a: Cell, b: Cell) -> dict[int, float]:
    """Give {seed: value of a - value of b}, for the cells whose fields are those of `a` and of `b`.

    A seed whose cells failed is left out.

    >>> found = [Result({"way": w, "seed": 0}, {"value": v}) for w, v in (("new", 0.75), ("old", 0.5))]
    >>> differences(found, {"way": "new"}, {"way": "old"})
    {0: 0.25}
    """
    first, second = _by_seed(results, a), _by_seed(results, b)
    return {seed: first[seed]["value"] - second[seed]["value"] for seed in first if seed in second}


def _by_seed(results: Sequence[Result], wanted: Cell) -> dict[int, dict[str, Any]]:
    fits = [r for r in results if r.figures and wanted.items() <= r.cell.items()]
    return {result.cell["seed"]: result.figures for result in fits if result.figures}


def judge(claim: str, results: Sequence[Result], a: Cell, b: Cell, margin: float = 0.0) -> Claim:
    """Judge that the value of cells like `a` minus that of cells like `b` is above `margin`.

    Over seeds or, where there is one seed only, over its test examples (`counts`), which says nothing of
    other seeds. Undecided where no seed has both.
    """
    gains, of = (
        differences(results, a, b),
        " less ".join(_named(*pair) for pair in ((a, b), (b, a))),
    )
    if len(gains) != 1:
        return over_seeds(claim, list(gains.values()), margin)._replace(of=of)
    (seed,) = gains
    first, second = (_by_seed(results, cell)[seed]["counts"] for cell in (a, b))
    return over_examples(claim, first, second, margin)._replace(of=of)


def _named(cell: Cell, other: Cell) -> str:
    """Name a cell by what another does not share.

    >>> _named({"arm": "tuned", "count": 5}, {"arm": "scratch", "count": 5})
    'tuned'
    """
    own = [str(value) for name, value in cell.items() if other.get(name, value) != value]
    return " ".join(own) or " ".join(map(str, cell.values()))


def over_seeds(claim: str, differences: Sequence[float], margin: float = 0.0) -> Claim:
    """Judge that a difference is above `margin`, from one value per seed: Student's t interval of the mean.

    The difference is given without the margin taken off; no values leave the claim undecided.

    >>> over_seeds("tuning helps", [0.02, 0.03, 0.04]).verdict, over_seeds("one run", [0.1]).verdict
    ('true', 'undecided')
    """
    if not differences:
        return Claim(claim, "undecided", None, None)
    low, high = seed_interval(differences)
    judged = verdict(Interval(low - margin, high - margin))
    return Claim(claim, judged, sum(differences) / len(differences), Interval(low, high))


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
