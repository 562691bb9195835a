import json

import pytest
from layouts import HZ, bring, same, sound


@pytest.fixture
def corpus(tmp_path):
    """Two recordings, and their samples."""
    return (
        tmp_path,
        sound(tmp_path / "wav" / "one.wav", 1.0),
        sound(tmp_path / "wav" / "two.flac", 0.5),
    )


def test_csv(corpus):
    folder, one, two = corpus
    path = folder / "manifests" / "train.csv"
    path.parent.mkdir()
    path.write_text(
        "ID, duration, wav, spk_id, wrd\n"
        "u1, 1.0, $data_root/wav/one.wav, anna, GOEDE MORGEN\n"
        f'u2,0.5,{folder}/wav/two.flac,bert,"ja, ""dag"""\n'
    )
    found = bring("speechbrain", path, lang="nl", root=folder)
    assert found.skips == []
    assert found.words("text", "speaker") == {
        "u1": ("GOEDE MORGEN", "anna"),
        "u2": ('ja, "dag"', "bert"),
    }
    assert same(found.utterances["u1"], one) and same(found.utterances["u2"], two)


def test_json(corpus):
    folder, one, two = corpus
    path = folder / "train.json"
    cut = {"file": "{data_root}/wav/one.wav", "start": HZ // 4, "stop": 3 * HZ // 4}
    records = {
        "u1": {
            "wav": "{data_root}/wav/one.wav",
            "length": 1.0,
            "words": ["een", "twee"],
            "lang": "nl",
        },
        "u2": {"wav": cut, "length": 1.0, "words": "drie", "lang": "af"},
        "u3": {"wav": "wav/two.flac", "length": 0.5, "words": "vier", "lang": "af", "spk_id": 3},
        "u4": {"wav": "wav/one.wav", "start": 0.5, "stop": 0.75, "words": "vijf", "lang": "af"},
        "u5": {"wav": "wav/one.wav", "start": 100, "words": "zes", "lang": "af", "channel": 0},
    }
    path.write_text(json.dumps(records))
    found = bring("speechbrain", path, root=folder)
    assert found.skips == []
    assert found.words("text", "lang", "speaker")["u1"] == ("een twee", "nl", "unknown")
    assert found.words("speaker")["u3"] == ("3",)
    spans = {"u1": one, "u2": one[HZ // 4 : 3 * HZ // 4], "u3": two}
    spans |= {"u4": one[HZ // 2 : 3 * HZ // 4], "u5": one[100:]}
    assert all(same(found.utterances[name], samples) for name, samples in spans.items())


def test_columns_by_other_names(corpus):
    folder, one, _ = corpus
    path = folder / "train.csv"
    path.write_text("ID,clip,wrd,norm,command\nu1,wav/one.wav,1 uur,een uur,stop\n")
    columns = {"audio": "clip", "text": "norm"}
    (utterance,) = bring("speechbrain", path, lang="nl", columns=columns).utterances.values()
    assert (utterance.text, utterance.label) == ("een uur", "stop") and same(utterance, one)
    with pytest.raises(ValueError, match="has no column 'words' for text; it has: ID, clip, wrd"):
        bring("speechbrain", path, columns={"text": "words"})


def test_what_cannot_be_used_is_named(corpus):
    folder, _, _ = corpus
    path = folder / "train.csv"
    rows = {
        "u1,0.5,wav/one.wav,99,8000,ok": None,
        "u2,0.5,wav/one.wav,0,8000": "columns",
        "u3,0.5,wav/one.wav,0,8000,ok,more": "columns",
        "u4,0.5,,0,8000,ok": "missing",
        "u5,0.5,wav/gone.wav,0,8000,ok": "missing",
        "u6,0.5,wav/one.wav,a,8000,ok": "times",
        "u7,0.5,wav/one.wav,8000,8000,ok": "times",
        "u8,0.5,wav/one.wav,8000,99999,ok": "times",
        "u9,0.5,wav/one.wav,0,8000,": "text",
        "u1,0.5,wav/one.wav,0,8000,again": "id",
    }
    path.write_text("\n".join(["ID,duration,wav,start,stop,wrd", *rows, ""]))
    found = bring("speechbrain", path, lang="nl")
    assert list(found.utterances) == ["u1"]
    assert list(found.kinds.values()) == [kind for kind in rows.values() if kind]
    path = folder / "train.json"
    path.write_text(json.dumps({"a": {"wav": "wav/two.flac", "wrd": "ok"}, "b": 3}))
    assert bring("speechbrain", path, lang="nl").kinds == {"train.json b": "columns"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "a.csv",
            "ID,wav,wrd\nu1,$data_root/x.wav,een\n",
            r"give --root DIR, what \$data_root stands",
        ),
        ("a.json", '{"u": {"wav": "{data_root}/x.wav"}}', r"what \{data_root\} stands for"),
        ("a.csv", "name,wav\nu1,x.wav\n", "names no column ID"),
        ("a.csv", "ID,wav\nu1," + "x" * 200_000 + "\n", r"a.csv:\d: is not CSV \(field larger"),
        ("a.json", "[]", "holds a JSON list"),
        ("a.json", "{", "is not JSON"),
        ("a.txt", "", "wanted a .csv or .json"),
    ],
)
def test_other_files_are_refused(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        bring("speechbrain", path)
