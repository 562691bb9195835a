"""Scores of source models: independent references, invariances, and which way is better."""

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.cross_decomposition import CCA
from sklearn.metrics import mutual_info_score

from mtl.score.frechet import frechet
from mtl.score.hscore import hscore
from mtl.score.leep import leep
from mtl.score.logme import evidence, logme
from mtl.score.nce import nce
from mtl.score.transrate import transrate

RNG = np.random.default_rng(0)
TURN = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
ON_FEATURES = {"logme": logme, "hscore": hscore, "transrate": transrate}


def features(gap=1.0, count=90, width=5, seed=0):
    """Rows of three classes whose means lie `gap` apart, and their classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    middles = np.zeros((3, width))
    middles[:, :3] = np.eye(3)
    deviations = np.linspace(
        0.5, 2, width
    )  # noise that is the same everywhere, Ledoit and Wolf shrink away
    return gap * middles[labels] + deviations * rng.normal(size=(count, width)), labels


def thoughts(count=40, classes=4, seed=0):
    """A source model's posteriors, and target classes that go with them to some extent."""
    rng = np.random.default_rng(seed)
    theta = rng.dirichlet(np.full(classes, 0.5), size=count)
    return theta, np.where(
        rng.random(count) < 0.6, theta.argmax(1) % 3, rng.integers(3, size=count)
    )


# References


def test_leep_is_the_likelihood_that_the_paper_writes_down():
    theta, labels = thoughts()
    total = 0.0
    for row, label in zip(theta, labels, strict=True):
        chance = 0.0
        for z in range(4):
            joint = sum(theta[i, z] for i in range(40) if labels[i] == label) / 40
            chance += row[z] * joint / (theta[:, z].sum() / 40)
        total += np.log(chance)
    assert leep(theta, labels) == pytest.approx(total / 40)


def test_nce_is_the_conditional_entropy_and_leep_that_of_sure_models():
    theta, labels = thoughts()
    said = theta.argmax(1)
    entropy = mutual_info_score(labels, labels)
    assert nce(said, labels) == pytest.approx(mutual_info_score(said, labels) - entropy)
    assert leep(np.eye(4)[said], labels) == pytest.approx(nce(said, labels))


@pytest.mark.parametrize("sizes", [(20, 3), (8, 12), (15, 1)])
def test_evidence_is_the_greatest_density_of_the_values(sizes):
    """By a general solver, with the density of N(0, 1 / beta + F F' / alpha) itself."""
    rng = np.random.default_rng(sizes[0])
    f, y = rng.normal(size=sizes), rng.normal(size=sizes[0])
    y = y + f[:, 0]

    def minus(logs):
        covariance = np.exp(logs[1]) * np.eye(len(y)) + np.exp(logs[0]) * f @ f.T
        return -multivariate_normal(cov=covariance).logpdf(y) / len(y)

    starts = [(a, b) for a in (-3.0, 0.0, 3.0) for b in (-2.0, 0.0)]
    wanted = min(minimize(minus, start, method="Nelder-Mead", tol=1e-9).fun for start in starts)
    assert evidence(f, y[:, None]) == pytest.approx(-wanted, abs=1e-6)


def test_logme_is_the_mean_evidence_of_each_class_against_the_others():
    f, labels = features()
    each = [evidence(f, (labels == name).astype(float)[:, None]) for name in range(3)]
    assert logme(f, labels) == pytest.approx(np.mean(each))


def test_evidence_of_features_that_say_nothing_is_that_of_noise():
    y = RNG.normal(size=(30, 1))
    noise = -0.5 * np.log(2 * np.pi * np.e * np.square(y).mean())
    assert evidence(np.zeros((30, 4)), y) == pytest.approx(noise)
    apart = np.linalg.svd(y)[0][:, 1:4]  # at right angles to the values
    assert evidence(apart, y) == pytest.approx(noise, abs=1e-9)


def test_hscore_is_the_sum_of_squared_canonical_correlations():
    f, labels = features()
    one_hot = np.eye(3)[labels][:, :2]
    one, other = CCA(n_components=2, tol=1e-12, max_iter=5000).fit_transform(f, one_hot)
    wanted = sum(np.corrcoef(one[:, k], other[:, k])[0, 1] ** 2 for k in range(2))
    assert hscore(f, labels, shrinkage=0.0) == pytest.approx(wanted, rel=1e-6)


def test_hscore_is_shrunk_as_ledoit_and_wolf_say():
    f, labels = features(count=24)
    fitted = LedoitWolf().fit(f)
    guess = np.stack([f[labels == name].mean(0) for name in range(3)])[labels]
    between = np.cov(guess, rowvar=False, bias=True)
    wanted = (1 - fitted.shrinkage_) * np.trace(np.linalg.inv(fitted.covariance_) @ between)
    assert hscore(f, labels) == pytest.approx(wanted)
    assert hscore(f, labels, fitted.shrinkage_) == pytest.approx(wanted)
    assert hscore(f, labels, 1.0) == 0


def test_hscore_of_wide_features_of_noise_is_low_thanks_to_shrinkage():
    noise, labels = RNG.normal(size=(40, 80)), np.arange(40) % 3
    assert hscore(noise, labels, 0.0) == pytest.approx(2), "the greatest that it can be"
    assert hscore(noise, labels) < 0.5


@pytest.mark.parametrize("width", [3, 60])
def test_transrate_counts_singular_values(width):
    f, labels = features(width=width, count=30)
    labels = np.where(np.arange(30) < 8, 1, labels)  # classes of unequal size

    def rate(z):
        values = np.linalg.svd(z, compute_uv=False)
        return 0.5 * np.log1p(values**2 / (len(z) * 1e-2)).sum()

    centred = f - f.mean(0)
    wanted = rate(centred) - sum(
        (labels == name).sum() / 30 * rate(centred[labels == name]) for name in range(3)
    )
    assert transrate(f, labels, eps=1e-2) == pytest.approx(wanted)


@pytest.mark.parametrize("sizes", [(30, 40, 5), (4, 6, 5), (2, 9, 3)])
def test_frechet_is_the_distance_of_gaussians(sizes):
    n, m, width = sizes
    zs, zt = (
        RNG.normal(size=(n, width)),
        RNG.normal(size=(m, width)) @ np.diag(np.arange(width) + 1) + 2,
    )
    own, other = (np.cov(z, rowvar=False) for z in (zs, zt))
    root = sqrtm(own @ other + 0j).real
    wanted = ((zs.mean(0) - zt.mean(0)) ** 2).sum() + np.trace(own + other - 2 * root)
    assert frechet(zs, zt) == pytest.approx(wanted, rel=1e-5)
    assert frechet(zt, zs) == pytest.approx(frechet(zs, zt))


# Invariances


@pytest.mark.parametrize("name", ON_FEATURES)
def test_turning_features_and_naming_classes_changes_nothing(name):
    score = ON_FEATURES[name]
    f, labels = features()
    wanted = score(f, labels)
    assert score(f @ TURN, labels) == pytest.approx(wanted)
    assert score(f[::-1], labels[::-1]) == pytest.approx(wanted)
    assert score(f, np.array(["z", "a", "k"])[labels]) == pytest.approx(wanted)
    assert score(np.pad(f, [(0, 0), (0, 3)]), labels) == pytest.approx(wanted) or name == "hscore"


def test_what_else_changes_nothing_and_what_does():
    f, labels = features()
    for score in (logme, hscore):
        assert score(1e3 * f, labels) == pytest.approx(score(f, labels))
    for score in (hscore, transrate):
        assert score(f + 9, labels) == pytest.approx(score(f, labels))
    assert logme(f + 9, labels) != pytest.approx(logme(f, labels), rel=1e-3)
    assert transrate(0.01 * f, labels) < 0.9 * transrate(f, labels)
    sheared = f @ RNG.normal(size=(5, 5)) + 4
    assert hscore(sheared, labels, 0.0) == pytest.approx(hscore(f, labels, 0.0))
    twice = np.tile(f, (2, 1)), np.tile(labels, 2)
    assert transrate(*twice) == pytest.approx(transrate(f, labels))


def test_source_and_target_classes_may_have_any_names_and_order():
    theta, labels = thoughts()
    named = np.array(["x", "b", "q"])[labels]
    order = np.array([2, 0, 3, 1])
    assert leep(theta[:, order], named) == pytest.approx(leep(theta, labels))
    assert leep(np.tile(theta, (3, 1)), np.tile(labels, 3)) == pytest.approx(leep(theta, labels))
    said = theta.argmax(1)
    assert nce(np.array(list("dbca"))[said], named) == pytest.approx(nce(said, labels))
    assert nce(np.tile(said, 2), np.tile(labels, 2)) == pytest.approx(nce(said, labels))


def test_frechet_turns_moves_and_scales_as_a_squared_distance():
    zs, zt = features()[0], features(seed=1)[0] + 1
    wanted = frechet(zs, zt)
    assert frechet(zs @ TURN - 7, zt @ TURN - 7) == pytest.approx(wanted)
    assert frechet(3 * zs, 3 * zt) == pytest.approx(9 * wanted)
    assert frechet(zs, zs[::-1]) == pytest.approx(0, abs=1e-12)
    assert frechet(zs, zs + 2) == pytest.approx(5 * 4)
    assert frechet(zs, zt + 2) > wanted


# Directions and bounds


@pytest.mark.parametrize("name", ON_FEATURES)
def test_more_is_better_the_further_classes_lie_apart(name):
    found = [ON_FEATURES[name](*features(gap)) for gap in (0.0, 1.0, 2.0, 4.0)]
    assert (np.diff(found) > 0).all()
    f, labels = features(4.0)
    assert found[-1] > ON_FEATURES[name](f, RNG.permutation(labels))


def test_more_is_better_the_surer_the_source():
    theta, labels = thoughts(400)
    blurred = [(1 - share) * np.eye(3)[labels] + share / 3 for share in (1.0, 0.6, 0.2, 0.0)]
    found = [leep(each, labels) for each in blurred]
    assert (np.diff(found) > 0).all() and found[-1] == pytest.approx(0)
    entropy = mutual_info_score(labels, labels)
    assert found[0] == pytest.approx(-entropy)
    assert -entropy <= leep(theta, labels) <= 0
    said = [np.where(np.arange(400) < known, labels, 0) for known in (0, 150, 300, 400)]
    found = [nce(each, labels) for each in said]
    assert (np.diff(found) > 0).all() and found[-1] == 0 and found[0] == pytest.approx(-entropy)


def test_bounds_hold_on_whatever_comes():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n, width, classes = (int(rng.integers(low, 20)) for low in (6, 1, 2))
        f, labels = rng.gamma(0.3, size=(n, width)), rng.integers(classes, size=n)
        labels[:2] = 0, 1
        found = len(set(labels.tolist()))
        assert -1e-9 <= hscore(f, labels) <= min(width, found - 1) + 1e-9
        assert transrate(f, labels) >= -1e-9
        assert np.isfinite(logme(f, labels))
        assert frechet(f, f[: n // 2]) >= 0


def test_odd_features_have_scores():
    labels = [0, 1, 0, 1]
    same = np.ones((4, 3))
    assert hscore(same, labels) == 0 and transrate(same, labels) == 0
    assert np.isfinite(logme(same, labels)) and frechet(same, same) == 0
    right = np.eye(2)[labels]
    assert logme(right, labels) > logme(same, labels), "even where the fit is perfect"
    assert leep([[1.0, 0.0], [1.0, 0.0]], [0, 0]) == 0, "a class that nobody is taken for"


@pytest.mark.parametrize(
    ("score", "arguments", "message"),
    [
        (leep, (np.ones((2, 2)), [0, 1]), "rows of probabilities sum to 2 at"),
        (leep, (np.eye(2), [0]), r"probabilities \(2, 2\), labels \(1,\)"),
        (nce, ([0, 1], [0]), r"source classes \(2,\), labels \(1,\)"),
        (logme, (np.eye(2), [1, 1]), r"labels \(2,\) of 1 classes"),
        (logme, (np.full((2, 2), np.nan), [0, 1]), "not finite"),
        (evidence, (np.eye(2), [0.0, 1.0]), r"features \(2, 2\), values \(2,\)"),
        (hscore, (np.eye(2), [1, 1]), "of 1 classes"),
        (hscore, (np.eye(2), [0, 1], 1.5), "shrinkage is 1.5"),
        (transrate, (np.eye(2), [0, 1], 0.0), "eps 0.0"),
        (frechet, (np.eye(2), np.ones((1, 2))), r"features \(2, 2\) and \(1, 2\)"),
        (frechet, (np.eye(2), np.ones((4, 3))), r"features \(2, 2\) and \(4, 3\)"),
    ],
)
def test_wrong_arguments_are_named(score, arguments, message):
    with pytest.raises(ValueError, match=message):
        score(*arguments)
