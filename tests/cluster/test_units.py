"""Units of k-means, and sparse codes: that they are what they are said to be."""

import numpy as np
import pytest
from scipy.optimize import minimize

from mtl.cluster.kmeans import kmeans, nearest
from mtl.cluster.sparse_coding import codes, sparse_coding


def blobs(seed=0, width=3):
    rng = np.random.default_rng(seed)
    middles = 10 * rng.normal(size=(4, width))
    return middles, middles[np.arange(200) % 4] + 0.3 * rng.normal(size=(200, width))


def test_centres_are_the_means_of_what_is_near():
    middles, rows = blobs()
    centres = kmeans(rows, 4)
    units = nearest(rows, centres)
    squared = ((rows[:, None] - centres) ** 2).sum(2)
    np.testing.assert_array_equal(units, squared.argmin(1))
    found = np.stack([rows[units == unit].mean(0) for unit in range(4)])
    np.testing.assert_allclose(centres, found, atol=0.05)
    assert len(set(nearest(middles, centres))) == 4
    np.testing.assert_array_equal(kmeans(rows, 4), centres)


def test_units_do_not_depend_on_where_and_how_large_the_rows_are():
    _, rows = blobs()
    units = nearest(rows, kmeans(rows, 4))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for change in (lambda z: z @ turn, lambda z: z + 5, lambda z: 100 * z):
        other = nearest(change(rows), kmeans(change(rows), 4))
        assert len(set(zip(units.tolist(), other.tolist(), strict=True))) == 4


def test_too_few_different_rows_are_refused():
    with pytest.raises(ValueError, match="3 units of 2 different rows; give 1 to 2"):
        kmeans([[1.0], [1.0], [2.0]], 3)
    with pytest.raises(ValueError, match="1 units of 0 different rows"):
        kmeans(np.zeros((0, 2)), 1)


def parts(seed=0, atoms=6, width=8):
    """Rows of two out of six atoms each."""
    rng = np.random.default_rng(seed)
    dictionary = np.linalg.qr(rng.normal(size=(width, width)))[0][:atoms]
    chosen = np.stack([rng.permutation(atoms)[:2] for _ in range(400)])
    a = np.zeros((400, atoms))
    np.put_along_axis(a, chosen, rng.choice([-1, 1], (400, 2)) * rng.uniform(1, 2, (400, 2)), 1)
    return dictionary, a @ dictionary + 0.01 * rng.normal(size=(400, width))


def test_codes_are_the_least_of_the_papers_objective():
    """Compared with a general solver, of codes split in their positive and negative parts."""
    rng = np.random.default_rng(0)
    dictionary = rng.normal(size=(5, 4))
    rows, beta = rng.normal(size=(3, 4)), 0.7
    for row, code in zip(rows, codes(rows, dictionary, beta), strict=True):

        def objective(halves, row=row):
            return ((row - (halves[:5] - halves[5:]) @ dictionary) ** 2).sum() + beta * halves.sum()

        wanted = minimize(objective, np.ones(10), bounds=[(0, None)] * 10, tol=1e-14)
        found = ((row - code @ dictionary) ** 2).sum() + beta * np.abs(code).sum()
        assert found == pytest.approx(wanted.fun, rel=1e-4)


def test_codes_meet_the_conditions_of_a_minimum():
    dictionary, rows = parts()
    beta = 0.3
    a = codes(rows, dictionary, beta)
    slope = 2 * (rows - a @ dictionary) @ dictionary.T
    assert np.abs(slope).max() <= beta * (1 + 1e-3)
    np.testing.assert_allclose(slope[a != 0], beta * np.sign(a[a != 0]), rtol=1e-3)
    assert (a != 0).sum(1).mean() == pytest.approx(2, abs=0.1)
    np.testing.assert_allclose(codes(3 * rows, dictionary, 3 * beta), 3 * a, atol=1e-3)
    order = np.array([3, 1, 5, 0, 2, 4])
    np.testing.assert_allclose(codes(rows, dictionary[order], beta), a[:, order], atol=1e-3)


def test_the_parts_are_found_again():
    truth, rows = parts()
    found = sparse_coding(rows, 6, beta=1.5)
    assert np.linalg.norm(found, axis=1).max() <= 1 + 1e-9
    likeness = np.abs(found @ truth.T) / np.linalg.norm(found, axis=1)[:, None]
    assert (likeness.max(0) > 0.98).all(), "each atom, but for its sign and place"
    scaled = sparse_coding(10 * rows, 6, beta=15.0)
    np.testing.assert_allclose(scaled, found, atol=0.02)
    np.testing.assert_array_equal(sparse_coding(rows, 6, beta=1.5), found)


def test_what_is_learnt_serves_better_than_chance_directions():
    _, rows = parts()
    chance = np.random.default_rng(1).normal(size=(6, 8))
    chance /= np.linalg.norm(chance, axis=1)[:, None]

    def objective(dictionary):
        a = codes(rows, dictionary, 0.2)
        return ((rows - a @ dictionary) ** 2).sum() + 0.2 * np.abs(a).sum()

    assert objective(sparse_coding(rows, 6, beta=0.2)) < 0.8 * objective(chance)


@pytest.mark.parametrize(
    ("rows", "beta", "message"),
    [(np.ones((3, 2)), 0.0, "beta 0.0"), (np.ones((1, 2)), 1.0, r"rows \(1, 2\)")],
)
def test_wrong_settings_are_named(rows, beta, message):
    with pytest.raises(ValueError, match=message):
        sparse_coding(rows, 2, beta)
    with pytest.raises(ValueError, match="beta is -1; give a strength above 0"):
        codes(rows, np.ones((1, 2)), -1)
