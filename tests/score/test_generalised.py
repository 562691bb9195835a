"""Generalised zero-shot: accuracies by loops, and penalties by trying them all."""

import numpy as np
import pytest

from mtl.score.generalised import calibrate, curve, generalised, harmonic, per_class


def problem(seed=0, n=200):
    """Five classes, two of them unseen, whose scores are too low."""
    rng = np.random.default_rng(seed)
    unseen = np.array([False, True, False, True, False])
    labels = rng.choice(5, n, p=[0.4, 0.1, 0.2, 0.2, 0.1])
    scores = rng.standard_normal((n, 5)) + 2.0 * (labels[:, None] == np.arange(5))
    return scores - 3.0 * unseen, labels, unseen


def by_loops(scores, labels, unseen, penalty):
    each = {name: [] for name in range(len(unseen))}
    for row, label in zip(scores, labels, strict=True):
        shifted = [s if new else s - penalty for s, new in zip(row, unseen, strict=True)]
        each[label].append(shifted.index(max(shifted)) == label)
    sides = []
    for side in (False, True):
        rates = [sum(r) / len(r) for c, r in each.items() if unseen[c] == side and r]
        sides.append(sum(rates) / len(rates))
    return sides


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 2.5, np.inf])
def test_accuracies_are_those_of_loops(penalty):
    data = problem()
    found = generalised(*data, penalty)
    assert found[:2] == pytest.approx(by_loops(*data, penalty))
    assert found.harmonic == pytest.approx(harmonic(*found[:2]))


def test_the_curve_holds_all_that_a_penalty_can_do():
    data = problem()
    found = curve(*data)
    for penalty, s, u in list(zip(*found, strict=True))[1:-1:7]:
        assert [s, u] == pytest.approx(by_loops(*data, penalty))
    assert found.unseen[0] == 0 and found.seen[-1] == 0
    assert (np.diff(found.seen) <= 1e-12).all() and (np.diff(found.unseen) >= -1e-12).all()
    tried = [generalised(*data, penalty).harmonic for penalty in np.linspace(-6, 12, 2000)]
    best = generalised(*data, calibrate(*data)).harmonic
    assert best >= max(tried) - 1e-12
    assert best > generalised(*data).harmonic + 0.2  # uncalibrated, it is biased to the seen


def test_the_area_is_that_of_a_perfect_and_of_a_useless_ranking():
    scores = np.eye(4)[[0, 1, 2, 3]] * 9
    unseen = [False, False, True, True]
    assert curve(scores, [0, 1, 2, 3], unseen).area() == pytest.approx(1)
    assert curve(scores, [1, 0, 3, 2], unseen).area() == 0


def test_a_constant_from_one_sample_serves_another():
    penalty = calibrate(*problem(seed=1))
    other = problem(seed=2)
    assert generalised(*other, penalty).harmonic > generalised(*other).harmonic + 0.2


def test_means_are_over_classes():
    labels, said = [0] * 90 + [1] * 10, [0] * 100
    assert per_class(labels, said) == 0.5
    assert harmonic(0.0, 0.0) == 0 and harmonic(0.2, 0.6) == pytest.approx(0.3)


def test_wrong_shapes_are_named():
    scores, labels, unseen = problem()
    for arguments, message in (
        ((scores, labels[:3], unseen), r"labels \(3,\)"),
        ((scores, labels, unseen[:2]), r"unseen \(2,\)"),
        ((scores, labels, [True] * 5), "no example of seen classes"),
        ((scores[labels == 0], labels[labels == 0], unseen), "no example of unseen classes"),
        ((scores, labels + 1, unseen), "labels must be from 0 to 4"),
        ((np.where(unseen, scores, -np.inf), labels, unseen), "without a penalty"),
    ):
        with pytest.raises(ValueError, match=message):
            curve(*arguments)
    with pytest.raises(ValueError, match="no penalty gives both"):
        calibrate(np.eye(2), [1, 0], [False, True])
