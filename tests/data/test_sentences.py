import sys
import unicodedata
from collections import Counter

import pytest

from mtl.data import sentences as made
from mtl.data.sentences import LONGEST, SHORTEST, languages, normalise, sentences

GRAMMARS = ("en", "de", "fr", "es", "it", "nl", "pt", "sv", "ru", "pl", "cs")


@pytest.mark.parametrize("lang", GRAMMARS)
def test_sentences_are_distinct_of_fair_length_and_only_letters(lang):
    texts = sentences(lang, 300, seed=1)
    assert len(set(texts)) == 300
    for text in texts:
        assert SHORTEST <= len(text) <= LONGEST
        assert all(letter.isalpha() or letter in " '" for letter in text), text
        assert text == text.lower() == " ".join(text.split())
        assert unicodedata.is_normalized("NFC", text)


@pytest.mark.parametrize("lang", sorted(set(languages()) - set(GRAMMARS)))
def test_any_language_of_num2words_has_sentences_without_digits_or_punctuation(lang):
    texts = sentences(lang, 20, seed=0)
    assert len(set(texts)) == 20
    kinds = {unicodedata.category(letter)[0] for text in texts for letter in text}
    assert kinds <= {"L", "M", "Z"} | {"P" for text in texts if "'" in text}  # п'ять
    assert not any(letter.isdecimal() for text in texts for letter in text)


@pytest.mark.parametrize("lang", GRAMMARS)
def test_every_slot_of_a_grammar_is_defined_and_used(lang):
    grammar = made._grammar(lang)
    used = {slot for choices in grammar.values() for text in choices for slot in _slots(text)}
    assert used <= set(grammar) | set(made._NUMBERS)
    assert set(grammar) <= used | {"say"}
    assert all(choice == choice.strip() != "" for choices in grammar.values() for choice in choices)


def _slots(text):
    return [piece.partition("}")[0] for piece in text.split("{")[1:]]


@pytest.mark.parametrize("lang", ["en", "de", "fr", "es", "it", "nl"])
def test_sixty_sentences_do_not_show_every_word(lang):
    grammar = made._grammar(lang)
    carriers = {word for line in grammar.values() for text in line for word in text.split()}
    carriers = {word for word in carriers if "{" not in word}
    words = Counter(word for text in sentences(lang, 3000, seed=0) for word in text.split())
    few = {word for text in sentences(lang, 60, seed=5) for word in text.split()}
    assert len(carriers) > 60
    assert carriers <= set(words), carriers - set(words)
    assert 0.2 * len(carriers) < len(carriers & few) < 0.95 * len(carriers)


def test_seed_language_and_exclusion():
    first = sentences("nl", 50, seed=3)
    assert first == sentences("nl", 50, seed=3)
    assert first[:10] == sentences("nl", 10, seed=3)
    assert len(set(first) & set(sentences("nl", 50, seed=4))) < 10
    assert not set(first) & set(sentences("nl", 500, seed=3, exclude=first))


def test_numbers_are_spelled_as_people_do():
    assert made._words(206, "en") == "two hundred and six"
    assert normalise(made._words(1_121, "en")) == "one thousand one hundred and twenty one"
    assert made._words(1984, "en", "year") == "nineteen eighty-four"
    assert made._words(1984, "de", "year") == "neunzehnhundertvierundachtzig"
    with pytest.raises(LookupError, match="no ordinal of 0 in es"):
        made._words(0, "es", "ordinal")


def test_normalise():
    assert normalise("L’Été,\n  vingt-deux!") == "l'été vingt deux"
    assert normalise("Cafe\N{COMBINING ACUTE ACCENT}") == "café"
    assert normalise("platform 9") == normalise("५ पाँच") == ""


def test_errors_name_the_language_and_the_nearest():
    with pytest.raises(ValueError, match=r"language 'nll'; near it are .*nl"):
        sentences("nll", 1, seed=0)
    with pytest.raises(ValueError, match=r"only \d+ of 50 sentences exist in language 'xx'"):
        _with_grammar("xx", "say: the {weekday}\nweekday: eighteen mondays|all wednesdays", 50)


def _with_grammar(lang, text, count):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(made._TEXTS, lang, text)
        patch.setattr(made, "languages", lambda: (lang,))
        return sentences(lang, count, seed=0)


def test_without_num2words_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(ImportError, match=r"pip install 'mtl\[corpus\]'"):
        sentences("en", 1, seed=0)
