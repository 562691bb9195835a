"""What a study found, as rows, curves and claims."""

import math
import statistics

import pytest

from mtl.report import Report
from mtl.study import Result
from mtl.tally import differences, judge, lines, over_examples, over_seeds, skips, tally

T2 = 4.302652729911275  # Student's t for 95 % and two degrees of freedom


def result(way, seed, value, **figures):
    cell = {"way": way, "count": 2, "seed": seed}
    if value is None:
        return Result(cell, None, "ValueError: nothing to learn")
    return Result(cell, {"metric": "accuracy", "value": value, "n": 20, **figures})


def counts(hits, speakers="xy"):
    return [[hit, 1.0, speakers[index % len(speakers)]] for index, hit in enumerate(hits)]


def told(results, **more):
    report = Report("toy", 0, {})
    tally(report, results, lambda c: c["way"], lambda c: f"{c['count']} examples", **more)
    return report


def test_cells_become_means_with_their_ranges():
    found = [result("full", seed, value) for seed, value in enumerate((0.5, 0.75, 0.25))]
    report = told([*found, result("head", 0, 0.125)])
    rows = report.comparisons["2 examples"]
    assert rows["full"] == {"accuracy": 0.5, "n": 20, "range": [0.25, 0.75], "seeds": 3}
    assert rows["head"] == {"accuracy": 0.125, "n": 20, "range": [0.125, 0.125], "seeds": 1}
    assert report.table()[1] == [
        ["full", "20", "accuracy %", "50.00"],
        ["head", "20", "accuracy %", "12.50"],
    ]


def test_failed_cells_become_notes_once_and_leave_the_others():
    report = told([result("full", 0, 0.5), result("full", 1, None), result("kl", 0, None)])
    tally(report, [result("full", 1, None)], lambda c: c["way"], lambda c: "again")
    assert report.comparisons == {
        "2 examples": {"full": {"accuracy": 0.5, "n": 20, "range": [0.5, 0.5], "seeds": 1}}
    }
    assert report.notes == [
        f"failed: way={way} count=2 seed={seed}: ValueError: nothing to learn"
        for way, seed in (("full", 1), ("kl", 0))
    ]


def test_another_figure_is_a_number_of_the_same_examples_or_brings_its_own():
    own = {"metric": "cer", "value": 0.5, "n": 7}
    found = [result("full", 0, 0.25, others=0.75, source=own), result("head", 0, 0.5)]
    assert told(found, figure="others").comparisons["2 examples"] == {
        "full": {"accuracy": 0.75, "n": 20, "range": [0.75, 0.75], "seeds": 1}
    }
    assert told(found, figure="source").comparisons["2 examples"] == {
        "full": {"cer": 0.5, "n": 7, "range": [0.5, 0.5], "seeds": 1}
    }


def test_what_no_run_could_use_is_counted_once():
    found = [
        result("full", 0, 0.5, skipped={"b.png": "b.png: damaged"}),
        result("head", 0, 0.5, skipped={"b.png": "b.png: damaged", "a.png": "loss not finite"}),
        *(result("head", 1, 0.5), result("kl", 0, None)),
    ]
    assert skips(found, "skipped", "tested") == [
        "tested: 2 could not be used, the first a.png: loss not finite"
    ]
    assert skips(found[:1], "skipped", "tested") == [
        "tested: 1 could not be used, the first b.png: damaged"
    ]
    assert skips(found[2:], "skipped", "tested") == []


def test_lines_hold_every_seed_of_every_place():
    found = [result("full", 0, 0.5), result("full", 1, 0.25), result("head", 0, None)]
    assert lines(found, "count", "way") == {"full": {2.0: [0.5, 0.25]}}
    assert lines(found, "count", "way", "others") == {}


def test_differences_pair_the_seeds_that_both_have():
    found = [result("new", 2, 0.75), result("new", 0, 0.5), result("new", 1, None)]
    found += [result("old", seed, 0.25) for seed in range(3)] + [result("old", 3, 0.5)]
    assert differences(found, {"way": "new"}, {"way": "old"}) == {2: 0.5, 0: 0.25}
    assert differences(found, {"way": "new"}, {"way": "lost"}) == {}


@pytest.mark.parametrize(
    ("margin", "expected"),
    [(0.0, "true"), (0.0051, "true"), (0.0052, "undecided"), (0.06, "false")],
)
def test_seeds_are_judged_by_students_t(margin, expected):
    values = [0.02, 0.03, 0.04]
    reach = T2 * statistics.stdev(values) / math.sqrt(3)
    claim = over_seeds("it helps", values, margin)
    assert claim.verdict == expected
    assert claim.difference == pytest.approx(0.03)
    assert claim.interval == pytest.approx((0.03 - reach, 0.03 + reach))
    assert 0.0051 < 0.03 - reach < 0.0052 and 0.03 + reach < 0.06, "so the verdicts follow"


def test_no_seed_and_one_seed_decide_nothing():
    assert over_seeds("none ran", [])[1:4] == ("undecided", None, None)
    claim = over_seeds("one ran", [5.0])
    assert claim[1:3] == ("undecided", 5.0) and claim.interval == (-math.inf, math.inf)


def test_examples_are_judged_with_a_margin_in_pairs():
    # a is right of 3 in 4, b of 2 in 4, on every speaker alike: any resampling gives 0.25.
    a, b = (
        [[hit, 1.0, s] for s in "uvwxyz" for hit in hits] for hits in ([1, 1, 1, 0], [1, 1, 0, 0])
    )
    for margin, expected in ((0.0, "true"), (0.24, "true"), (0.25, "undecided"), (0.3, "false")):
        claim = over_examples("a is right more often", a, b, margin)
        assert claim[1:4] == (expected, 0.25, (0.25, 0.25)), margin
    assert over_examples("b is", b, a, -0.3).verdict == "true"
    rates = over_examples(
        "long ones count more", [[3, 9, "x"], [0, 1, "y"]], [[0, 9, "x"], [0, 1, "y"]]
    )
    assert rates.difference == pytest.approx(3 / 10)


def test_few_speakers_that_disagree_decide_nothing():
    a, b = counts([1, 0] * 8), counts([0, 0] * 8)
    assert over_examples("a is right more often", a, b).verdict == "undecided"


def test_other_examples_are_refused():
    with pytest.raises(ValueError, match="different examples"):
        over_examples("not the same", counts([1, 0], "xy"), counts([1, 0], "xz"))


def test_claims_are_judged_over_seeds_or_else_over_examples():
    new, old = ({"way": way} for way in ("new", "old"))
    found = [result("new", seed, 0.5 + 0.01 * seed) for seed in range(3)]
    found += [result("old", seed, 0.25) for seed in range(3)]
    judged = judge("new is better", found, new, old)
    assert judged.of == "new less old"
    assert judged._replace(of="") == over_seeds("new is better", [0.25, 0.26, 0.27])
    assert judge("by much", found, new, old, 0.3).verdict == "false"
    assert judge("it ran", found, new, {"way": "lost"})[1:4] == ("undecided", None, None)
    rows = [counts([1] * 12, "uvwxyz"), counts([1, 0] * 6, "uvwxyz")]
    alone = [result("new", 0, 1.0, counts=rows[0]), result("old", 0, 0.5, counts=rows[1])]
    alone += [result("old", 1, 0.5), result("new", 1, None)]
    assert judge("better", alone, new, old, 0.1)[:4] == over_examples("better", *rows, 0.1)[:4]
