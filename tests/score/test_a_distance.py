import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from mtl.apart import log_odds
from mtl.score.a_distance import a_distance


def samples(n, m, width, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)), rng.normal(size=(m, width)) + shift


def test_it_is_twice_one_less_twice_the_error_of_the_best_classifier():
    """Normal distributions one apart: the best threshold errs with probability Phi(-1/2)."""
    found = a_distance(*samples(3000, 3000, 1, shift=1.0))
    assert found == pytest.approx(2 * (1 - 2 * norm.cdf(-0.5)), abs=0.08)


def test_examples_are_judged_by_others_than_themselves():
    """With more columns than rows, a classifier knows its own training examples by heart."""
    source, target = samples(40, 40, 200)
    rows, side = np.concatenate([source, target]), np.repeat([0, 1], 40)
    assert LogisticRegression().fit(rows, side).score(rows, side) == 1
    assert a_distance(source, target) < 0.6


def test_sizes_scales_and_sides_do_not_matter():
    source, target = samples(400, 40, 3)
    assert a_distance(source, target) < 0.4
    assert a_distance(source, target + 10) == 2
    shifted = target + 1.5
    scales = np.array([1e-4, 1.0, 1e6])
    assert a_distance(source * scales, shifted * scales) == pytest.approx(
        a_distance(source, shifted)
    )
    assert a_distance(shifted, source) == pytest.approx(a_distance(source, shifted), abs=0.15)


def test_odds_are_the_ratio_of_densities_whatever_the_sizes():
    source, target = samples(4000, 1000, 1, shift=1.0)
    own, other = log_odds(source, target)
    for rows, found in ((source, own), (target, other)):
        slope, height = np.polyfit(rows[:, 0], found, 1)
        assert (slope, height) == pytest.approx((1.0, -0.5), abs=0.15)


def test_too_few_examples_are_refused():
    with pytest.raises(ValueError, match=r"samples of \[3, 9\] rows; 5 folds need 5"):
        a_distance(*samples(3, 9, 2))
