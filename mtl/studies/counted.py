"""Counted: what weighing the examples of a source was worth, from the cells of a study.

A cell has a `part`, an `arm`, a `setting` and a `seed`; its figures are those of `mtl.studies.reweighed`.
"""

from collections.abc import Sequence
from statistics import mean

from mtl.plots import curves
from mtl.report import Report
from mtl.studies.reweighed import BALANCED, BOOSTED, ESTIMATES, SHIFTS, TARGET_ONLY, UNWEIGHTED
from mtl.study import Result
from mtl.tally import differences, judge, lines, over_seeds, tally

RATIO, SHIFT, LABELS, SIZES = "ratio", "shift", "labels", "sizes"  # the parts
CLOSE = 0.9  # rank correlation with the true ratio that a way is to reach
LESS = 0.2  # share of target-only's errors that TrAdaBoost is to take off


def tell(report: Report, results: Sequence[Result]) -> None:
    """Add tables, claims and curves of all parts."""
    rows = {SHIFT: "{setting} shift", LABELS: "{setting} labels", SIZES: "source {setting} times"}
    shown = [result for result in results if result.cell["part"] in rows]
    tally(report, shown, lambda c: rows[c["part"]].format_map(c), "{arm}".format_map)
    _ratios(report, results)
    for kind in SHIFTS:
        own = [r for r in results if r.cell["setting"] == kind]
        for way in ESTIMATES:
            claim = f"{kind} shift: weights by {way} take errors off"
            report.claims.append(judge(claim, own, {"arm": UNWEIGHTED}, {"arm": way}))
    for part in (LABELS, SIZES):
        _boosted(report, [result for result in results if result.cell["part"] == part], part)


def _ratios(report: Report, results: Sequence[Result]) -> None:
    """Judge how well each way ranks examples as the true ratio does."""
    for way in ESTIMATES:
        found = [
            r.figures["value"]
            for r in results
            if r.figures and (r.cell["part"], r.cell["arm"]) == (RATIO, way)
        ]
        if found:
            claim = f"{way}: rank correlation with the true ratio above {CLOSE}"
            report.claims.append(over_seeds(claim, found, CLOSE))
            report.notes.append(f"{way}: rank correlation with the true ratio {mean(found):.3f}")


def _boosted(report: Report, results: Sequence[Result], part: str) -> None:
    """Judge at each setting what a source gives beside few target labels, and draw it."""
    settings = list(dict.fromkeys(result.cell["setting"] for result in results))
    for setting in settings:
        own = [result for result in results if result.cell["setting"] == setting]
        where = f"{setting} labels" if part == LABELS else f"source {setting} times the target"
        gains = differences(own, {"arm": TARGET_ONLY}, {"arm": BOOSTED})
        base = {
            r.cell["seed"]: r.figures["value"]
            for r in own
            if r.figures and r.cell["arm"] == TARGET_ONLY
        }
        shares = [gain / max(base[seed], 1e-9) for seed, gain in gains.items()]
        claim = f"{where}: TrAdaBoost makes at least {LESS:.0%} fewer errors than the target alone"
        report.claims.append(over_seeds(claim, shares, LESS))
        rounds = [r.figures["rounds"] for r in own if r.figures and "rounds" in r.figures]
        if rounds:
            report.notes.append(f"{where}: TrAdaBoost ended after {mean(rounds):.1f} rounds")
        claim = f"{where}: TrAdaBoost makes fewer errors than both balanced"
        report.claims.append(judge(claim, own, {"arm": BALANCED}, {"arm": BOOSTED}))
    if len(settings) > 1:
        _trend(report, results, settings, part)
        kind = "target labels" if part == LABELS else "source examples for each target example"
        plot = curves(lines(results, "setting", "arm"), kind, "error", percent=True)
        report.figures.append((plot, "mean and range over choices of examples"))


def _trend(report: Report, results: Sequence[Result], settings: Sequence[str], part: str) -> None:
    """Judge that the gain shrinks from the first setting to the last, or grows with the source."""
    ends = [
        differences(results, {"arm": TARGET_ONLY, "setting": s}, {"arm": BOOSTED, "setting": s})
        for s in (settings[0], settings[-1])
    ]
    less = {seed: ends[0][seed] - ends[1][seed] for seed in ends[0] if seed in ends[1]}
    if part == LABELS:
        claim = f"the gain of a source shrinks from {settings[0]} to {settings[-1]} target labels"
        report.claims.append(over_seeds(claim, list(less.values())))
        last = [-gain for gain in ends[1].values()]
        report.claims.append(over_seeds(f"with {settings[-1]} target labels a source hurts", last))
        return
    claim = f"the gain of a source grows from {settings[0]} to {settings[-1]} times the target"
    report.claims.append(over_seeds(claim, [-value for value in less.values()]))
