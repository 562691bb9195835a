"""Pieces of words, compared with sentencepiece called directly."""

import base64
import builtins
import copy
import io
import pickle
import random

import pytest
import sentencepiece

from mtl.pieces import SPACE, Splitter, train
from mtl.text import SymbolError

RNG = random.Random(0)
WORDS = ["".join(RNG.choices("abcdeñ'", k=RNG.randrange(1, 6))) for _ in range(60)]
TEXTS = [" ".join(RNG.choices(WORDS, k=RNG.randrange(1, 8))) for _ in range(120)]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_splitter_is_what_sentencepiece_trains(kind):
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=written, model_type=kind, vocab_size=41,
        character_coverage=1.0, normalization_rule_name="identity", bos_id=-1, eos_id=-1,
        num_threads=1, minloglevel=2,
    )  # fmt: skip
    direct = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    splitter = Splitter(train(TEXTS, kind, 40))
    assert splitter.pieces == [direct.id_to_piece(index) for index in range(1, 41)]
    for text in TEXTS:
        assert splitter.split(text) == direct.encode(text, out_type=str)
        assert "".join(splitter.split(text)).replace(SPACE, " ") == f" {text}"


def test_training_is_repeatable_and_needs_no_file():
    model = train(iter(TEXTS), "unigram", 30)
    assert model == train(TEXTS, "unigram", 30) and base64.b64decode(model, validate=True)
    splitter = Splitter(model)
    for again in (copy.deepcopy(splitter), pickle.loads(pickle.dumps(splitter))):
        assert again.split(TEXTS[0]) == splitter.split(TEXTS[0])


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_there_are_no_more_pieces_than_the_texts_hold(kind):
    splitter = Splitter(train(["ab ab", "b a"], kind, 1000))
    assert {"a", "b", SPACE} <= set(splitter.pieces) and len(splitter.pieces) < 10


def test_characters_alone_are_enough_and_fewer_are_refused():
    assert sorted(Splitter(train(["ab c"], "bpe", 4)).pieces) == sorted(f"abc{SPACE}")
    with pytest.raises(ValueError, match=r"3 pieces are too few: .* hold 4 characters; give bpe:4"):
        train(["ab c"], "bpe", 3)


def test_long_and_rare_texts_are_not_dropped():
    """By default sentencepiece drops lines above 4,192 bytes, and characters below 0.05 %."""
    texts = ["ab " * 2000 + "z", "ab " * 3000 + "ab"]
    assert "z" in Splitter(train(texts, "bpe", 20)).pieces


def test_unseen_characters_come_singly():
    splitter = Splitter(train(["aba b"], "bpe", 4))
    assert splitter.split("aßñb")[-3:] == ["ß", "ñ", "b"]


@pytest.mark.parametrize("sign", "\u2581\u2585")
def test_signs_of_sentencepiece_are_refused(sign):
    with pytest.raises(SymbolError, match=rf"U\+{ord(sign):04X}\), which sentencepiece reserves"):
        train(["ab", f"a{sign}"], "bpe", 9)
    with pytest.raises(SymbolError, match="reserves"):
        Splitter(train(["ab"], "bpe", 3)).split(f"a{sign}b")


@pytest.mark.parametrize("wrong", ["?", "", "YWJj", base64.b64encode(b"\x08" * 40).decode()])
def test_what_is_no_model_is_refused(wrong):
    with pytest.raises(ValueError, match="is no sentencepiece model in base64"):
        Splitter(wrong)


def test_without_the_package_the_remedy_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == "sentencepiece":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    for call in (lambda: train(["ab"], "bpe", 4), lambda: Splitter("")):
        with pytest.raises(ImportError, match=r"pip install 'mtl\[symbols\]'"):
            call()
