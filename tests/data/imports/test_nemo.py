import json

import pytest
from layouts import HZ, bring, same, sound


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def test_cuts_languages_and_labels(tmp_path):
    folder = tmp_path / "corpus"
    one, two = sound(folder / "wav" / "one.wav", 2.0), sound(folder / "two.flac", 0.5)
    rows = [
        {
            "audio_filepath": "wav/one.wav",
            "duration": 0.5,
            "text": "een",
            "offset": 0.25,
            "lang": "nl",
        },
        {"audio_filepath": "wav/one.wav", "duration": 0.75, "text": "twee", "offset": 1.0},
        {"audio_filepath": str(folder / "two.flac"), "duration": 0.5, "text": "drie", "speaker": 7},
        {"audio_filepath": "wav/one.wav", "duration": 0.125, "text": "v", "label": "go", "id": "x"},
    ]
    rows[1] |= {"source_lang": "de", "target_lang": "de", "taskname": "asr", "pnc": "no"}
    rows[2] |= {"target_lang": "fr"}
    rows[3] |= {"lang": "cy"}
    found = bring("nemo", write(folder / "nemo.json", *rows))
    one_cut, other, whole, label = found.utterances.values()
    assert same(one_cut, one[HZ // 4 : 3 * HZ // 4]) and same(other, one[HZ : 7 * HZ // 4])
    assert same(whole, two) and same(label, one[: HZ // 8])
    assert [u.lang for u in found.utterances.values()] == ["nl", "de", "fr", "cy"]
    assert (whole.speaker, label.id, label.label) == ("7", "x", "go")


def test_the_text_may_have_another_name(tmp_path):
    sound(tmp_path / "one.wav")
    row = {
        "audio_filepath": "one.wav",
        "duration": 0.5,
        "text": "een",
        "pnc_text": "Eén.",
        "l": "nl",
    }
    path = write(tmp_path / "m.json", row)
    found = bring("nemo", path, columns={"text": "pnc_text", "lang": "l"})
    assert [(u.text, u.lang) for u in found.utterances.values()] == [("Eén.", "nl")]


def test_paths_may_start_elsewhere(tmp_path):
    samples = sound(tmp_path / "audio" / "one.wav")
    path = write(
        tmp_path / "m" / "m.json", {"audio_filepath": "one.wav", "text": "een", "lang": "nl"}
    )
    with pytest.raises(ValueError, match="nothing could be imported"):
        bring("nemo", path)
    (utterance,) = bring("nemo", path, root=tmp_path / "audio").utterances.values()
    assert same(utterance, samples)


def test_what_cannot_be_used_is_named(tmp_path):
    sound(tmp_path / "one.wav", 1.0)
    good = {"audio_filepath": "one.wav", "duration": 1.0, "text": "een", "lang": "nl"}
    bad = [
        ("{", "json"),
        ("[1]", "json"),
        (good | {"audio_filepath": None}, "missing"),
        (good | {"audio_filepath": ["one.wav", "two.wav"]}, "missing"),
        (good | {"audio_filepath": "gone.wav"}, "missing"),
        (good | {"audio_filepath": "https://x.org/a.wav"}, "address"),
        (good | {"_skipme": True}, "skipme"),
        (good | {"lang": None, "source_lang": "en", "target_lang": "de"}, "translation"),
        (good | {"text": 5}, "text"),
        (good | {"text": None}, "text"),
        (good | {"duration": "long"}, "form"),
        (good | {"duration": float("nan")}, "form"),
        (good | {"speaker": 1.5}, "form"),
        (good | {"duration": 2.0}, "times"),
        (good | {"duration": 0.0}, "times"),
        (good | {"offset": 1.5, "duration": None}, "times"),
        (good | {"offset": -1}, "times"),
    ]
    found = bring("nemo", write(tmp_path / "m.json", good, *(row for row, _ in bad)))
    assert len(found.utterances) == 1
    assert list(found.kinds.values()) == [kind for _, kind in bad]
    assert list(found.kinds) == [f"m.json:{n}" for n in range(2, len(bad) + 2)]


def test_tarred_manifests_are_refused_until_unpacked(tmp_path):
    path = write(
        tmp_path / "t.json",
        {"audio_filepath": "one.wav", "duration": 0.5, "text": "een", "lang": "nl", "shard_id": 0},
    )
    with pytest.raises(ValueError, match=r"t.json:1: is of a tarred .*tar xf.*--root audio"):
        bring("nemo", path)
    samples = sound(tmp_path / "audio" / "one.wav")
    (utterance,) = bring("nemo", path, root=tmp_path / "audio").utterances.values()
    assert same(utterance, samples)


def test_a_folder_is_no_manifest(tmp_path):
    with pytest.raises(ValueError, match=r"full: is a folder; name a file of it: m\.json$"):
        (tmp_path / "full").mkdir()
        write(tmp_path / "full" / "m.json", {"audio_filepath": "one.wav"})
        bring("nemo", tmp_path / "full")


def test_a_missing_file_may_lie_elsewhere(tmp_path):
    sound(tmp_path / "one.wav")
    rows = [
        {"audio_filepath": f"{name}.wav", "text": "een", "lang": "nl"} for name in ("one", "gone")
    ]
    (skip,) = bring("nemo", write(tmp_path / "m.json", *rows)).skips
    assert skip.message.endswith("gone.wav: no such file; if paths start elsewhere, give --root")
