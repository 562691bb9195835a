import dataclasses
import json
import unicodedata

import pytest

from mtl.text import SymbolError, TextRules, dropped_signs, encode, normalise, repeats, symbols

PLAIN = TextRules()
NASTY = [
    "",
    "   \t\n",
    "…!?",
    "It’s ‘quoted’ — and\u00a0well-known",
    "cafe\u0301 CAFE\u0301",
    "İSTANBUL Iğdır",
    "ΟΔΟΣ ΣΑΣ",
    "STRASSE straße",
    "नमस्ते क्\u200dष",
    "می\u200cخواهم",
    "👨\u200d👩\u200d👧 love ❤\ufe0f",
    "\ufeffbom \u202eright\u202c \ud800lone",
    "e*\u0301 a_b c/d 3.5",
    "他说，你好。",
    "l\u00b4eau ½ ﬁn",
]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("It’s ‘quoted’ — and\u00a0well-known", "it's 'quoted' and well known"),
        ("cafe\u0301", "caf\u00e9"),  # a combining accent joins its letter
        ("e*\u0301", "\u00e9"),  # also when removal brings them together
        ("İSTANBUL", "istanbul"),  # str.lower leaves a loose U+0307
        ("STRASSE straße", "strasse straße"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # Persian needs the invisible joiner
        ("👨\u200d👩\u200d👧 love ❤\ufe0f", "love"),
        ("\ufeffbom \ud800lone", "bom lone"),
        ("a_b c/d…e", "a b c d e"),
        ("他说，你好。", "他说你好"),
        (" … ", ""),
        ("", ""),
    ],
)
def test_normalise(text, wanted):
    assert normalise(text, PLAIN) == wanted


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("case", ["lower", "keep"])
@pytest.mark.parametrize("punctuation", ["remove", "keep"])
def test_normalising_twice_changes_nothing(form, case, punctuation):
    rules = TextRules(form=form, case=case, punctuation=punctuation)
    for text in NASTY:
        once = normalise(text, rules)
        assert normalise(once, rules) == once
        assert unicodedata.is_normalized(form, once)
        assert once == once.strip() and "  " not in once


def test_rules_choose():
    assert normalise("Well-Known, OK?", TextRules(case="keep")) == "Well Known OK"
    assert normalise("Well-Known, OK?", TextRules(punctuation="keep")) == "well-known, ok?"
    assert normalise("col·lecció, l'any", TextRules(keep="·")) == "col·lecció lany"
    assert normalise("ﬁn", TextRules(form="NFKC")) == "fin"


def test_rules_survive_json():
    rules = TextRules(form="NFKC", keep="'-")
    assert TextRules(**json.loads(json.dumps(dataclasses.asdict(rules)))) == rules


@pytest.mark.parametrize("wrong", [{"form": "nfc"}, {"case": "title"}, {"punctuation": "drop"}])
def test_rules_refuse_unknown_choices(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} is .*it can be"):
        TextRules(**wrong)


def test_symbols_and_encode_agree():
    texts = ["zebra", "", "ñandú"]
    index = {symbol: i for i, symbol in enumerate(symbols(texts), start=1)}
    back = {i: symbol for symbol, i in index.items()}
    assert list(index) == sorted(set("".join(texts)))
    assert ["".join(back[i] for i in encode(t, index)) for t in texts] == texts


def test_encode_names_every_missing_symbol():
    with pytest.raises(SymbolError) as error:
        encode("año €", {"a": 1, "o": 2, " ": 3})
    assert "'ñ' (U+00F1), '€' (U+20AC)" in str(error.value)


def test_symbols_of_several_characters_are_encoded_and_named():
    index = {"a": 1, "t͡ʃ": 2}
    assert encode(["t͡ʃ", "a"], index) == [2, 1]
    with pytest.raises(
        SymbolError, match=r"'taː' has .* 'aː' \(U\+0061 U\+02D0\), 't' \(U\+0074\)"
    ):
        encode(["t", "aː"], index)


def test_signs_that_are_spoken_and_dropped_are_counted():
    texts = ["kost 5€ of 3% + 2°", "5€: 'zo', ^ maar"]
    assert dropped_signs(texts, PLAIN) == {"€": 2, "%": 1, "+": 1, "°": 1}
    assert dropped_signs(texts, TextRules(keep="€%")) == {"+": 1, "°": 1}
    assert dropped_signs(texts, TextRules(punctuation="keep")) == {}


@pytest.mark.parametrize(("ids", "count"), [([], 0), ([1], 0), ([1, 1, 1], 2), ([1, 2, 1], 0)])
def test_repeats(ids, count):
    assert repeats(ids) == count
