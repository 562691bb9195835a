"""Measures of several labels, numbers and maps, against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn

from mtl.measures import f1, iou, mae, mean_iou, pixel_accuracy, spread

RNG = np.random.default_rng(0)
NAMES = ["a", "b", "c"]
MAPS = RNG.integers(0, 3, (2, 5, 4, 4))  # references, then predictions


def rate(pairs):
    tops, bottoms = zip(*pairs, strict=True)
    return sum(tops) / sum(bottoms)


def test_sums_give_the_micro_f1():
    truth, said = RNG.integers(0, 2, (2, 20, 3))
    named = [[[n for n, yes in zip(NAMES, row, strict=True) if yes] for row in rows]
             for rows in (truth, said)]  # fmt: skip
    found = rate([f1(*pair) for pair in zip(*named, strict=True)])
    assert found == pytest.approx(sklearn.f1_score(truth, said, average="micro"))
    assert f1(["a"], "") == (0, 1) and f1([], []) == (0, 0)


def test_numbers_and_maps_have_a_mean_absolute_error():
    truth, said = RNG.normal(size=(2, 20, 2))
    found = rate([mae(*pair) for pair in zip(truth.tolist(), said.tolist(), strict=True)])
    assert found == pytest.approx(sklearn.mean_absolute_error(truth, said))
    assert mae(2.0, 5.0) == (3, 1) == mae([[math.nan, 2.0]], [[7.0, 5.0]])
    assert mae([[1.0, math.nan]], 3.0) == (2, 1)  # one number for all pixels


def test_the_spread_is_the_error_of_the_mean():
    values = RNG.normal(size=(9, 2)) * (1, 50)
    always = np.tile(values.mean(0), (9, 1))
    expected = sklearn.mean_absolute_error(values, always)
    assert spread(values.tolist()) == pytest.approx(expected)
    pixels = [np.array([[1.0, math.nan]]), np.array([[3.0], [5.0]])]
    assert spread(pixels) == pytest.approx(np.abs(np.array([1, 3, 5]) - 3).mean())
    assert spread([2.0, 2.0]) == 1 == spread([np.full((2, 2), math.nan)])


def test_pixels_are_counted_where_they_are_labelled():
    truth, said = MAPS.copy()
    truth[:, 0] = -1
    found = rate([pixel_accuracy(*pair) for pair in zip(truth, said, strict=True)])
    expected = sklearn.accuracy_score(truth[:, 1:].ravel(), said[:, 1:].ravel())
    assert found == pytest.approx(expected)
    assert pixel_accuracy(truth[0], -1) == (0, 12) == (0, iou(truth[0], -1)[1] * 12)


def test_intersection_over_union_is_that_of_scikit_learn():
    truth, said = MAPS.copy()
    truth[:, 0] = -1
    flat = [(a[1:].ravel(), b[1:].ravel()) for a, b in zip(truth, said, strict=True)]
    each = [sklearn.jaccard_score(a, b, average="macro") for a, b in flat]
    assert [iou(*pair) for pair in zip(truth, said, strict=True)] == [
        (pytest.approx(value), 1) for value in each
    ]
    pooled = np.concatenate(flat, axis=1)
    expected = sklearn.jaccard_score(*pooled, average="macro")
    assert mean_iou(truth, said) == pytest.approx(expected)
    assert mean_iou(truth, said) != pytest.approx(np.mean(each), abs=1e-3)


def test_a_prediction_that_was_not_made_is_wrong():
    assert iou([[0, 0]], -1) == (0, 1) and iou([[-1]], [[0]]) == (0, 0)
    assert mean_iou([[[0, 1]], [[2, 2]]], [[[0, 1]], -1]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="1 maps without a labelled pixel"):
        mean_iou([[[-1]]], [[[0]]])
