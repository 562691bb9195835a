"""flat: neighbours stay neighbours."""

import numpy as np
import pytest

from mtl.score.flat import flat


def test_two_groups_stay_apart_and_the_map_repeats():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(0, 0.1, (20, 5)), rng.normal(9, 0.1, (20, 5))])
    placed = flat(rows)
    assert placed.shape == (40, 2) and np.abs(placed).max() == pytest.approx(1.0)
    gaps = np.linalg.norm(placed[:, None] - placed[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert ((gaps.argmin(1) < 20) == (np.arange(40) < 20)).all(), "the nearest is of its own group"
    assert np.array_equal(flat(rows), placed)


def test_few_and_equal_rows():
    assert np.isfinite(flat(np.ones((6, 3)))).all()
    with pytest.raises(ValueError, match="3 rows; a map needs 4"):
        flat(np.eye(3))
