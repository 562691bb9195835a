"""Sure: how often one example was enough, against the nearest pixels; and are answers as sure as right?

A cell of the study has a `part` that was learnt from, an `arm` and a `seed`; its figures are those of
`mtl.studies.trials.measure`.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from mtl.metrics import seed_interval
from mtl.plots import bars, curves
from mtl.report import Report
from mtl.score.reliability import Reliability, reliability
from mtl.studies.trials import PIXELS
from mtl.study import Result
from mtl.tally import judge, over_seeds, skips, tally

Figures = Mapping[str, Any]


def tell(report: Report, results: Sequence[Result]) -> None:
    """Add the table, the claims, intervals over the trials, and how sure the answers are."""
    tally(report, results, "{part}".format_map, "{arm}".format_map)
    tally(report, results, "{part}".format_map, "{arm}, views".format_map, "views")
    found: dict[tuple[str, str], list[Figures]] = {}
    for cell, figures, *_ in results:
        if figures is not None:
            found.setdefault((cell["part"], cell["arm"]), []).append(figures)
    for (part, arm), runs in found.items():
        if arm != PIXELS:
            _claim(report, results, part, arm, runs)
    report.notes += [f"{part}, {arm}: {_over_trials(runs)}" for (part, arm), runs in found.items()]
    report.notes += skips(results, "untrained", "training examples")
    _draw(report, found)


def _claim(
    report: Report, results: Sequence[Result], part: str, arm: str, runs: Sequence[Figures]
) -> None:
    pixels = {"part": part, "arm": PIXELS}
    text = f"{part}: {arm} errs less than the nearest pixels"
    report.claims.append(judge(text, results, pixels, {"part": part, "arm": arm}))
    gains = [a[0] / a[1] - b[0] / b[1] for run in runs[:1] for a, b in _pairs(run)]
    report.claims.append(over_seeds(f"{part}: {arm} errs less with averaged views", gains))


def _pairs(run: Figures) -> list[tuple[Any, Any]]:
    """Give the counts of each trial, without and with averaged views."""
    return list(zip(run["counts"], run["views"]["counts"], strict=True))


def _over_trials(runs: Sequence[Figures]) -> str:
    """Give errors of the first seed with intervals over its trials, and how far its answers boast."""
    told = []
    for name, figures in (("error", runs[0]), ("with views", runs[0].get("views"))):
        if figures:
            rates = [row[0] / row[1] for row in figures["counts"]]
            low, high = seed_interval(rates)
            told.append(f"{name} {mean(rates):.1%} ({low:.1%} to {high:.1%})")
    gap = _reliability(runs[0]).error()
    return f"{', '.join(told)}, 95 % over {len(rates)} trials; calibration error {gap:.1%}"


def _reliability(run: Figures) -> Reliability:
    said, right = zip(*run["sure"], strict=True)
    return reliability(said, right)


def _draw(report: Report, found: Mapping[tuple[str, str], Sequence[Figures]]) -> None:
    whiskers, lines = {}, {}
    for (part, arm), runs in found.items():
        rates = [row[0] / row[1] for row in runs[0]["counts"]]
        whiskers[f"{part}, {arm}"] = (mean(rates), *seed_interval(rates))
        curve = _reliability(runs[0])
        if arm != PIXELS:
            pairs = zip(curve.said.tolist(), curve.right.tolist(), strict=True)
            lines[f"{part}, {arm}"] = dict(pairs)
    if whiskers:
        drawn = bars(whiskers, "error", percent=True)
        report.figures.append(
            (drawn, "errors of the first seed: mean and 95 % interval over the trials")
        )
    if lines:
        drawn = curves(lines, "how sure an answer is", "right", percent=True)
        report.figures.append((drawn, "are answers right as often as they say? First seed"))
