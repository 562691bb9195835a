import json
import logging
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtl.data.manifest import ManifestError, hold_out, read_manifest, write_manifest

GOOD = {"audio_filepath": "a.wav", "duration": 1.5, "text": "hi", "lang": "en", "speaker": "s"}


def written(folder, *rows, name="train.jsonl"):
    path = folder / name
    write_manifest(path, rows)
    return path


def error_of(path):
    with pytest.raises(ManifestError) as error:
        read_manifest(path)
    return str(error.value)


def test_a_line_of_nemo(tmp_path):
    (read,) = read_manifest(written(tmp_path, {**GOOD, "unknown_field": [1]}))
    assert (read.id, read.text, read.lang, read.speaker) == ("a", "hi", "en", "s")
    assert (read.seconds, read.offset, read.weight) == (1.5, 0.0, 1.0)
    assert (read.audio, read.features, read.key) == (tmp_path / "a.wav", None, None)
    assert (read.label, read.phonemes, read.where) == (None, None, "train.jsonl:1")


def test_round_trip_keeps_every_field(tmp_path):
    row = {
        "id": "u1",
        "audio_filepath": Path("../elsewhere/ä.wav"),
        "duration": 2,
        "offset": 0.5,
        "text": "naïve “quotes”\u2028line",
        "lang": "fr",
        "speaker": 7,
        "label": "seven",
        "phonemes": "n a i v",
        "feature_path": "/abs/f.npy",
        "weight": 0.0,
    }
    read, other = read_manifest(written(tmp_path, row, {**GOOD, "label": 0}))
    assert read.id == "u1" and read.text == row["text"] and read.speaker == "7"
    assert (read.seconds, read.offset, read.weight) == (2.0, 0.5, 0.0)
    assert read.audio == tmp_path / "../elsewhere/ä.wav" and read.features == Path("/abs/f.npy")
    assert (read.label, read.phonemes) == ("seven", "n a i v")
    assert (other.label, other.line) == (0, 2)


def test_missing_fields_have_defaults(tmp_path, caplog):
    soundfile.write(tmp_path / "a.wav", np.zeros(4000), 8000)
    np.savez(tmp_path / "train.npz", k1=np.zeros((250, 13)))
    np.save(tmp_path / "f.npy", np.zeros((70, 13)))
    path = written(
        tmp_path,
        {"audio_filepath": "a.wav"},
        {"audio_filepath": "a.wav", "offset": 0.2, "lang": "", "speaker": None},
        {"feature_key": "k1"},
        {"feature_key": "k2", "num_frames": 30},
        {"feature_path": "f.npy"},
    )
    with caplog.at_level(logging.INFO):
        read = read_manifest(path)
    assert [u.seconds for u in read] == pytest.approx([0.5, 0.3, 2.5, 0.3, 0.7])
    assert [u.id for u in read] == ["a", "a@0.2", "k1", "k2", "f"]
    assert {(u.text, u.lang, u.speaker) for u in read} == {("", "und", "unknown")}
    assert (read[2].features, read[2].key) == (tmp_path / "train.npz", "k1")
    assert (read[4].features, read[4].key) == (tmp_path / "f.npy", None)
    assert "5 lines without duration" in caplog.text


def test_feature_path_with_key_is_named_by_the_key(tmp_path):
    rows = [{"feature_path": "all.npz", "feature_key": k, "duration": 1} for k in "pq"]
    assert [u.id for u in read_manifest(written(tmp_path, *rows))] == ["p", "q"]


def test_made_ids_are_unique_and_survive_appending(tmp_path):
    rows = [{**GOOD, "audio_filepath": f"{lang}/10.wav"} for lang in ("ar", "de", "fr")]
    short = [u.id for u in read_manifest(written(tmp_path, *rows[:2]))]
    long = [u.id for u in read_manifest(written(tmp_path, *rows))]
    assert long == ["10", "10#2", "10#3"] and short == long[:2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", "not JSON"),
        (b'{"text": "\xff"}', "not JSON in UTF-8"),
        ("[" * 100_000, "not JSON"),
        ("[1, 2]", "a JSON list"),
        (json.dumps({"text": "hi"}), "names no sound"),
        (json.dumps({**GOOD, "duration": -1}), "duration is -1"),
        (json.dumps({**GOOD, "duration": 0}), "duration is 0"),
        (json.dumps({**GOOD, "duration": 10**400}), "duration is 1000"),
        (json.dumps({**GOOD, "duration": float("nan")}), "duration is nan"),
        (json.dumps({**GOOD, "duration": "3 s"}), "duration is '3 s'; wanted int or float"),
        (json.dumps({**GOOD, "duration": True}), "duration is True"),
        (json.dumps({**GOOD, "offset": -0.5}), "offset is -0.5"),
        (json.dumps({**GOOD, "text": 5}), "text is 5; wanted str"),
        (json.dumps({**GOOD, "label": 0.5}), "label is 0.5"),
        (json.dumps({**GOOD, "audio_filepath": ["a"]}), "audio_filepath is"),
        (json.dumps({**GOOD, "audio_filepath": "s3://b/a.wav"}), "s3://b/a.wav is a network"),
        (json.dumps({"audio_filepath": "none.wav"}), "none.wav: no such file"),
    ],
)
def test_a_defect_is_named_with_its_line(tmp_path, line, message):
    good = json.dumps({**GOOD, "id": "good"}).encode()
    path = tmp_path / "train.jsonl"
    path.write_bytes(good + b"\n\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    error = error_of(path)
    assert "1 defect(s)" in error and "train.jsonl:3: " in error and message in error


def test_ten_defects_are_shown_and_the_rest_counted(tmp_path):
    rows = [{**GOOD, "id": i, "duration": -1, "offset": "x"} for i in range(7)]
    error = error_of(written(tmp_path, *rows))
    assert (
        "14 defect(s)" in error and "and 4 more" in error and error.count("\n  train.jsonl:") == 10
    )


def test_equal_ids_are_refused(tmp_path):
    rows = [{**GOOD, "id": "x"}, GOOD, {**GOOD, "id": "x"}]
    assert "train.jsonl:3: id 'x' is that of line 1 too" in error_of(written(tmp_path, *rows))


def test_missing_and_empty_manifests(tmp_path):
    assert "no such manifest" in error_of(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n \n")
    assert "has no lines" in error_of(tmp_path / "empty.jsonl")


def test_a_file_that_is_no_text_is_one_error_and_not_one_a_line(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF\n\xff\n\x24\0\0\n" * 300)
    message = error_of(tmp_path / "a.wav")
    assert message == f"{tmp_path / 'a.wav'}: is no text; wanted a file of JSON lines, in UTF-8"


def test_a_byte_order_mark_is_no_defect(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(GOOD), encoding="utf-8-sig")
    assert read_manifest(path)[0].id == "a"


@pytest.mark.parametrize("bad", [{"duration": float("nan")}, {"text": {1}}])
def test_writing_is_all_or_nothing(tmp_path, bad):
    path = written(tmp_path, GOOD)
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        write_manifest(path, [GOOD, bad])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_reading_is_quick(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text((json.dumps(GOOD) + "\n") * 10_000)
    start = time.process_time()
    assert len(read_manifest(path)) == 10_000
    assert time.process_time() - start < 1.5  # about 0.15 s


def utterances(folder, sizes):
    """`sizes` is {language: {speaker: utterances}}."""
    rows = [
        {**GOOD, "lang": lang, "speaker": speaker, "id": f"{lang}-{speaker}-{i}"}
        for lang, speakers in sizes.items()
        for speaker, count in speakers.items()
        for i in range(count)
    ]
    return read_manifest(written(folder, *rows))


def test_hold_out_takes_whole_speakers_where_it_can(tmp_path, caplog):
    given = utterances(
        tmp_path,
        {"en": {f"s{i}": 10 for i in range(20)}, "de": {"a": 30, "b": 20}, "fr": {"only": 1}},
    )
    with caplog.at_level(logging.INFO):
        train, dev = hold_out(given, share=0.1, seed=3)
    assert sorted(u.line for u in train + dev) == [u.line for u in given]
    voices = [{u.speaker for u in part if u.lang == "en"} for part in (train, dev)]
    assert not voices[0] & voices[1] and len(voices[1]) == 2
    assert [u.lang for u in dev].count("en") == 20 and [u.lang for u in dev].count("de") == 5
    assert {u.speaker for u in dev if u.lang == "de"} == {"a", "b"}
    assert "fr" in {u.lang for u in train} - {u.lang for u in dev}
    assert "en: 20 of 200 utterances (2 of 20 speakers)" in caplog.text
    assert "de: 5 of 50 utterances (single utterances)" in caplog.text


def test_hold_out_depends_on_the_seed_and_not_on_the_order(tmp_path):
    given = utterances(tmp_path, {"en": {f"s{i}": 5 for i in range(20)}, "de": {"a": 40}})

    def held(order, seed):
        return {u.id for u in hold_out(order, seed=seed)[1]}

    assert held(given, 0) == held(given[::-1], 0)
    assert held(given, 0) != held(given, 1)


def test_hold_out_keeps_a_dominant_speaker_in_train(tmp_path):
    given = utterances(tmp_path, {"en": {"main": 80, "b": 10, "c": 10}})
    for seed in range(10):
        assert len(hold_out(given, seed=seed)[1]) == 10


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_hold_out_refuses_a_senseless_share(share):
    with pytest.raises(ValueError, match="share is"):
        hold_out([], share)
