"""Wordlists: what is heard in training and what is not, by synthetic voices and from manifests."""

import json

import numpy as np
import pytest
import soundfile

from mtl.data import espeak
from mtl.data.synthetic import TEST_VOICES
from mtl.studies.wordlists import choose, counted, deal, numbered, read_words, recorded, synthetic


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "mtl"))


def manifest(folder, rows):
    """Write recordings of noise: (lang, text) each."""
    lines = []
    for place, (lang, text) in enumerate(rows):
        noise = np.random.default_rng(place).normal(0, 0.1, 4000)
        soundfile.write(folder / f"{place}.wav", noise, 16000)
        line = {"audio_filepath": f"{place}.wav", "duration": 0.25, "text": text, "lang": lang}
        lines.append(json.dumps(line | {"speaker": lang}, ensure_ascii=False))
    (folder / "all.jsonl").write_text("\n".join(lines), "utf-8")
    return folder / "all.jsonl"


def test_unheard_words_are_said_by_nobody_in_training():
    words = ["apple", "bridge", "candle", "dragon"]
    part = synthetic(words, ["candle"], "en", takes=2, sentences=0)
    (said,) = part.train.values()
    assert sorted({u.text for u in said}) == ["apple", "bridge", "dragon"] and len(said) == 6
    assert {u.text for u in part.tests} == {"candle"} == {u.label for u in part.tests}
    assert len(part.tests) == 2 and all(u.speaker in TEST_VOICES for u in part.tests)
    assert not {u.speaker for u in said} & set(TEST_VOICES)
    assert all(u.phonemes for u in said) and list(part.unheard) == ["candle"]


def test_recordings_of_unheard_words_are_tested_and_the_others_may_be_learnt(tmp_path):
    words = ["apple", "bridge", "Candle!", "dragon", "elbow"]
    path = manifest(tmp_path, [("en", word) for word in words] + [("de", "hund")])
    part = recorded(path, "en", 2, seed=0, takes=1, sentences=0)
    assert list(part.words) == ["apple", "bridge", "candle", "dragon", "elbow"]
    assert len(part.unheard) == 2 == len(part.tests)
    first, both = part.train.values()
    heard = set(part.words) - set(part.unheard)
    assert {u.text for u in first} == heard and len(both) == 6
    assert {u.label for u in both[3:]} == heard and all(u.phonemes for u in both)
    assert {u.label for u in part.tests} == set(part.unheard)
    with pytest.raises(ValueError, match=r"5 unheard of 5 words; give 1 to 4"):
        recorded(path, "en", 5, seed=0, takes=1, sentences=0)


def test_numbers_are_said_in_each_language_by_other_voices():
    parts = numbered(["en", "nl"], 3, small=True)
    assert list(parts) == ["en", "nl"]
    assert list(parts["nl"].words)[:4] == ["nul", "één", "twee", "drie"]
    for lang, part in parts.items():
        (said,) = part.train.values()
        assert len(said) == 3 and {u.lang for u in said} == {lang}
        assert [u.label for u in part.tests] == list(part.words) and len(part.words) == 8
    with pytest.raises(ValueError, match="there is no language 'xx'"):
        numbered(["en", "xx"], 3)


def test_recordings_in_many_languages(tmp_path):
    rows = [("nl", "een"), ("nl", "twee"), ("en", "one"), ("en", "two"), ("sw", "moja")]
    path = manifest(tmp_path, rows)
    parts = counted(path, [], 2)
    assert list(parts) == ["en", "nl", "sw"]
    assert list(parts["nl"].words) == ["een", "twee"] and len(parts["nl"].tests) == 2
    assert [len(p.train["synthetic and real"]) for p in parts.values()] == [4, 4, 1], (
        "sw has no corpus"
    )
    assert parts["sw"].train["synthetic and real"][0].phonemes == espeak.ipa("moja", "sw")
    assert list(counted(path, ["nl"], 2)) == ["nl"]
    with pytest.raises(ValueError, match=r"no recording in 'de'; it has: en, nl, sw"):
        counted(path, ["de"], 2)


def test_lists_of_words_and_choices(tmp_path):
    (tmp_path / "words.txt").write_text("Apple\n\nbridge, \napple\n", "utf-8")
    assert read_words(tmp_path / "words.txt") == ["apple", "bridge"]
    assert len(read_words(None)) == 564
    (tmp_path / "one.txt").write_text("apple\n")
    with pytest.raises(ValueError, match=r"one\.txt: 1 words; write two or more"):
        read_words(tmp_path / "one.txt")
    words = list("abcdefgh")
    assert choose(words, 3, 1) == choose(words, 3, 1) and len(set(choose(words, 3, 1))) == 3
    assert len({tuple(choose(words, 3, seed)) for seed in range(9)}) > 3
    assert deal(words, 0) == [(word,) for word in words] and deal(words, 3)[0] == ("a", "d", "g")
    for turns in (1, 9):
        with pytest.raises(ValueError, match=f"{turns} folds of 8 languages: give 2 to 8, or 0"):
            deal(words, turns)
