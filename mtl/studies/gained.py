"""Gained: what came of learning without labels first, from the cells of a study.

A cell has a `task`, an `arm`, a `count` of labels and a `seed`; its figures are those of `taught`, of
`wordless` or, for clusters, of `clustering` beside this file.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from mtl.plots import bars
from mtl.report import Report
from mtl.studies.wordless import SCRATCH, TAUGHT
from mtl.study import Result
from mtl.tally import differences, over_seeds, skips, tally

LABELS, CLUSTERS, SPEECH = "labels", "clusters", "speech"  # the tasks
LEARNT = ("sparse coding", "masked autoencoder")
LESS = 0.3  # share of the errors that learning without labels is to take off, of pictures
LESS_HEARD = 0.25  # and of speech


def tell(report: Report, results: Sequence[Result]) -> None:
    """Add the table, the claims, the clusters, and what was skipped."""
    shown = [result for result in results if result.cell["task"] != CLUSTERS]
    tally(report, shown, "{count} labels".format_map, "{arm}".format_map)
    for count in dict.fromkeys(result.cell["count"] for result in shown):
        own = [result for result in shown if result.cell["count"] == count]
        for way in LEARNT:
            _against(report, own, count, way, "raw pixels", LESS)
            _against(report, own, count, way, "PCA", LESS)
        _against(report, own, count, "sparse coding", "random dictionary", 0.0)
        _against(report, own, count, "sparse coding", "random patches", 0.0)
        _against(report, own, count, "masked autoencoder", "untrained network", 0.0)
        _against(report, own, count, TAUGHT, SCRATCH, LESS_HEARD)
    _clusters(report, [result for result in results if result.cell["task"] == CLUSTERS])
    report.notes += skips(shown, "untrained", "training examples")


def _against(
    report: Report, results: Sequence[Result], count: int, way: str, other: str, least: float
) -> None:
    """Judge the share of the other's errors that a way takes off."""
    gains = differences(results, {"arm": other}, {"arm": way})
    errors = {
        r.cell["seed"]: r.figures["value"] for r in results if r.figures and r.cell["arm"] == other
    }
    if gains:
        more = f"at least {least:.0%} fewer" if least else "fewer"
        shares = [gain / max(errors[seed], 1e-9) for seed, gain in gains.items()]
        claim = f"{way}, {count} labels: {more} errors than {other}"
        report.claims.append(over_seeds(claim, shares, least))


def _clusters(report: Report, results: Sequence[Result]) -> None:
    """Say how well clusters agree with classes, and judge what the auxiliary examples add."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        if result.figures is not None:
            found.setdefault(result.cell["arm"], []).append(result.figures)
    drawn: dict[str, tuple[float, float, float]] = {}
    for name, runs in found.items():
        ways = {way: [run[way] for run in runs] for way in runs[0]}
        means = ", ".join(f"{way} {mean(values):.3f}" for way, values in ways.items())
        report.notes.append(f"clusters of {name}, NMI with the classes: {means}")
        drawn |= {f"{name}: {w}": (mean(v), min(v), max(v)) for w, v in ways.items()}
        gains = [run["self-taught"] - run["alone"] for run in runs]
        claim = f"clusters of {name}: self-taught, they agree more with the classes than alone"
        report.claims.append(over_seeds(claim, gains))
    if drawn:
        caption = "clusters and classes: normalised mutual information, mean and range over seeds"
        report.figures.append((bars(drawn, "NMI"), caption))
