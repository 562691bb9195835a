"""Kernel mean matching, against a general solver, and against the ratio that it estimates."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize
from scipy.spatial.distance import cdist, pdist
from scipy.stats import norm, spearmanr

from mtl.instances.kmm import kmm


def shifted(n, m, width=1, seed=0):
    """Source and target rows of normal distributions, and the ratio of their densities at the source."""
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(n, width)), 0.8 * rng.normal(size=(m, width)) + 0.7
    return source, target, (norm.pdf(source, 0.7, 0.8) / norm.pdf(source)).prod(1)


def problem(source, target, gamma, ridge):
    n = len(source)
    kernel = np.exp(-cdist(source, source, "sqeuclidean") / gamma) + ridge * np.eye(n)
    aim = n / len(target) * np.exp(-cdist(source, target, "sqeuclidean") / gamma).sum(1)
    return kernel, aim


@pytest.mark.parametrize(
    ("bound", "slack", "ridge"),
    [(1000.0, 0.9, 1.0), (1.5, 0.9, 0.01), (3.0, 0.0, 0.1), (5.0, 0.02, 0.1)],
)
def test_it_solves_the_quadratic_programme(bound, slack, ridge):
    source, target, _ = shifted(25, 20, 2)
    kernel, aim = problem(source, target, 2.0, ridge)
    sums = LinearConstraint(np.ones(25), 25 * (1 - slack), 25 * (1 + slack))
    wanted = minimize(
        lambda w: w @ kernel @ w / 2 - aim @ w,
        np.ones(25),
        jac=lambda w: kernel @ w - aim,
        bounds=[(0, bound)] * 25,
        constraints=[sums],
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    found = kmm(source, target, 2.0, bound, slack, ridge)
    assert wanted.success
    assert found.min() >= 0 and found.max() <= bound and abs(found.mean() - 1) <= slack + 1e-9
    assert found @ kernel @ found / 2 - aim @ found == pytest.approx(wanted.fun, rel=1e-7)
    np.testing.assert_allclose(found, wanted.x, atol=2e-3)


def test_bounds_that_bind_are_reached():
    source, target, _ = shifted(25, 20, 2)
    assert kmm(source, target, bound=1.5).max() == 1.5
    assert kmm(source, target + 1, slack=0.0).mean() == pytest.approx(1)
    far = kmm(source, target + 50, gamma=2.0, slack=0.4)
    assert far.mean() == pytest.approx(0.6), "no example is like the target"


def test_weights_that_would_be_too_many_are_held_down():
    """Eight examples around the target, each half like it, and a quarter like six of the others."""
    around = np.concatenate([np.eye(4), -np.eye(4)])
    free = kmm(around, np.zeros((1, 4)), 1 / np.log(2), slack=9.0, ridge=0.0)
    np.testing.assert_allclose(free, 8 * 0.5 / (1 + 6 / 4 + 1 / 16), rtol=1e-6)
    held = kmm(around, np.zeros((1, 4)), 1 / np.log(2), slack=0.1, ridge=0.0)
    np.testing.assert_allclose(held, 1.1, rtol=1e-6)


def test_it_ranks_examples_as_the_ratio_of_densities_does():
    found = [
        spearmanr(kmm(s, t), ratio)[0] for s, t, ratio in (shifted(200, 150), shifted(250, 200, 2))
    ]
    assert min(found) > 0.9
    s, t, ratio = shifted(200, 150)
    assert spearmanr(kmm(s, t, ridge=1e-6), ratio)[0] < 0.6, "that is what the ridge is for"


def test_turning_moving_scaling_and_repeating_change_nothing():
    source, target, _ = shifted(30, 20, 3)
    weights = kmm(source, target)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for change in (lambda z: z @ turn, lambda z: z + 9, lambda z: 1e4 * z):
        np.testing.assert_allclose(kmm(change(source), change(target)), weights, atol=1e-4)
    median = np.median(pdist(np.concatenate([source, target]), "sqeuclidean"))
    twice = kmm(source, np.tile(target, (2, 1)), median)
    np.testing.assert_allclose(twice, weights, atol=1e-5)
    order = np.random.default_rng(2).permutation(30)
    np.testing.assert_allclose(kmm(source[order], target), weights[order], atol=1e-5)


def test_odd_samples_have_weights():
    assert np.isfinite(kmm(np.ones((4, 2)), np.ones((3, 2)))).all()
    assert np.isfinite(kmm([[1.0]], [[2.0]])).all()


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        (np.ones((3, 2)), {}, r"samples of \(3, 2\) and \(2, 1\)"),
        (np.ones((0, 1)), {}, r"samples of \(0, 1\)"),
        (np.ones((3, 1)), {"gamma": 0.0}, "gamma is 0.0"),
        (
            np.ones((3, 1)),
            {"bound": 0.5, "slack": 0.1},
            "bound is 0.5, slack is 0.1.*bound 1 or more",
        ),
        (np.ones((3, 1)), {"ridge": -1.0}, "ridge is -1.0"),
    ],
)
def test_wrong_settings_are_named(source, settings, message):
    with pytest.raises(ValueError, match=message):
        kmm(source, np.ones((2, 1)), **settings)
