"""Chosen: what scores of sources were worth, from the cells of a study that trained all pairs.

A cell has a `target`, a `source` (or SCRATCH) and a `seed`; its figures are those of `mtl.problem.figures`
and, with a source, of `measure`.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from mtl.advice import Source, advise, best_margin, lead
from mtl.model import Model
from mtl.plots import bars
from mtl.report import Report
from mtl.scored import SCORES, distances, entropy, look, scores, untrained
from mtl.study import Result
from mtl.tally import over_seeds, skips, tally

SCRATCH = "scratch"
GOAL = 0.6  # rank correlation of the chosen score with the gain
WORST = 5  # pairs that are named, those that lose most
HURT = 0.01  # of accuracy: what a source must lose on average to count as one that hurts
Values = Mapping[tuple[str, str], float]  # by target and source


def measure(model: Model, own: Any, target: Any, items: Sequence[Any]) -> dict[str, Any]:
    """Score a source model for the items of a target: scores, those of an untrained network, distances."""
    seen, bare = look(model, target, items), look(untrained(model), target, items)
    try:
        far = distances(look(model, own, own.train).features, seen.features)
    except ValueError:  # too few examples for folds
        far = {}
    return {
        "scores": scores(seen),
        "bare": scores(bare),
        "distances": far,
        "entropy": entropy(seen.labels),
        "each": len(items) / len(np.unique(seen.labels)),
    }


def tell(report: Report, results: Sequence[Result], choose: Sequence[str]) -> None:
    """Add the table of accuracies, how each score ranks with the gain, and what the advice was worth."""
    tally(report, results, "{target}".format_map, "{source}".format_map)
    gains, known = _gains(results), _sources(results)
    names = [n for n in SCORES if all(n in each.scores for runs in known.values() for each in runs)]
    far = {name for runs in known.values() for each in runs for name in each.distances}
    values = {name: _mean(known, lambda each, n=name: each.scores[n]) for name in names}
    values |= {
        f"near by {name}": _mean(known, lambda each, n=name: -each.distances.get(n, np.nan))
        for name in sorted(far)
    }
    first = {name: correlations(each, gains, choose) for name, each in values.items()}
    first = {name: found for name, found in first.items() if found}
    others = [target for target in dict.fromkeys(t for t, _ in gains) if target not in choose]
    if not first or not others:
        return
    second = {name: correlations(values[name], gains, others) for name in first}
    best = max(first, key=lambda name: mean(first[name]))
    for name in first:
        chosen = f"{mean(first[name]):+.2f} on {', '.join(choose)}"
        shown = f"{mean(second[name]):+.2f}" if second[name] else "none"
        report.notes.append(
            f"{name}: rank correlation with the gain {chosen}; {shown} on the others"
        )
    pairs = sum(target in others for target, _ in gains)
    claim = (
        f"{best}, chosen on {', '.join(choose)}: rank correlation above {GOAL} on {pairs} others"
    )
    report.claims.append(over_seeds(claim, second[best], GOAL))
    by = best if best in SCORES else "logme"
    leads = _mean(known, lambda each: lead(each, by))
    tried = [pair for pair in gains if pair[0] in choose]
    margin = best_margin([leads[pair] for pair in tried], [gains[pair] for pair in tried])
    for least in dict.fromkeys([0.0, margin]):
        _advice(report, {p: g for p, g in gains.items() if p[0] in others}, known, (by, least))
    drawn = {name: (mean(each), min(each), max(each)) for name, each in second.items() if each}
    report.figures.append(
        (bars(drawn, "rank correlation"), "with the gain, mean and range over targets")
    )
    report.notes += skips(results, "skipped", "test examples, which count as errors")


def correlations(values: Values, gains: Values, targets: Sequence[str]) -> list[float]:
    """Give the rank correlation over the sources of each target, where values and gains differ.

    >>> values = {("t", "a"): 1.0, ("t", "b"): 2.0, ("t", "c"): 9.0}
    >>> correlations(values, {pair: -value for pair, value in values.items()}, ["t"])
    [-1.0]
    """
    from scipy.stats import rankdata

    found = []
    for target in targets:
        pairs = [
            pair for pair in gains if pair[0] == target and np.isfinite(values.get(pair, np.nan))
        ]
        x, y = (rankdata([each[pair] for pair in pairs]) for each in (values, gains))
        if len(pairs) > 2 and x.std() and y.std():
            found.append(round(float(np.corrcoef(x, y)[0, 1]), 6))
    return found


def _gains(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    """Give what each pair gains over scratch, the mean over seeds."""
    scratch, found = {}, dict[tuple[str, str], list[float]]()
    done = [result for result in results if result.figures is not None]
    for cell, figures, *_ in done:
        if cell["source"] == SCRATCH:
            scratch[cell["target"], cell["seed"]] = _good(figures)
    for cell, figures, *_ in done:
        base = scratch.get((cell["target"], cell["seed"]))
        if cell["source"] != SCRATCH and base is not None:
            pair = cell["target"], cell["source"]
            found.setdefault(pair, []).append(_good(figures) - base)
    return {pair: mean(each) for pair, each in found.items()}


def _good(figures: Any) -> float:
    value: float = figures["value"]
    return value if figures["metric"] == "accuracy" else 1 - value


def _sources(results: Sequence[Result]) -> dict[tuple[str, str], list[Source]]:
    """Give what was measured of each pair, by seed."""
    found: dict[tuple[str, str], list[Source]] = {}
    for cell, figures, *_ in results:
        if figures is not None and "scores" in figures:
            parts = [figures[name] for name in ("scores", "bare", "distances", "entropy", "each")]
            pair = cell["target"], cell["source"]
            found.setdefault(pair, []).append(Source(cell["source"], *parts))
    return found


def _mean(
    known: Mapping[tuple[str, str], Sequence[Source]], of: Any
) -> dict[tuple[str, str], float]:
    return {pair: float(np.mean([of(each) for each in runs])) for pair, runs in known.items()}


def _advice(
    report: Report,
    gains: Values,
    known: Mapping[tuple[str, str], Sequence[Source]],
    rule: tuple[str, float],
) -> None:
    """Say against how many of the pairs that hurt the advice was, and of the others; judge the former.

    The `rule` is a score, and the lead that it takes.
    """
    by, least = rule
    told = {pair: advise(runs, by, least) for pair, runs in known.items() if pair in gains}
    against = {pair: mean(not each.transfer for each in runs) for pair, runs in told.items()}
    hurt = [float(against[pair]) for pair in against if gains[pair] < -HURT]
    good = [float(against[pair]) for pair in against if gains[pair] > HURT]
    where = f"{by} leads by {least:.3g}"
    for what, shares in (("hurt", hurt), ("gain", good)):
        if shares:
            note = f"{mean(shares):.0%} of {len(shares)} pairs that {what} were advised against"
            report.notes.append(f"advice where {where} or less: {note}")
    for pair in sorted(against, key=lambda pair: gains[pair])[: WORST if not least else 0]:
        worst = told[pair][-1]
        word = "not advised against" if worst.transfer else worst.why
        report.notes.append(f"{pair[1]} for {pair[0]}: {100 * gains[pair]:+.1f} points: {word}")
    claim = f"of pairs that hurt, more than half are advised against ({where} or less)"
    report.claims.append(over_seeds(claim, hurt, 0.5))
