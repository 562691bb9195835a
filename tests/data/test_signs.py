"""signs and words: tables whose rows tell their classes apart."""

import numpy as np
import pytest

from mtl.data.signs import digit_attributes
from mtl.data.words import WORDS


@pytest.mark.parametrize(("table", "wide"), [("segments", 7), ("strokes", 10)])
def test_each_digit_has_attributes_of_its_own(table, wide):
    rows = np.array(list(digit_attributes(table).values()))
    assert rows.shape == (10, wide) and len(np.unique(rows, axis=0)) == 10
    assert rows.min() == 0 and rows.max() == 1 and (rows.max(0) > 0).all()


def test_segments_are_those_of_a_display():
    rows = {digit: sum(row) for digit, row in digit_attributes("segments").items()}
    assert rows == dict(zip("0123456789", [6, 2, 5, 5, 4, 5, 6, 3, 7, 6], strict=True))
    with pytest.raises(ValueError, match="no attributes 'curves'; choose segments or strokes"):
        digit_attributes("curves")


def test_words_are_different_and_plain():
    assert len(WORDS) == len(set(WORDS)) == 564
    assert all(word.isascii() and word.islower() and word.isalpha() for word in WORDS)
