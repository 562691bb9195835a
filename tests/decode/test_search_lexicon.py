"""The words that a search may write."""

import logging

import pytest

from mtl.decode.lexicon import Entry, HotWordError, lexicon, read_lexicon, spell
from mtl.heads.ctc import CTC
from mtl.heads.phoneme import Phoneme

HEAD = CTC([" ", "'", "a", "b", "c"])
PHONES = Phoneme([" ", "t", "uː", "ə"])


def test_a_head_spells_words_by_its_rules(caplog):
    with caplog.at_level(logging.WARNING):
        found = spell(["CAB", "A-b", "zoo", "?", "ça"], HEAD, "words.arpa")
    assert found == [Entry("CAB", "cab", (5, 3, 4)), Entry("A-b", "a b", (3, 1, 4))]
    (record,) = caplog.records
    assert record.getMessage() == (
        "words.arpa: the head cannot spell 3 of 5 words, which are left out, such as zoo, ?, ça"
    )
    with pytest.raises(
        ValueError, match=r"m.arpa: the head can spell none of its 1 words; the head has: ' '"
    ):
        spell(["zoo"], HEAD, "m.arpa")


def test_a_file_spells_words_or_leaves_it_to_the_head(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\ufeffcab\n\nBac\n<unk> a\nee\ta b\nee  b | a\ncab\n", encoding="utf-8")
    assert read_lexicon(path, HEAD) == [
        Entry("ee", "ee", (3, 4), True),
        Entry("ee", "ee", (4, 1, 3), True),
        Entry("cab", "cab", (5, 3, 4)),
        Entry("Bac", "bac", (4, 3, 5)),
    ]
    path.write_text("two\tt uː\ntoo t u\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"words.txt:2: 'too' is spelled with 'u'; the head has: ' ', 't'"
    ):
        read_lexicon(path, PHONES)
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"words.txt: holds no words; write one on each line"):
        read_lexicon(path, HEAD)


def test_hot_words_join_the_words(tmp_path):
    entries, hot = lexicon("", ["cab", "A"], ["a Cab", "BAC cab"], HEAD)
    assert [entry.text for entry in entries] == ["cab", "a", "bac"]
    assert hot == ["a cab", "bac cab"]
    path = tmp_path / "words.txt"
    path.write_text("two\tt uː\nTo\tt ə\n", encoding="utf-8")
    assert lexicon(str(path), [], ["To two"], PHONES)[1] == ["To two"]
    with pytest.raises(
        ValueError, match=r"hot word 'tee two': .*words.txt has no line that spells"
    ):
        lexicon(str(path), [], ["tee two"], PHONES)
    with pytest.raises(HotWordError) as error:
        lexicon(str(path), [], ["two", "tee", "too two"], PHONES)
    assert list(error.value.reasons) == ["tee", "too two"]
    with pytest.raises(ValueError, match="writes no letters needs a lexicon"):
        lexicon("", ["two"], [], PHONES)


def test_words_that_cannot_be_told_apart_are_few(tmp_path, caplog):
    path = tmp_path / "words.txt"
    path.write_text("".join(f"w{n}\ta b\n" for n in range(9)))
    with caplog.at_level(logging.WARNING):
        entries, _ = lexicon(str(path), [], [], HEAD)
    assert [entry.name for entry in entries] == [f"w{n}" for n in range(6)]
    assert caplog.records[-1].getMessage() == "3 words are left out: more than 6 are spelled alike"
