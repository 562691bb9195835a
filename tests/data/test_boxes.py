import numpy as np
import pytest

from mtl.data.boxes import boxed, pixels
from mtl.data.images import from_arrays


def drawn(*places, size=20):
    x = np.zeros((len(places), size, size), np.uint8)
    for row, (top, left, height, width) in enumerate(places):
        x[row, top : top + height, left : left + width] = 200
    return from_arrays(x, np.arange(len(places)), "made")


def test_where_a_sign_stands_and_how_large_it_is_does_not_matter():
    pictures = drawn((0, 0, 6, 6), (9, 3, 6, 6), (2, 4, 12, 12))
    found = pixels(boxed(pictures, 8))
    np.testing.assert_allclose(found, 200 / 255)
    assert [p.id for p in boxed(pictures, 8)] == [p.id for p in pictures]


def test_shapes_are_kept_and_faint_grain_is_no_ink():
    tall = drawn((3, 5, 12, 4))
    tall[0].source[0, 19] = 20
    (found,) = pixels(boxed(tall, 12))
    assert found[:, 4:8].min() > 0.75 and not found[:, :3].any() and not found[:, 9:].any()


def test_black_on_white_is_turned_over():
    pictures = drawn((3, 5, 12, 4))
    over = from_arrays(255 - pictures[0].source[None], [0], "over")
    assert np.array_equal(boxed(over, 12)[0].source, boxed(pictures, 12)[0].source)


def test_empty_and_coloured_pictures():
    assert not boxed(drawn((0, 0, 0, 0)), 8)[0].source.any()
    colour = np.zeros((1, 9, 9, 3), np.uint8)
    colour[0, 2:5, 2:5, 0] = 240
    assert boxed(from_arrays(colour, [0], "red"), 6)[0].source.tolist() == [[80] * 6] * 6
    with pytest.raises(ValueError, match="bring them to one size"):
        pixels([*drawn((0, 0, 3, 3)), *drawn((0, 0, 3, 3), size=9)])
