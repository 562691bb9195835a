"""Bias: how unseen classes fare, alone and among the seen ones, and whether a penalty mends what it costs.

A cell of the study has an `arm` and a `seed`, which is a split of the classes; its figures are those of
`mtl.studies.unseen.measure`.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from mtl.metrics import seed_interval
from mtl.plots import bars, curves
from mtl.report import Report
from mtl.studies.unseen import LEARNT, ONE_HOT
from mtl.study import Result
from mtl.tally import differences, over_seeds, tally

COLUMNS = {"value": "unseen alone", "seen": "seen among all", "unseen": "unseen among all"}
COLUMNS |= {"harmonic": "harmonic mean", "calibrated harmonic": "harmonic, calibrated"}
Figures = Mapping[str, Any]


def tell(report: Report, results: Sequence[Result]) -> None:
    """Add the table, the intervals over splits, the claims and the plots."""
    for figure, column in COLUMNS.items():
        tally(report, results, "{arm}".format_map, column.format_map, figure)
    found: dict[str, list[Figures]] = {}
    for cell, figures, *_ in results:
        if figures is not None:
            found.setdefault(cell["arm"], []).append(figures)
    report.notes += _intervals(found)
    for arm, runs in found.items():
        if arm != ONE_HOT and LEARNT not in arm:
            _claim(report, results, arm, runs)
    _draw(report, found)


def _intervals(found: Mapping[str, Sequence[Figures]]) -> list[str]:
    """Give each arm's accuracy of unseen classes and calibrated harmonic mean, with intervals over splits."""
    lines = []
    for arm, runs in found.items():
        pairs = [
            ("unseen alone", _values(runs, "")),
            ("calibrated", _values(runs, "calibrated harmonic")),
        ]
        told = [
            f"{name} {mean(values):.1%} ({low:.1%} to {high:.1%})"
            for name, values in pairs
            for low, high in [seed_interval(values)]
            if len(values) > 1
        ]
        if told:
            lines.append(f"{arm}: {', '.join(told)}; 95 % intervals over {len(runs)} splits")
    return lines


def _values(runs: Sequence[Figures], figure: str) -> list[float]:
    return [(run[figure] if figure else run)["value"] for run in runs]


def _claim(report: Report, results: Sequence[Result], arm: str, runs: Sequence[Figures]) -> None:
    gains = differences(results, {"arm": arm}, {"arm": ONE_HOT})
    if gains:
        text = f"{arm}: attributes beat one-hot for unseen classes"
        report.claims.append(over_seeds(text, list(gains.values())))
    for text, more, less in (
        ("among all, seen classes fare better than unseen", "seen", "unseen"),
        (
            "a penalty chosen on seen classes raises the harmonic mean",
            "calibrated harmonic",
            "harmonic",
        ),
    ):
        pairs = zip(_values(runs, more), _values(runs, less), strict=True)
        report.claims.append(over_seeds(f"{arm}: {text}", [a - b for a, b in pairs]))


def _draw(report: Report, found: Mapping[str, Sequence[Figures]]) -> None:
    whiskers = {}
    for arm, runs in found.items():
        values = _values(runs, "")
        whiskers[arm] = (mean(values), *seed_interval(values))
    if whiskers:
        drawn = bars(whiskers, "accuracy among the unseen classes", percent=True)
        report.figures.append((drawn, "unseen classes alone: mean and 95 % interval over splits"))
        lines = {arm: dict(map(tuple, runs[0]["bias"])) for arm, runs in found.items()}
        drawn = curves(
            lines, "accuracy of seen classes", "accuracy of unseen classes", percent=True
        )
        report.figures.append((drawn, "all classes, every penalty on the seen ones: first split"))
    spreads: dict[str, dict[float, list[float]]] = {}
    for arm, runs in found.items():
        for step, value in (pair for run in runs for pair in run.get("spread", [])):
            spreads.setdefault(arm, {}).setdefault(step, []).append(value)
    if spreads:
        drawn = curves(spreads, "step", "mean squared distance of g(y)")
        report.figures.append(
            (drawn, "learnt descriptions of classes: a plain squared loss lets them collapse")
        )
