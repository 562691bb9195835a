"""reweighed: known ratios, shifts, and few labels beside many of a source."""

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from mtl.data.images import from_arrays
from mtl.problem import Pictures
from mtl.studies.reweighed import (
    ARMS,
    ESTIMATES,
    ORACLE,
    SHIFTS,
    UNWEIGHTED,
    Domains,
    agreement,
    boosted,
    gaussians,
    repaired,
    shifted,
)


def test_the_known_ratio_is_that_of_the_densities():
    source, target, log_ratio = gaussians(3, 50)
    wanted = norm(0.7, 0.8).logpdf(source).sum(1) - norm(0, 1).logpdf(source).sum(1)
    np.testing.assert_allclose(log_ratio, wanted)
    assert abs(gaussians(0, 5000)[1].mean() - 0.7) < 0.02 and source.shape == target.shape


@pytest.mark.parametrize("way", ESTIMATES)
def test_each_way_ranks_as_the_known_ratio_does(way):
    source, target, truth = gaussians(7)
    found = spearmanr(ESTIMATES[way](source, target), truth).statistic
    assert agreement(way, 7) == pytest.approx(found) and found > 0.9


@pytest.mark.parametrize("kind", SHIFTS)
def test_a_shift_changes_one_thing_alone(kind):
    pair = shifted(kind, 0, 20000)
    apart = abs(pair.source.mean(0) - pair.target.mean(0)).max()
    shares = abs(pair.labels.mean() - pair.answers.mean())
    if kind == "concept":
        assert apart < 0.05 and shares < 0.05
        near = np.abs(pair.source - [1.0, -1.0]).max(1) < 0.3
        there = np.abs(pair.target - [1.0, -1.0]).max(1) < 0.3
        assert pair.labels[near].mean() < 0.2 and pair.answers[there].mean() > 0.8
    if kind == "label":
        assert shares > 0.3
        means = [x[y == 1].mean(0) for x, y in zip(pair[:3:2], pair[1:4:2], strict=True)]
        np.testing.assert_allclose(means[0], means[1], atol=0.05)
    if kind == "covariate":
        assert apart > 1
        inside = [np.abs(x - [0.5, 0.0]).max(1) < 0.4 for x in (pair.source, pair.target)]
        rates = [y[i].mean() for y, i in zip((pair.labels, pair.answers), inside, strict=True)]
        assert rates[0] == pytest.approx(rates[1], abs=0.06)


def test_weights_repair_a_covariate_shift_and_no_concept_shift():
    errors = {
        (kind, arm): np.mean([repaired(kind, arm, seed)["value"] for seed in range(3)])
        for kind in ("covariate", "concept")
        for arm in (UNWEIGHTED, "KMM", ORACLE)
    }
    assert errors["covariate", "KMM"] < 0.6 * errors["covariate", UNWEIGHTED]
    assert errors["concept", "KMM"] > 0.9 * errors["concept", UNWEIGHTED]
    assert errors["concept", ORACLE] < 0.1
    with pytest.raises(ValueError, match="shift 'dose' is not known"):
        shifted("dose", 0)


def digits(count, seed, flip=0.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    rows = rng.normal(0, 1.0, (count, 20)) + 0.45 * (2 * labels[:, None] - 1) * np.ones(20)
    return rows, np.where(rng.random(count) < flip, 1 - labels, labels)


def test_source_examples_help_few_target_ones_and_wrong_ones_lose_their_weight():
    few, more, test = digits(8, 1), digits(40, 1), digits(500, 2)
    good = {arm: boosted(arm, digits(300, 3), few, test)["value"] for arm in ARMS}
    assert max(good["TrAdaBoost"], good["balanced"]) < good["target-only"]
    bad = {arm: boosted(arm, digits(300, 3, flip=1.0), more, test)["value"] for arm in ARMS}
    assert bad["balanced"] < bad["TrAdaBoost"] < bad["source + target"]
    assert boosted("TrAdaBoost", digits(300, 3, flip=1.0), more, test)["rounds"] == 20


def test_draws_are_counted_and_what_is_missing_is_said():
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    some = from_arrays(x, np.arange(40) % 2, "made")
    domains = Domains(Pictures(some[:20], some[:4]), Pictures(some[20:35], some[35:]), 3)
    assert domains.run("target-only", 10, 10, 0)["n"] == 3 and not domains.notes
    domains.run("balanced", 30, 10, 0)
    domains.run("balanced", 30, 10, 1)
    assert domains.notes == ["source: 30 examples were asked for, there are 20"]
