"""Self-taught clustering: its objective, that it never grows, and what other examples are good for."""

import numpy as np
import pytest
from scipy.special import rel_entr
from sklearn.metrics import mutual_info_score
from sklearn.metrics import normalized_mutual_info_score as agreement

from mtl.cluster.stc import information, stc


def random_counts(rng, rows, columns):
    """Counts of which many are 0, as are whole rows and columns."""
    counts = rng.poisson(rng.gamma(0.3, 2.0, size=(rows, columns))).astype(float)
    counts[rng.integers(rows)] = 0
    counts[:, rng.integers(columns)] = 0
    counts[0, 0] = 1
    return counts


def divergence(counts, rows, columns):
    """D(p || p~), p~(x, z) = p(x~, z~) p(x) / p(x~) p(z) / p(z~), entry by entry (Dai et al. 2008)."""
    p = counts / counts.sum()
    near = np.zeros_like(p)
    for x in range(p.shape[0]):
        for z in range(p.shape[1]):
            own, like = rows == rows[x], columns == columns[z]
            block = p[np.ix_(own, like)].sum()
            scale = p[own].sum() * p[:, like].sum()
            near[x, z] = block * p[x].sum() * p[:, z].sum() / scale if scale else 0
    return rel_entr(p, near).sum()


def test_information_is_that_of_scikit_learn():
    counts = random_counts(np.random.default_rng(0), 6, 5)
    wanted = mutual_info_score(None, None, contingency=counts)
    assert information(counts / counts.sum()) == pytest.approx(wanted)


@pytest.mark.parametrize("seed", range(3))
def test_the_objective_is_the_divergence_of_what_clusters_say(seed):
    rng = np.random.default_rng(seed)
    target, auxiliary = random_counts(rng, 9, 11), random_counts(rng, 14, 11)
    found = stc(target, auxiliary, (3, 4, 3), weight=0.7, restarts=2, seed=seed)
    own = divergence(target, found.target, found.features)
    other = divergence(auxiliary, found.auxiliary, found.features)
    assert found.losses[-1] == pytest.approx(own + 0.7 * other, rel=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_the_objective_never_grows_and_the_run_ends(seed):
    rng = np.random.default_rng(seed)
    columns = int(rng.integers(2, 30))
    target, auxiliary = (random_counts(rng, int(rng.integers(2, 40)), columns) for _ in range(2))
    sizes = tuple(rng.integers(1, 8, size=3))
    weight = rng.choice([0.0, 0.1, 1.0, 10.0])
    losses = np.array(stc(target, auxiliary, sizes, weight, 200, 1, seed).losses)
    assert (np.diff(losses) <= 1e-12).all() and losses.min() >= 0
    assert len(losses) < 200, "it stops where nothing changes"


@pytest.mark.parametrize("weight", [0.2, 5.0])
def test_in_the_end_no_feature_is_nearer_to_another_cluster(weight):
    """By the definition: p(z) D(p(X | z) || p~(X | z~)) + weight q(z) D(q(Y | z) || q~(Y | z~))."""
    rng = np.random.default_rng(0)
    counts = [rng.gamma(0.5, size=(rows, 30)) for rows in (12, 15)]
    found = stc(*counts, (3, 3, 4), weight, rounds=200)
    costs = np.zeros((30, 4))
    for table, rows, scale in zip(counts, found[:2], (1, weight), strict=True):
        p = table / table.sum()
        for cluster in range(4):
            like = p[:, found.features == cluster]
            blocks = np.array([like[rows == row].sum() for row in rows])
            sizes = np.array([p[rows == row].sum() for row in rows])
            near = blocks / like.sum() * p.sum(1) / sizes
            costs[:, cluster] += scale * rel_entr(p, near[:, None] * p.sum(0)).sum(0)
    np.testing.assert_array_equal(found.features, costs.argmin(1))


def made(rng, count, length, mix):
    """Examples of some classes, each a bag of `length` features, which come in six groups."""
    classes, groups = np.arange(count) % len(mix), np.arange(60) % 6
    shares = mix[classes][:, groups]
    shares = shares / shares.sum(1, keepdims=True)
    return np.stack([rng.multinomial(length, share) for share in shares]), classes, groups


def test_auxiliary_examples_of_other_classes_help():
    """30 target examples of 15 features each say little of which features go together; 300 others do."""
    mix, other = 1 + 3 * np.repeat(np.eye(3), 2, axis=1), 1 + 5 * np.eye(6)
    together, alone, features = [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        target, classes, groups = made(rng, 30, 15, mix)
        auxiliary, _, _ = made(rng, 300, 60, other)
        found = [stc(target, auxiliary, (3, 6, 6), weight, seed=seed) for weight in (1.0, 0.0)]
        together.append(agreement(classes, found[0].target))
        alone.append(agreement(classes, found[1].target))
        features.append(agreement(groups, found[0].features))
    assert np.mean(together) > 0.75 > 0.65 > np.mean(alone)
    assert np.mean(features) > 0.9


def test_scales_do_not_matter_and_the_seed_decides():
    rng = np.random.default_rng(0)
    target, auxiliary = random_counts(rng, 12, 9), random_counts(rng, 20, 9)
    found = stc(target, auxiliary, (3, 3, 3), seed=5)
    other = stc(1000 * target, auxiliary / 7, (3, 3, 3), seed=5)
    assert all(np.array_equal(a, b) for a, b in zip(found[:3], other[:3], strict=True))
    assert stc(target, auxiliary, (3, 3, 3), seed=5).losses == found.losses
    once = stc(target, auxiliary, (3, 3, 3), restarts=1, seed=5)
    assert found.losses[-1] <= once.losses[-1]


def test_without_weight_the_target_is_clustered_alone():
    rng = np.random.default_rng(0)
    target, auxiliary = random_counts(rng, 12, 9), random_counts(rng, 20, 9)
    found, other = (stc(target, counts, (3, 3, 3), 0.0) for counts in (auxiliary, auxiliary**2))
    assert np.array_equal(found.target, other.target) and found.losses[-1] == other.losses[-1]


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        (-np.ones((2, 3)), {}, r"counts \(2, 3\) must be a table, 0 or more"),
        (np.zeros((2, 3)), {}, "not all of them 0"),
        (np.ones(3), {}, r"counts \(3,\)"),
        (np.ones((2, 4)), {}, "4 target features, 3 auxiliary ones"),
        (np.ones((2, 3)), {"sizes": (2, 0, 1)}, r"sizes \(2, 0, 1\)"),
        (np.ones((2, 3)), {"weight": -1.0}, "weight -1.0"),
    ],
)
def test_wrong_arguments_are_named(target, settings, message):
    with pytest.raises(ValueError, match=message):
        stc(target, np.ones((2, 3)), **({"sizes": (1, 1, 1)} | settings))
