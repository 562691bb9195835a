"""The recipes unheard_words and unheard_languages."""

import json

import numpy as np
import pytest
import soundfile
from loading import load, refuse, run


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "mtl"))


@pytest.fixture
def recordings(tmp_path):
    """Noise that is said to be words, in two languages and one that has no corpus."""
    lines = []
    said = [("en", "one two three four"), ("nl", "een twee drie"), ("sw", "moja mbili tatu")]
    for place, (lang, word) in enumerate(
        (lang, word) for lang, text in said for word in text.split()
    ):
        noise = np.random.default_rng(place).normal(0, 0.1, 8000)
        soundfile.write(tmp_path / f"{place}.wav", noise, 16000)
        line = {"audio_filepath": f"{place}.wav", "duration": 0.5, "text": word, "lang": lang}
        lines.append(json.dumps(line | {"speaker": f"{lang}1"}))
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    return tmp_path / "all.jsonl"


SMALL = [
    "--ear.dim",
    16,
    "--ear.depth",
    2,
    "--ear.seconds",
    4,
    "--fit.steps",
    1,
    "--fit.threads",
    1,
]


def test_words_smoke_tells_unheard_words_by_phones_and_letters(tmp_path, monkeypatch):
    recipe = load("unheard_words")
    found = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    columns = ["phonemes, synthetic", "chars, synthetic"]
    assert list(found["comparisons"]) == [*columns, *(f"{name}, best five" for name in columns)]
    for name, rows in found["comparisons"].items():
        assert list(rows) == ["among unheard: 4", "among all: 10"]
        assert all(row["n"] == 8 for row in rows.values())
        assert rows["among unheard: 4"]["accuracy"] == 1.0 or "five" not in name
    assert found["notes"] == ["smoke run: the figures mean nothing"] and found["claims"] == []
    monkeypatch.setattr(recipe, "learn", refuse)
    assert run(recipe, tmp_path, "--smoke")["comparisons"] == found["comparisons"]


def test_words_of_a_manifest_are_learnt_with_and_without_recordings(
    recordings, tmp_path, monkeypatch
):
    recipe, seen = load("unheard_words"), []
    learn = recipe.learn

    def noted(model, utterances, *more):
        seen.append(sorted({u.speaker == "en1" for u in utterances}))
        return learn(model, utterances, *more)

    monkeypatch.setattr(recipe, "learn", noted)
    argv = ["--data", recordings, "--unheard", 2, "--takes", 1, "--sentences", 0, *SMALL]
    found = run(recipe, tmp_path / "out", *argv, "--arms", "phonemes")
    assert seen == [[False], [False, True]]
    rows = {name: set(column) for name, column in found["comparisons"].items()}
    assert set(rows) == {
        f"phonemes, {data}{five}"
        for data in ("synthetic", "synthetic and real")
        for five in ("", ", best five")
    }
    assert all(each == {"among unheard: 2", "among all: 4"} for each in rows.values())
    helps = [c for c in found["claims"] if c["claim"].startswith("recordings of other words help")]
    assert len(helps) == 2 and all(claim["difference"] is not None for claim in helps)


def test_languages_smoke_leaves_one_out(tmp_path, monkeypatch):
    recipe, seen = load("unheard_languages"), []
    listener = recipe.listener

    def noted(kind, utterances, ear):
        seen.append((kind, {u.lang for u in utterances}))
        return listener(kind, utterances, ear)

    monkeypatch.setattr(recipe, "listener", noted)
    found = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    assert seen == [("attributes", {"en"}), ("phonemes", {"en"})]
    ways = ["attributes", "shared, nearest phone", "shared, new phones left out"]
    assert list(found["comparisons"]) == ways
    for rows in found["comparisons"].values():
        assert (rows["nl"]["n"], rows["mean"]["n"]) == (8, 1)
        assert rows["nl"]["accuracy"] == rows["mean"]["accuracy"]
    monkeypatch.setattr(recipe, "learn", refuse)
    assert run(recipe, tmp_path, "--smoke")["comparisons"] == found["comparisons"]


def test_recordings_in_several_languages_are_left_out_in_turns(recordings, tmp_path, monkeypatch):
    recipe, seen = load("unheard_languages"), []
    listener = recipe.listener

    def noted(kind, utterances, ear):
        seen.append((kind, "".join(sorted({u.lang for u in utterances}))))
        return listener(kind, utterances, ear)

    monkeypatch.setattr(recipe, "listener", noted)
    argv = ["--data", recordings, "--langs", "all", "--folds", 0, "--sentences", 2, *SMALL]
    found = run(recipe, tmp_path / "out", *argv)
    turns = ["nlsw", "ensw", "ennl"]
    assert seen == [(kind, turn) for turn in turns for kind in ("attributes", "phonemes")]
    for rows in found["comparisons"].values():
        assert {name: row["n"] for name, row in rows.items()} == {
            "en": 4,
            "nl": 3,
            "sw": 3,
            "mean": 3,
        }
        mean = sum(rows[lang]["accuracy"] for lang in ("en", "nl", "sw")) / 3
        assert rows["mean"]["accuracy"] == pytest.approx(mean)
    claim = found["claims"][0]
    ours, theirs = (
        found["comparisons"][way]["mean"]["accuracy"] for way in list(found["comparisons"])[:2]
    )
    assert claim["claim"] == "over languages, attributes beat shared, nearest phone"
    assert claim["difference"] == pytest.approx(ours - theirs)


@pytest.mark.parametrize(
    ("name", "argv", "message"),
    [
        (
            "unheard_words",
            ["--arms", "attributes"],
            "--arms 'attributes': choose from phonemes, chars",
        ),
        ("unheard_words", ["--takes", "0"], "--takes is 0; give at least 1"),
        ("unheard_words", ["--ear.speeds", "[0.93]"], "give multiples of 0.05"),
        ("unheard_languages", ["--ear.dim", "0"], "ear.dim is 0; it must be above 0"),
        (
            "unheard_words",
            ["--words", "w.txt", "--data", "d.jsonl"],
            r"--words w.txt and --data d.jsonl: ",
        ),
        ("unheard_words", ["--unheard", "564"], "564 unheard of 564 words; give 1 to 563"),
        ("unheard_languages", ["--langs", "en,xx", "--folds", "2"], "there is no language 'xx'"),
        ("unheard_languages", ["--langs", "en", "--sentences", "2"], "4 folds of 1 languages"),
    ],
)
def test_wrong_options_are_refused_before_training(name, argv, message, tmp_path, monkeypatch):
    recipe = load(name)
    monkeypatch.setattr(recipe, "learn", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
