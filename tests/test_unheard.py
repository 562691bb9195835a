"""Unheard: spellings of words nobody said, networks that write them, and what is recognised."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mtl.articulation import articulation, nearest
from mtl.batch import collate
from mtl.config import Fit
from mtl.data.manifest import read_manifest
from mtl.data.speech import Speech
from mtl.data.synthetic import make_words
from mtl.decode.candidates import Candidates
from mtl.heads.phoneme import Phoneme
from mtl.heads.upm import UPM
from mtl.unheard import (
    ATTRIBUTES,
    CHARS,
    PHONEMES,
    TASK,
    Ear,
    learn,
    listener,
    recognise,
    spellings,
)
from mtl.vocabulary import make_head

SMALL = Ear(dim=16, depth=3, dropout=0.0, seconds=3.0)
WORDS = ["apple", "bridge", "candle", "dragon"]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "mtl"))


@pytest.fixture
def said():
    return read_manifest(make_words("en", WORDS, 2, dev=0, test=0)["train"])


@pytest.mark.parametrize(
    ("kind", "head"), [(CHARS, "CTC"), (PHONEMES, "Phoneme"), (ATTRIBUTES, "UPM")]
)
def test_each_kind_learns_its_own_symbols_at_the_end_and_within(kind, head, said):
    model = listener(kind, said, SMALL)
    assert type(model.head(TASK)).__name__ == head and model.tasks[TASK].at is None
    inner = model.tasks[f"{TASK}-b2"]
    assert (inner.at, inner.auxiliary, inner.head) == ("b2", True, TASK)
    before = [p.clone() for p in model.parameters()]
    fitted = learn(model, said, SMALL, Fit(steps=2, threads=1, log_every=1, dry_run=False))
    assert not fitted.skipped and set(fitted.history[-1]["loss"]) == {TASK, f"{TASK}-b2"}
    assert any(not a.equal(b) for a, b in zip(before, model.parameters(), strict=True))


def test_phones_that_the_head_lacks_are_replaced_by_the_nearest_or_left_out():
    head = make_head(["dˈɒɡ kˈat tɪps"], "phones")
    assert isinstance(head, Phoneme)
    for alike in (True, False):
        (way,) = spellings(head, ["bad"], "en", alike)["bad"]  # [bˈad], with a b that it lacks
        near = nearest(["b"], [s for s in head.symbols if s != " "])["b"] if alike else ""
        assert head.decode(way).split() == [*near, "a", "d"]
    assert list(spellings(head, ["you", "bad"], "en", alike=False)) == ["bad"], "no phone is left"
    with pytest.raises(ValueError, match="the head has none of the symbols of you"):
        spellings(head, ["you"], "en", alike=False)


def test_a_space_between_words_may_be_heard_or_not():
    head = make_head(["twˈɛnti wˈɒn"], "phones")
    whole, run = spellings(head, ["twenty one"], "en")["twenty one"]
    assert head.decode(whole).split()[:7] == [*"twɛnti", "|"]
    assert " " in head.symbols and run == [s for s in whole if head.symbols[s - 1] != " "]


def test_a_head_of_attributes_goes_to_the_phones_of_the_words():
    head = UPM(["a", "b"], articulation(["a", "b"]))
    found = spellings(head, ["goed", "nee"], "nl")
    assert set(head.symbols) == {" ", "ɣ", "u", "t", "n", "eː"}
    assert head.decode(found["goed"][0]) == "ɣ u t"


def test_letters_that_a_head_lacks_are_left_out():
    head = make_head(["dog", "cat"])
    assert head.decode(spellings(head, ["god", "cab"], "en")["cab"][0]) == "ca"
    assert list(spellings(head, ["hmm", "dog"], "en")) == ["dog"]
    with pytest.raises(ValueError, match="the head has none of the symbols of hmm, mmm"):
        spellings(head, ["hmm", "mmm"], "en")


def test_recognition_counts_first_guesses_and_the_best_five(said):
    torch.manual_seed(0)
    model = listener(PHONEMES, said, SMALL).eval()
    words = [*WORDS, "apron", "bridle", "camel"]
    candidates = spellings(model.head(TASK), words, "en")
    data = Speech(said, model)
    wanted = [str(utterance.label) for utterance in said]
    found = recognise(model, data, wanted, candidates)
    search, ranks = Candidates(candidates), []
    for index, word in enumerate(wanted):
        example = data.example(index, targets=False)
        with torch.no_grad():
            scores = model.scores(TASK, model("speech", collate([example])))
        ranks.append(search.best(scores, 7)[0].index(word))
    assert [row[0] for row in found["counts"]] == [float(rank < 1) for rank in ranks]
    assert [row[0] for row in found["top"]["counts"]] == [float(rank < 5) for rank in ranks]
    assert found["value"] == np.mean([rank < 1 for rank in ranks]) and found["n"] == 8
    assert found["counts"][0][2] == said[0].speaker


def test_what_cannot_be_read_counts_as_wrong(said, tmp_path):
    model = listener(PHONEMES, said, SMALL)
    broken = [replace(said[0], audio=tmp_path / "none.flac"), *said[1:3]]
    data = Speech(broken, model)
    word = str(said[0].label)
    found = recognise(model, data, [word] * 3, spellings(model.head(TASK), [word], "en"))
    assert [row[0] for row in found["counts"]] == [0.0, 1.0, 1.0]
