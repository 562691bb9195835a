"""articulation: PanPhon's features of phones as espeak-ng writes them, and the phone made most alike."""

import sys

import pytest

from mtl import articulation as module
from mtl.articulation import FEATURES, articulation, distance, nearest

FIRST = "syl son cons cont delrel lat nas strid voi sg cg ant cor distr lab hi lo back round"
NAMES = [*FIRST.split(), "velaric", "tense", "long", "hitone", "hireg"]


def feature(phone, name):
    return articulation([phone])[0][NAMES.index(name)]


def test_features_are_what_phonetics_says():
    assert len(NAMES) == FEATURES
    assert [feature(phone, "voi") for phone in "bpmaf"] == [1, -1, 1, 1, -1]
    assert [feature(phone, "nas") for phone in ("m", "b", "ã", "a")] == [1, -1, 1, -1]
    assert [feature(phone, "syl") for phone in ("a", "t", "n̩")] == [1, -1, 1]
    assert (feature("aː", "long"), feature("a", "long")) == (1, -1)
    assert (feature("y", "round"), feature("i", "round")) == (1, -1)
    vectors = articulation([*"ptkaeiou", " ", "5", "˧˥"])
    assert len({tuple(vector) for vector in vectors}) == 11 and {len(v) for v in vectors} == {28}


def test_marks_that_the_table_lacks_are_dropped_and_tones_have_heights():
    odd = articulation(["t`", "s-", "nʲʲ", "ʲe", "r#", "ε"])
    assert odd == articulation(["t", "s", "nʲ", "e", "r", "ɛ"])
    high, low = articulation(["5", "21"])
    assert high[:FEATURES] == low[:FEATURES] == [0.0] * FEATURES
    assert (high[-3:], low[-3:]) == ([1.0, 1.0, 1.0], [1.0, -0.5, -1.0])
    assert articulation(["˥"]) == [high]


def test_the_nearest_phone_is_of_the_least_distance():
    known = list("aeioubdgptkmnszlr")
    for phone in ("y", "ɸ", "ŋ", "ð", "β", "tʰ"):
        (vector,) = articulation([phone])
        least = min(distance(vector, other) for other in articulation(known))
        assert distance(vector, articulation([nearest([phone], known)[phone]])[0]) == least
    assert nearest(["aː", "a"], ["a"]) == {"aː": "a", "a": "a"}
    with pytest.raises(ValueError, match="no phone is known"):
        nearest(["a"], [])


def test_unknown_phones_are_all_named():
    with pytest.raises(ValueError, match="no articulation of 'Ж', 'Я' is known: write IPA"):
        articulation(["a", "Ж", "Я", "b", "Ж"])


def test_without_panphon_the_extra_is_named(monkeypatch):
    module._table.cache_clear()
    module._vector.cache_clear()
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'mtl\[phones\]'"):
        articulation(["a"])
    module._vector.cache_clear()


def test_the_package_is_not_imported():
    articulation(["a"])
    assert "panphon" not in sys.modules
