import json

import pytest
from loading import load


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "mtl"))


def run(*argv):
    load("spelling").main([str(word) for word in argv])


def test_smoke_compares_three_ways_to_write(tmp_path, capsys):
    run("--smoke", "--lang", "nl", "--out", tmp_path)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    (column,) = figures["comparisons"]
    ways = {"chars greedy", "chars lexicon", "phonemes lexicon", "both greedy", "both lexicon"}
    found = figures["comparisons"][column]
    assert column == "12 utterances" and set(found) == ways
    assert all(entry["n"] == 8 and entry["wer"] >= 0 for entry in found.values())
    assert figures["claims"] == [] and figures["notes"][0].startswith("smoke run")
    assert "phonemes lexicon" in capsys.readouterr().out
    lexicons = [
        dict(line.split("\t") for line in (tmp_path / name).read_text("utf-8").splitlines())
        for name in ("nl.lexicon", "nl-phonemes.lexicon")
    ]
    assert len(lexicons[0]) > 20 and set(lexicons[1]) <= set(lexicons[0])
    assert all(spelling.replace(" ", "") == word for word, spelling in lexicons[0].items())
    assert lexicons[1]["twee"].split()[0] == "t" and lexicons[1]["twee"] != lexicons[0]["twee"]


def test_what_cannot_be_compared_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"--counts 'x': give numbers, comma separated"):
        run("--counts", "x", "--out", tmp_path)
    for given, other in (("data", "test"), ("test", "data")):
        with pytest.raises(
            ValueError, match=f"--{given} is given alone; give .* --{other} as well"
        ):
            run(f"--{given}", "m.jsonl", "--counts", "5", "--out", tmp_path)
    line = {"audio_filepath": "a.wav", "duration": 1, "text": "ab", "lang": "nl"}
    (tmp_path / "m.jsonl").write_text(json.dumps(line))
    given = ("--data", tmp_path / "m.jsonl", "--test", tmp_path / "m.jsonl", "--lang", "nl")
    with pytest.raises(ValueError, match=r"nl: 1 utterances to learn from, 60 are wanted"):
        run(*given, "--counts", "60", "--out", tmp_path / "out")
    with pytest.raises(ValueError, match=r"net.target is 'char'; choose from chars"):
        run("--targets", "char,phonemes", "--out", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"no\.txt"):
        run("--smoke", "--lexicon", "no.txt", "--out", tmp_path / "out")


def test_characters_are_held_to_the_words_of_a_given_lexicon(tmp_path):
    (tmp_path / "words.txt").write_text("twee\tt ʋ eː\ndrie\td r i\n", "utf-8")
    words = ("--lexicon", tmp_path / "words.txt", "--targets", "chars")
    run("--smoke", "--lang", "nl", *words, "--out", tmp_path / "out")
    lines = (tmp_path / "out" / "nl.lexicon").read_text("utf-8").splitlines()
    assert lines == ["twee\tt w e e", "drie\td r i e"]
