import math
import random
from functools import cache

import numpy as np
import pytest
from scipy import stats

from mtl.metrics import (
    METRICS,
    Interval,
    bootstrap,
    bootstrap_difference,
    edits,
    error_rate,
    mean_and_range,
    phone_edits,
    seed_interval,
    t_quantile,
    verdict,
)


def levenshtein(a, b):
    @cache
    def distance(i, j):
        if not i or not j:
            return i + j
        swap = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(swap, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(a), len(b))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "unit", "expected"),
    [
        ("the cat sat", "the cat sat", "word", (0, 3)),
        ("the cat sat", "cat sat on", "word", (2, 3)),
        ("kitten", "sitting", "char", (3, 6)),
        ("a b", "ab", "char", (1, 3)),  # the space is a character
        ("", "two words", "word", (2, 0)),
        ("", "abc", "char", (3, 0)),
        ("two words", "", "word", (2, 2)),
        ("abc", "", "char", (3, 3)),
        ("", "", "char", (0, 0)),
        (" a \t b\n", "a b", "char", (0, 3)),
        ("a\tb", "a b", "word", (0, 2)),
        ("mañana über", "manana über", "char", (1, 11)),
    ],
)
def test_edits_by_hand(reference, hypothesis, unit, expected):
    assert edits(reference, hypothesis, unit) == expected


def test_phone_edits_agree_with_brute_force():
    rng = random.Random(0)
    for _ in range(100):
        a, b = (rng.choices(["a", "aː", "t͡ʃ", "|"], k=rng.randrange(9)) for _ in "ab")
        bare = ([phone for phone in text if phone != "|"] for text in (a, b))
        x, y = map(tuple, bare)
        assert phone_edits(" ".join(a), " ".join(b)) == (levenshtein(x, y), len(x))


def test_edits_agree_with_brute_force():
    rng = random.Random(0)
    for _ in range(200):
        a, b = (" ".join(rng.choices(["a", "b", "ab", "ñ"], k=rng.randrange(7))) for _ in "ab")
        assert edits(a, b, "char") == (levenshtein(a, b), len(a))
        words = a.split(), b.split()
        assert edits(a, b, "word") == (levenshtein(*words), len(words[0]))


def test_unknown_unit_is_named():
    with pytest.raises(ValueError, match="'letter'; use 'word' or 'char'"):
        edits("a", "b", "letter")


def test_error_rate_weighs_by_length():
    assert error_rate([1, 1], [1, 9]) == 0.2  # the mean of the two rates would be 0.56
    assert error_rate([3], [1]) == 3.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: error_rate([], []), r"errors has shape \(0,\)"),
        (lambda: error_rate([1], [0]), "lengths sum to 0"),
        (lambda: error_rate([1, 2], [3]), "sizes differ: {'errors'"),
        (lambda: bootstrap([], []), "numerators has shape"),
        (lambda: bootstrap([1, math.nan], [1, 1]), r"numerators\[1\] is nan"),
        (lambda: bootstrap([1, 1], [1, 1], groups=["x"]), "groups names 1 examples of 2"),
        (lambda: bootstrap([1, 1], [1, 1], level=95), "level is 95"),
        (lambda: bootstrap_difference([1], [1], [1], [0]), "b_denominators sum to 0"),
        (lambda: mean_and_range([]), "values has shape"),
        (lambda: seed_interval([]), "values has shape"),
        (lambda: t_quantile(0.95, 0), "df 0"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def coverage(truth, intervals):
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


def test_bootstrap_covers_a_binomial_rate():
    samples = np.random.default_rng(0).random((300, 120)) < 0.3
    covered = coverage(0.3, [bootstrap(sample, np.ones(120), draws=300) for sample in samples])
    assert 0.91 <= covered <= 0.98


@pytest.mark.parametrize("speakers", [2, 4, 8])
def test_groups_keep_coverage_where_examples_lose_it(speakers):
    rates = np.random.default_rng(0).normal(0.3, 0.1, (300, speakers))
    who, ones = np.arange(speakers).repeat(20), np.ones(20 * speakers)
    rows = [row.repeat(20) for row in rates]
    assert coverage(0.3, [bootstrap(row, ones, groups=who, draws=300) for row in rows]) >= 0.91
    assert coverage(0.3, [bootstrap(row, ones, draws=300) for row in rows]) <= 0.7


@pytest.mark.parametrize("speakers", [3, 5])
def test_few_units_give_the_t_interval_of_their_mean(speakers):
    rates = [0.2, 0.5, 0.3, 0.4, 0.1][:speakers]
    expected = stats.t.interval(0.95, speakers - 1, np.mean(rates), stats.sem(rates))
    assert bootstrap(rates, [1] * speakers, draws=40_000) == pytest.approx(expected, rel=0.02)


def test_bootstrap_agrees_with_scipy_on_a_ratio():
    rng = np.random.default_rng(0)
    errors, lengths = rng.integers(0, 6, 400), rng.integers(5, 30, 400)
    ours = bootstrap(errors, lengths, draws=4000)
    theirs = stats.bootstrap(
        (errors, lengths),
        lambda e, n, axis: e.sum(axis) / n.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        rng=1,
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours == pytest.approx(theirs, abs=0.06 * width)


def test_bootstrap_repeats_and_widens_with_level():
    errors, lengths = [0, 3, 1, 0, 2, 5, 1, 0], [9, 8, 7, 9, 5, 8, 9, 4]
    narrow = bootstrap(errors, lengths, level=0.5)
    wide = bootstrap(errors, lengths, level=0.99)
    assert narrow == bootstrap(errors, lengths, level=0.5)
    assert wide.low < narrow.low < error_rate(errors, lengths) < narrow.high < wide.high


def test_order_and_names_of_groups_do_not_matter():
    errors, lengths = np.array([1, 0, 4, 2, 2, 5]), np.array([9, 8, 7, 6, 9, 9])
    who = ["b", "a", "b", "c", "a", "c"]
    merged = bootstrap([5, 2, 7], [16, 17, 15])  # each speaker's sums, in order of appearance
    assert bootstrap(errors, lengths, groups=who) == merged
    assert bootstrap(errors, lengths, groups=[(name, 1) for name in who]) == merged


def test_one_unit_bounds_nothing():
    nothing = Interval(-math.inf, math.inf)
    assert bootstrap([1], [4]) == nothing
    assert bootstrap([1, 2], [4, 4], groups=["anna", "anna"]) == nothing
    assert seed_interval([0.3]) == nothing
    assert verdict(nothing) == "undecided"


def test_empty_references_are_survived():
    low, high = bootstrap([1] + [0] * 7, [0, 9] + [0] * 6)  # most draws hold no reference at all
    assert 0 <= low <= high < math.inf


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("examples", [3, 30])
def test_identical_systems_differ_by_zero(relative, examples):
    errors, lengths = [0, 3, 1] * (examples // 3), [7, 9, 8] * (examples // 3)
    zero = bootstrap_difference(errors, lengths, errors, lengths, relative=relative)
    assert zero == Interval(0, 0)
    assert verdict(zero) == "undecided", "equal results refute nothing"


def test_pairing_sees_what_two_intervals_do_not():
    rng = np.random.default_rng(0)
    lengths = np.full(200, 20)
    b = rng.integers(0, 15, 200)  # utterances differ much more than the systems do
    a = b + (rng.random(200) < 0.2)
    assert bootstrap(a, lengths).low < bootstrap(b, lengths).high
    assert verdict(bootstrap_difference(a, lengths, b, lengths)) == "true"
    assert verdict(bootstrap_difference(b, lengths, a, lengths)) == "false"


def test_relative_difference_is_a_share_of_the_first():
    a, b, lengths = np.arange(20) * 4, np.arange(20) * 3, np.full(20, 100)
    assert bootstrap_difference(a, lengths, b, lengths, relative=True) == pytest.approx(
        (0.25, 0.25)
    )


def test_relative_difference_to_a_faultless_system_is_unbounded():
    low, high = bootstrap_difference([1] + [0] * 9, [5] * 10, [1] * 10, [5] * 10, relative=True)
    assert low == -math.inf
    assert high < 0


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 12, 29, 30, 1000])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_t_quantile_agrees_with_scipy(df, level):
    assert t_quantile(level, df) == pytest.approx(stats.t.ppf((1 + level) / 2, df), rel=1e-9)


def test_seed_interval_agrees_with_scipy():
    values = [0.21, 0.25, 0.19, 0.24, 0.3]
    expected = stats.t.interval(0.9, 4, np.mean(values), stats.sem(values))
    assert seed_interval(values, 0.9) == pytest.approx(expected)


def test_mean_and_range():
    assert mean_and_range([0.5, 0.25, 0.0]) == (0.25, 0.0, 0.5)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((1e-9, 1), "true"),
        ((0, 1), "undecided"),
        ((-1, 1e-9), "undecided"),
        ((-1, 0), "false"),
        ((0, 0), "undecided"),
        ((-2, -1), "false"),
        ((math.nan, math.nan), "undecided"),
    ],
)
def test_verdict(interval, expected):
    assert verdict(Interval(*interval)) == expected


def test_metrics_measure_one_example():
    values = {
        "cer": METRICS["cer"].per_example("a cat", "a bat"),
        "wer": METRICS["wer"].per_example("a cat", "a bat"),
        "per": METRICS["per"].per_example("k aː | t", "k a t s"),
        "accuracy": METRICS["accuracy"].per_example(("fr", 3), ("fr", 3)),
        "error": METRICS["error"].per_example("fr", "de"),
        "f1": METRICS["f1"].per_example(["a", "b"], ["b"]),
        "exact": METRICS["exact"].per_example(["a", "b"], ["b"]),
        "mae": METRICS["mae"].per_example([1.0, 2.0], [3.0, 2.5]),
        "iou": METRICS["iou"].per_example([[0, 1]], [[0, 0]]),
        "pixel_accuracy": METRICS["pixel_accuracy"].per_example([[0, 1]], [[0, 0]]),
    }
    lower = {"cer": (1, 5), "wer": (1, 2), "per": (2, 3), "error": (1, 1), "mae": (2.5, 2)}
    higher = {"accuracy": (1, 1), "f1": (2, 3), "exact": (0, 1), "pixel_accuracy": (1, 2)}
    higher["iou"] = ((1 / 2 + 0) / 2, 1)
    assert values == lower | higher
    assert values.keys() == METRICS.keys()
    better = {name: metric.direction for name, metric in METRICS.items()}
    assert better == dict.fromkeys(lower, "min") | dict.fromkeys(higher, "max")
    assert [name for name, metric in METRICS.items() if metric.scale] == ["mae"]
