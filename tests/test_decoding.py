import logging

import pytest
from talking import model, write

from mtl.decode.beam import Search
from mtl.decoding import beams, check_files
from mtl.languages import choose
from mtl.load import Loaded
from mtl.text import TextRules


@pytest.fixture
def lexicons(tmp_path):
    for lang, words in {"nl": "abc\ndef\n", "cy": "gab\tG A B\n"}.items():
        (tmp_path / f"{lang}.txt").write_text(words)
    return tmp_path


def test_each_language_has_its_own_files(lexicons):
    talks = model(languages=("nl", "cy"))
    files = f"nl={lexicons / 'nl.txt'}, cy={lexicons / 'cy.txt'}"
    found = beams(talks, Search(lexicon=files, beam=7))
    assert set(found) == {"nl", "cy"}
    assert [found[lang].search.lexicon for lang in ("nl", "cy")] == [
        str(lexicons / "nl.txt"),
        str(lexicons / "cy.txt"),
    ]
    assert {beam.search.beam for beam in found.values()} == {7}
    only = beams(talks, Search(lexicon=f"nl={lexicons / 'nl.txt'}"))
    assert only["cy"].search.lexicon == ""
    assert set(beams(talks, Search(), "cy")) == {"cy"}


def test_one_file_serves_one_language(lexicons):
    file = str(lexicons / "nl.txt")
    (beam,) = beams(model(languages=("cy",)), Search(lexicon=file)).values()
    assert beam.search.lexicon == file
    talks = model(languages=("nl", "cy"))
    with pytest.raises(ValueError, match=r"lexicon .*: the model writes nl, cy; say whose: nl="):
        beams(talks, Search(lexicon=file))
    with pytest.raises(ValueError, match=r"does not write 'fy', but nl, cy"):
        beams(talks, Search(lm="fy=fy.arpa"))
    with pytest.raises(ValueError, match=r"^lm 'no.arpa': no such file"):
        beams(talks, Search(lm="nl=no.arpa"))


def test_a_model_is_loaded_with_its_beam_search(lexicons):
    talks = model(languages=("nl",))
    file = lexicons / "heard.wav"
    write(file, ["abd"])
    search = Search(
        lexicon=str(lexicons / "nl.txt"), word_score=-50.0
    )  # one word is better than two
    loaded, held = Loaded(talks), Loaded(talks, search=search)
    assert loaded(file).text == "abd"
    assert held(file).text == "abc", "the lexicon has nothing nearer"
    assert held._beams(choose(talks, "nl"), "speech") is held._beams(choose(talks), "speech")
    with pytest.raises(ValueError, match="the model writes nl, cy; say whose"):
        Loaded(model(languages=("nl", "cy")), search=search)(file)
    one = Loaded(model(languages=("nl", "cy")), search=search)
    assert one(file, lang="nl").text == "abc"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nl=", "'nl=' names no file; write LANG=FILE"),
        ("nl=a.txt,cy", "'cy' names no file"),
        ("nl=a.txt,nl=b.txt", "names two files for nl; give one"),
    ],
)
def test_files_that_would_be_passed_over_are_named(given, says):
    with pytest.raises(ValueError, match=says):
        beams(model(languages=("nl", "cy")), Search(lexicon=given))


def test_a_file_of_the_language_asked_for_is_wanted(lexicons):
    talks, search = model(languages=("nl", "cy")), Search(lexicon=f"nl={lexicons / 'nl.txt'}")
    check_files(talks, search, "nl")
    check_files(talks, Search(lm="one.arpa"), "cy")
    with pytest.raises(ValueError, match=r"lexicon nl=.*: has no file for cy, the language asked"):
        check_files(talks, search, "cy")


@pytest.mark.parametrize("held", [False, True])
def test_languages_do_without_hot_words_that_they_cannot_spell(lexicons, caplog, held):
    talks = model(languages=("nl", "cy"))
    talks.head("cy")._rules = TextRules(case="upper")  # as its symbols are
    talks.head("nl").symbols[-1] = "ü"
    talks.head("nl")._index["ü"] = talks.head("nl")._index.pop("g")
    files = ",".join(f"{lang}={lexicons / f'{lang}.txt'}" for lang in ("nl", "cy"))
    # a lexicon that spells words itself must have the hot words; "gab" is in that of cy alone
    search = Search(hotwords=("abc", "gab") if held else ("bü", "abc"), lexicon=files * held)
    lost = {"nl": "gab", "cy": "abc"} if held else {"cy": "bü"}
    with caplog.at_level(logging.WARNING):
        if held:
            (lexicons / "nl.txt").write_text("abc\ta b c\n")
        found = beams(talks, search)
    for lang in ("nl", "cy"):
        expected = [word for word in search.hotwords if word != lost.get(lang)]
        assert list(found[lang].search.hotwords) == expected
    assert [record.getMessage() for record in caplog.records] == [
        f"{lang} does without 1 of 2 hot words, which it cannot spell, such as {word}"
        for lang, word in lost.items()
    ]
    with pytest.raises(
        ValueError, match=r"\(--hotwords\): 'bzé' can be spelled in none of nl, cy: .*'z'"
    ):
        beams(talks, Search(hotwords=("abc", "bzé")))
    with pytest.raises(ValueError, match=r"'gab' can be spelled in none of nl: "):
        beams(talks, Search(hotwords=("gab",)), "nl")
