import pytest
from talking import model, write

from mtl.decode.beam import Search
from mtl.decoding import beams
from mtl.languages import choose
from mtl.load import Loaded


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
    with pytest.raises(ValueError, match=r"search.lm is 'no.arpa': no such file"):
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
