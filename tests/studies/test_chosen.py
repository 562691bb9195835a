"""chosen: what scores are found to be worth, from gains and scores that are known."""

import pytest

from mtl.report import Report
from mtl.studies.chosen import correlations, tell
from mtl.study import Result

TARGETS, SOURCES = ("t1", "t2", "t3", "t4"), ("a", "b", "c", "d")


def results(order=1):
    """Sources from bad to good: LogME ranks them right, the H-score wrong where `order` is -1."""
    found = []
    for seed in range(2):
        for target in TARGETS:
            figures = {"metric": "accuracy", "value": 0.5, "n": 9, "counts": []}
            found.append(Result({"target": target, "source": "scratch", "seed": seed}, figures))
            for place, source in enumerate(SOURCES):
                cell = {"target": target, "source": source, "seed": seed}
                good = {"logme": 0.1 * place, "hscore": order * place}
                more = {"scores": good, "bare": {"logme": 0.15, "hscore": 0.0}, "entropy": 1.0}
                more |= {"distances": {"A-distance": 1.9 - 0.1 * place}, "each": 4.0}
                value = 0.5 + 0.04 * (place - 1.5)
                found.append(Result(cell, figures | {"value": value} | more))
    return found


def test_rank_correlation_is_within_a_target():
    values = {("x", "a"): 1.0, ("x", "b"): 2.0, ("x", "c"): 3.0, ("y", "a"): 9.0, ("y", "b"): 8.0}
    gains = {("x", "a"): 0.1, ("x", "b"): 0.3, ("x", "c"): 0.2, ("y", "a"): 0.0, ("y", "b"): 0.0}
    assert correlations(values, gains, ["x"]) == [0.5]
    assert correlations(values, gains, ["x", "y"]) == [0.5], "where there is something to rank"
    ranks = dict.fromkeys(gains, 1.0)
    assert correlations(ranks, gains, ["x"]) == []


def test_the_score_that_is_best_where_one_chooses_is_judged_elsewhere():
    report = Report("x", 0, {})
    tell(report, results(-1), ["t1"])
    claim = report.claims[0]
    assert claim.claim == "logme, chosen on t1: rank correlation above 0.6 on 12 others"
    assert claim.verdict == "true" and claim.difference == pytest.approx(1.0)
    notes = "\n".join(report.notes)
    assert "hscore: rank correlation with the gain -1.00 on t1; -1.00 on the others" in notes
    assert "near by A-distance: rank correlation with the gain +1.00 on t1" in notes
    assert report.comparisons["d"]["t2"]["accuracy"] == pytest.approx(0.56)


def test_pairs_that_hurt_are_counted_with_what_the_advice_said_of_them():
    report = Report("x", 0, {})
    tell(report, results(), ["t1", "t2"])
    notes = [note for note in report.notes if note.startswith("advice")]
    # Untrained networks have 0.15: a and b (0 and 0.1) are below it, and these are those that hurt.
    assert notes[0].endswith("100% of 4 pairs that hurt were advised against")
    assert notes[1].endswith("0% of 4 pairs that gain were advised against")
    worst = next(note for note in report.notes if note.startswith("a for t3"))
    assert "-6.0 points: NEGATIVE TRANSFER likely: its data are of another kind" in worst


def test_nothing_is_claimed_without_others():
    report = Report("x", 0, {})
    tell(report, results(), TARGETS)
    assert report.claims == [] and report.comparisons
