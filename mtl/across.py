"""Across: what methods of adaptation gave over the source alone, and why, from the cells of a study.

A cell has an `arm` and a `seed`; its figures are those of `mtl.crossing.measure`.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

from mtl.crossing import ACCURACY
from mtl.metrics import METRICS
from mtl.plots import curves, scatter
from mtl.report import Claim, Report
from mtl.shift import SOURCE, SOURCE_ONLY, TARGET, TARGET_ONLY
from mtl.study import Result
from mtl.tally import judge, over_seeds, skips, tally

FAR = 1.0  # A-distance, of 2 at most: above it a linear classifier errs in less than a quarter
CHANCE, SURE = 0.6, 0.98  # accuracies of a domain classifier: up to the first it has learnt nothing
OUTRUN = 0.35  # below chance: the features have moved past what it knows
LAST = 4  # "to the end" is the last quarter of a history
Figures = Mapping[str, Any]


def tell(report: Report, results: Sequence[Result], harmful: bool = False) -> None:
    """Add the table, claims, curves and maps, and as notes the warnings and what validators advise.

    Where the shift is a control that no method can repair, the claim is that adaptation is `harmful`.
    """
    for place in (TARGET, SOURCE):
        # One note for a cell that failed, not one for each domain.
        rows = [_at(result, place) for result in results if result.figures or place == TARGET]
        tally(report, rows, "{arm}".format_map, "{place}".format_map)
    found = _by_arm(results)
    for arm in _adapted(found):
        report.claims += [_gain(results, arm, harmful), *_mixing(arm, found)]
    report.notes += [*_distances(found), *_warnings(found)]
    report.notes += [n for arm in _adapted(found) for n in _negative(results, arm, found)]
    report.notes += advice(found)
    report.notes += skips([_at(r, TARGET) for r in results], "skipped", "target's test examples")
    report.notes += skips(results, "untrained", "training examples")
    _draw(report, found)


def advice(found: Mapping[str, Mapping[int, Figures]]) -> list[str]:
    """Say which arm each validator would choose without target labels, beside what the labels say.

    `found` is {arm: {seed: figures}}. Nothing is chosen by it.
    """
    arms = [arm for arm in found if arm != TARGET_ONLY]
    if len(arms) < 2:
        return []
    right = {arm: _mean(found[arm], lambda f: _good(f[TARGET])) for arm in arms}
    best = max(arms, key=lambda arm: right[arm])
    lines = []
    for name in next(iter(found[arms[0]].values()))["validators"]:
        scores = {arm: [f["validators"][name] for f in found[arm].values()] for arm in arms}
        if all(None not in each for each in scores.values()):
            chosen = max(arms, key=lambda arm: mean(scores[arm]))
            lines.append(f"{name}: would choose {chosen} ({right[chosen]:.1%} right)")
    if not lines:
        return []
    oracle = f"the oracle {best} ({right[best]:.1%})"
    return [
        "advice of validators, which chose nothing here:",
        *lines,
        f"labels of the test: {oracle}",
    ]


def cause(before: float, after: float) -> str:
    """Say why adaptation likely hurt, from the A-distance of the features without and with it.

    A rule of thumb: far apart, above 1 of 2 with it, blames the data; close by, the method.

    >>> cause(1.9, 0.4)
    'domains are close (A-distance 1.90 -> 0.40) and yet the error is high: the method mixed up classes'
    """
    moved = f"(A-distance {before:.2f} -> {after:.2f})"
    if after > FAR:
        return f"domains are still far apart {moved}: the data, or too little weight"
    return f"domains are close {moved} and yet the error is high: the method mixed up classes"


def classifier(accuracies: Sequence[float]) -> str:
    """Say what is wrong with a classifier of two domains, from all its logged accuracies; often nothing.

    >>> classifier([0.5, 0.52, 0.49]), classifier([0.6, 0.8, 0.7])
    ('at chance from the start: it learns nothing, so nothing adapts', '')
    """
    if accuracies and min(accuracies) < OUTRUN:
        return (
            "far below chance at times: the features outrun it; give the method less weight or rate"
        )
    if accuracies and max(accuracies) <= CHANCE:
        return "at chance from the start: it learns nothing, so nothing adapts"
    if accuracies and min(accuracies[-max(len(accuracies) // LAST, 1) :]) >= SURE:
        return "at 1 to the end: the features do not follow; give the method more weight"
    return ""


def _by_arm(results: Sequence[Result]) -> dict[str, dict[int, Figures]]:
    found: dict[str, dict[int, Figures]] = {}
    for result in results:
        if result.figures is not None:
            found.setdefault(result.cell["arm"], {})[result.cell["seed"]] = result.figures
    return found


def _adapted(found: Mapping[str, Any]) -> list[str]:
    return [arm for arm in found if arm not in (SOURCE_ONLY, TARGET_ONLY)]


def _at(result: Result, place: str) -> Result:
    figures = None if result.figures is None else result.figures[place]
    return Result(result.cell | {"place": place}, figures, result.problem)


def _good(figures: Figures) -> float:
    """Give the share that is right."""
    value: float = figures["value"]
    return value if METRICS[figures["metric"]].direction == "max" else 1 - value


def _mean(runs: Mapping[int, Figures], of: Callable[[Figures], float]) -> float:
    return mean([of(figures) for figures in runs.values()])


def _gain(results: Sequence[Result], arm: str, harmful: bool) -> Claim:
    at = [_at(result, TARGET) for result in results]
    adapted, alone = {"arm": arm}, {"arm": SOURCE_ONLY}
    if harmful:
        return judge(
            f"{arm}: less of the target is right than from the source alone", at, alone, adapted
        )
    return judge(
        f"{arm}: more of the target is right than from the source alone", at, adapted, alone
    )


def _pairs(found: Mapping[str, Mapping[int, Figures]], arm: str) -> list[tuple[float, float]]:
    """Give the A-distances without and with adaptation, for each seed that has both."""
    alone = found.get(SOURCE_ONLY, {})
    both = [(alone[seed], found[arm][seed]) for seed in found[arm] if seed in alone]
    pairs = [(a["distance"], b["distance"]) for a, b in both]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _mixing(arm: str, found: Mapping[str, Mapping[int, Figures]]) -> list[Claim]:
    falls = [(before - after) / 2 for before, after in _pairs(found, arm)]
    return [over_seeds(f"{arm}: the A-distance falls (as a share of its most, 2)", falls)]


def _distances(found: Mapping[str, Mapping[int, Figures]]) -> list[str]:
    """Give the A-distance of each arm in a line."""
    shown = []
    for arm, runs in found.items():
        known = [f["distance"] for f in runs.values() if f["distance"] is not None]
        shown += [f"{arm} {mean(known):.2f}"] if known else []
    return [f"proxy A-distance of the features (0 to 2): {', '.join(shown)}"] if shown else []


def _warnings(found: Mapping[str, Mapping[int, Figures]]) -> list[str]:
    lines = []
    for arm in _adapted(found):
        wrong = [classifier([a for _, a in f["told"]]) for f in found[arm].values()]
        lines += [f"{arm}: domain classifier {text}" for text in dict.fromkeys(filter(None, wrong))]
    return lines


def _negative(
    results: Sequence[Result], arm: str, found: Mapping[str, Mapping[int, Figures]]
) -> list[str]:
    """Warn of an arm that does worse than the source alone; "perhaps" where its interval leaves that open."""
    lost = _gain(results, arm, harmful=True)
    if lost.difference is None or lost.difference <= 0:
        return []
    sure = "" if lost.verdict == "true" else "perhaps "
    pairs = _pairs(found, arm)
    why = "likely " + cause(*map(mean, zip(*pairs, strict=True))) if pairs else "too few to say why"
    return [f"{arm}: {sure}NEGATIVE TRANSFER, {100 * lost.difference:.1f} points; {why}"]


def _draw(report: Report, found: Mapping[str, Mapping[int, Figures]]) -> None:
    """Add the domain classifiers' accuracies over the steps, the maps, and all validators' scores."""
    lines: dict[str, dict[float, list[float]]] = {}
    for arm, runs in found.items():
        for step, accuracy in (pair for f in runs.values() for pair in f["told"]):
            lines.setdefault(arm, {}).setdefault(step, []).append(accuracy)
    if lines:
        drawn = curves(lines, "step", f"domain{ACCURACY}".replace("/", " "), percent=True)
        report.figures.append((drawn, "domain classifier: a half is chance; mean and range"))
    maps = {arm: f["map"] for arm, runs in found.items() for f in runs.values() if f["map"]}
    if maps:
        report.figures.append((scatter(maps), "features of test examples (t-SNE), first seed"))
    scores = {arm: [f["validators"] for f in runs.values()] for arm, runs in found.items()}
    names = list(next(iter(scores.values()))[0]) if scores else []
    rows = [
        [arm, *(_shown([each[name] for each in every]) for name in names)]
        for arm, every in scores.items()
    ]
    if rows:
        report.page.table(["arm", *names], rows, "validators: more is better; means over seeds")


def _shown(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):.3f}" if known else ""
