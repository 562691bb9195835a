import numpy as np
import pytest

from mtl.score.reliability import reliability


def test_honest_answers_have_little_error_and_boasting_ones_its_size():
    rng = np.random.default_rng(0)
    said = rng.uniform(0.2, 1.0, 20_000)
    hits = rng.random(20_000) < said
    assert reliability(said, hits).error() < 0.02
    assert reliability(said, rng.random(20_000) < said - 0.2).error() == pytest.approx(
        0.2, abs=0.02
    )


def test_groups_agree_with_a_plain_count():
    rng = np.random.default_rng(1)
    said, hits = rng.random(200), rng.integers(0, 2, 200)
    said[:2] = 0.0, 1.0
    found = reliability(said, hits, bins=4)
    gaps = 0.0
    for number, (low, high) in enumerate([(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 2)]):
        mine = (said >= low) & (said < high)
        assert found.counts[number] == mine.sum()
        assert found.said[number] == pytest.approx(said[mine].mean())
        assert found.right[number] == pytest.approx(hits[mine].mean())
        gaps += abs(said[mine].mean() - hits[mine].mean()) * mine.sum()
    assert found.error() == pytest.approx(gaps / 200)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), r"confidences \(0,\)"),
        (([0.5], [1, 0]), r"hits \(2,\)"),
        (([1.5], [1]), "confidences from 1.5 to 1.5"),
        (([float("nan")], [1]), "confidences from nan"),
        (([0.5], [1], 0), "bins 0"),
    ],
)
def test_other_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        reliability(*arguments)
