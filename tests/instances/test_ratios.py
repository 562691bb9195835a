"""The ratio of densities, by least squares and by a classifier."""

import numpy as np
import pytest
from scipy.stats import norm, spearmanr
from sklearn.metrics.pairwise import rbf_kernel

from mtl.instances.logistic import logistic
from mtl.instances.ulsif import _left_out, ulsif


def shifted(n, m, width=1, seed=0, deviation=0.8):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(n, width)), deviation * rng.normal(size=(m, width)) + 0.7
    return source, target, (norm.pdf(source, 0.7, deviation) / norm.pdf(source)).prod(1)


def fitted(source, target, centres, gamma, ridge):
    """The coefficients by their definition, row after row."""
    phi = [rbf_kernel(rows, centres, 1 / gamma) for rows in (source, target)]
    moments = sum(np.outer(row, row) for row in phi[0]) / len(source)
    return np.maximum(0, np.linalg.inv(moments + ridge * np.eye(len(centres))) @ phi[1].mean(0))


def test_it_is_the_least_squares_fit():
    source, target, _ = shifted(30, 20, 2)
    alpha = fitted(source, target, target, 2.0, 0.1)
    wanted = rbf_kernel(source, target, 0.5) @ alpha
    np.testing.assert_allclose(ulsif(source, target, 2.0, 0.1), wanted, rtol=1e-8)


@pytest.mark.parametrize("sizes", [(9, 6), (6, 9)])
def test_the_error_of_rows_left_out_is_that_of_fits_without_them(sizes):
    source, target, _ = shifted(*sizes, 2)
    phi = [rbf_kernel(rows, target, 0.5) for rows in (source, target)]
    errors = []
    for row in range(6):
        rest = [np.delete(rows, row, 0) for rows in (source, target)]
        alpha = fitted(*rest, target, 2.0, 0.1)
        errors.append((phi[0][row] @ alpha) ** 2 / 2 - phi[1][row] @ alpha)
    assert _left_out(*phi, 0.1) == pytest.approx(np.mean(errors), rel=1e-9)


def test_settings_are_those_of_the_least_error():
    """Compared by the error on other rows, 1/2 E w(s)^2 - E w(t), what is chosen is better than the ends."""
    source, target, ratio = shifted(300, 300)
    errors = [
        np.square(ulsif(source, target, *given) - ratio).mean()
        for given in ((None, None), (1e-3, 1e-3), (1e3, 10.0))
    ]
    assert errors[0] < 0.2 * min(errors[1:])


def test_both_rank_examples_as_the_ratio_of_densities_does():
    for weigh, deviation in ((ulsif, 0.8), (logistic, 1.0)):
        for width in (1, 2):
            source, target, ratio = shifted(300, 200, width, deviation=deviation)
            found = weigh(source, target)
            assert spearmanr(found, ratio)[0] > 0.9 and (found >= 0).all()
            assert found.mean() == pytest.approx(1, abs=0.2), "as the true ratio"


def test_logistic_ratios_are_right_where_they_are_linear():
    """Normal distributions of one deviation: log p_t / p_s = 0.7 x - 0.245."""
    source, target, ratio = shifted(4000, 1000, deviation=1.0)
    assert np.abs(np.log(logistic(source, target) / ratio)).mean() < 0.1


def test_turning_moving_and_scaling_change_nothing():
    source, target, _ = shifted(60, 40, 3)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    scales = np.array([1e-3, 1.0, 1e4])
    for weigh, changes in (
        (ulsif, (lambda z: z @ turn, lambda z: z + 9, lambda z: 100 * z)),
        (logistic, (lambda z: z + 9, lambda z: z * scales)),
    ):
        weights = weigh(source, target)
        for change in changes:
            np.testing.assert_allclose(
                weigh(change(source), change(target)), weights, rtol=1e-3, atol=1e-5
            )


def test_few_centres_and_equal_rows_do():
    source, target, ratio = shifted(300, 200)
    assert spearmanr(ulsif(source, target, centres=5), ratio)[0] > 0.8
    assert np.isfinite(ulsif(np.ones((4, 2)), np.ones((3, 2)))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, 2)), np.ones((3, 1))), r"samples of \(3, 2\) and \(3, 1\)"),
        ((np.ones((1, 1)), np.ones((3, 1))), "2 rows at least"),
        ((np.ones((2, 1)), np.ones((3, 1)), -1.0), "gamma is -1.0"),
        ((np.ones((2, 1)), np.ones((3, 1)), 1.0, 1.0, 0), "centres 0"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ulsif(*arguments)
