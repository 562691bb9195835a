import json
import sys

import pytest
from layouts import bring, same, sound

from mtl.data.importing import import_manifest
from mtl.data.imports import Ask

reason = "heavy: pip install 'mtl[data]'"
datasets = pytest.importorskip("datasets", reason=reason)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.TORCHCODEC_AVAILABLE", False)
    datasets.disable_progress_bars()


@pytest.fixture
def recordings(tmp_path):
    """Three files, and their samples."""
    paths = [tmp_path / "wav" / f"r{n}.{kind}" for n, kind in enumerate(("wav", "flac", "wav"))]
    return paths, [sound(path, 0.5, (16000, 8000, 44100)[n]) for n, path in enumerate(paths)]


def columns(paths, **more):
    return {
        "audio": [str(path) for path in paths],
        "sentence": ["een", "twee", "drie"],
        "locale": ["nl", "nl", "af"],
        "client_id": ["anna", "bert", "anna"],
        "id": [7, 7, 7],
    } | more


def spoken(rows):
    return datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())


def check(found, samples):
    assert [(u.text, u.lang, u.speaker) for u in found.utterances.values()] == [
        ("een", "nl", "anna"),
        ("twee", "nl", "bert"),
        ("drie", "af", "anna"),
    ]
    for utterance, said, hz in zip(
        found.utterances.values(), samples, (16000, 8000, 44100), strict=True
    ):
        assert same(utterance, said, hz)


def test_saved_with_its_audio_as_bytes(recordings, tmp_path):
    paths, samples = recordings
    data = spoken(columns(paths))
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "saved")
    for path in paths:
        path.unlink()
    found = bring("datasets", tmp_path / "saved", split="test")
    check(found, samples)
    assert found.report.written == tmp_path / "out" / "train_audio"
    kept = sorted(p.name for p in found.report.written.rglob("*") if p.is_file())
    assert kept == ["r0.wav", "r1.flac", "r2.wav"]
    check(bring("datasets", tmp_path / "saved", split="test"), samples)  # the same again
    with pytest.raises(ValueError, match="no split 'dev'; --split can be: train, test"):
        bring("datasets", tmp_path / "saved", split="dev")


def test_saved_with_paths(recordings, tmp_path):
    paths, samples = recordings
    datasets.Dataset.from_dict(columns(paths)).save_to_disk(tmp_path / "saved")
    found = bring("datasets", tmp_path / "saved")
    check(found, samples)
    assert found.report.written is None and not (tmp_path / "out" / "train_audio").exists()
    relative = columns(["r0.wav", "r1.flac", "r2.wav"])
    datasets.Dataset.from_dict(relative).save_to_disk(tmp_path / "relative")
    check(bring("datasets", tmp_path / "relative", root=tmp_path / "wav"), samples)


def test_a_folder_of_audio_and_metadata_without_torchcodec(tmp_path):
    samples = [sound(tmp_path / "f" / "test" / f"{n}.flac") for n in range(3)]
    rows = [
        {"file_name": f"{n}.flac", "transcription": f"zin {n}", "speaker_id": "ab"[n % 2]}
        for n in range(3)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "f" / "test" / "metadata.jsonl").write_text(lines)
    encode = datasets.Audio.encode_example
    found = bring("datasets", tmp_path / "f", split="test", lang="nl")
    assert datasets.Audio.encode_example is encode
    assert [(u.text, u.speaker) for u in found.utterances.values()] == [
        ("zin 0", "a"),
        ("zin 1", "b"),
        ("zin 2", "a"),
    ]
    assert all(same(u, s) for u, s in zip(found.utterances.values(), samples, strict=True))
    with pytest.raises(ValueError, match="train"):
        bring("datasets", tmp_path / "f")


def test_parquet_with_bytes_classes_and_other_names(recordings, tmp_path):
    paths, samples = recordings
    sounds = [{"bytes": path.read_bytes(), "path": None} for path in paths]
    rows = {
        "clip": sounds,
        "words": ["een", "twee", "drie"],
        "lang_id": [0, 1, 0],
        "key": [5, 6, 7],
    }
    data = datasets.Dataset.from_dict(rows)
    data = data.cast_column("lang_id", datasets.ClassLabel(names=["nl", "af"]))
    (tmp_path / "p").mkdir()
    data.to_parquet(tmp_path / "p" / "train.parquet")
    asked = {"audio": "clip", "text": "words", "lang": "lang_id", "id": "key"}
    found = bring("datasets", tmp_path / "p", columns=asked)
    assert found.words("text", "lang") == {
        "5": ("een", "nl"),
        "6": ("twee", "af"),
        "7": ("drie", "nl"),
    }
    for utterance, said, hz in zip(
        found.utterances.values(), samples, (16000, 8000, 44100), strict=True
    ):
        assert same(utterance, said, hz)
    with pytest.raises(ValueError, match="has no column 'said' for text; it has: clip, words"):
        bring("datasets", tmp_path / "p", columns={"audio": "clip", "text": "said"})
    with pytest.raises(ValueError, match="which column is the audio"):
        bring("datasets", tmp_path / "p")


def test_what_cannot_be_used_is_named(recordings, tmp_path):
    paths, _ = recordings
    good = paths[0].read_bytes()
    sounds = [
        {"bytes": good, "path": "good.wav"},
        {"bytes": b"\0\0\0\x20ftypM4A " * 30, "path": "x.m4a"},
        {"bytes": good[:5000], "path": "cut.wav"},
        {"bytes": None, "path": None},
        {"bytes": None, "path": "gone.wav"},
        {"bytes": None, "path": "hf://datasets/x/y.wav"},
        None,
        {"bytes": good, "path": "good.wav"},
    ]
    texts = ["een", "m4a", "cut", "none", "gone", "far", "null", ""]
    rows = {"audio": sounds, "text": texts}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "d")
    found = bring("datasets", tmp_path / "d", lang="nl")
    assert [u.text for u in found.utterances.values()] == ["een"]
    kinds = ["audio", "audio", "missing", "missing", "address", "missing", "text"]
    assert found.kinds == {f"row {n}": kind for n, kind in enumerate(kinds, start=1)}
    assert "x.m4a" in found.skips[0].message and "truncated" in found.skips[1].message


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'mtl\[data\]'"):
        import_manifest("datasets", Ask("x/y"), tmp_path / "m.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    (tmp_path / "c").mkdir()
    lines = {
        "table.csv": "audio,text\nx.wav,café\n",
        "table.jsonl": '{"audio": "x", "text": "é"}\n',
    }
    (tmp_path / "c" / name).write_bytes(lines[name].encode("latin-1"))
    with pytest.raises(ValueError, match=rf"c/{name}: 'utf-8' codec"):
        bring("datasets", tmp_path / "c")


def test_a_file_that_is_no_table_is_named(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "m.json").write_text('{"audio": "a.wav", "n": 1}\n{"audio": "b.wav", null\n')
    with pytest.raises(
        ValueError, match=r"m\.json: .*; correct its JSON, or import a manifest as nemo$"
    ):
        bring("datasets", tmp_path / "d")


def test_paths_of_large_strings_are_read(recordings, tmp_path):
    """As tables of pandas and of csv files have them."""
    paths, samples = recordings
    large = datasets.Features({name: datasets.Value("large_string") for name in columns(paths)})
    rows = {name: [str(value) for value in values] for name, values in columns(paths).items()}
    datasets.Dataset.from_dict(rows, features=large).save_to_disk(tmp_path / "saved")
    found = bring("datasets", tmp_path / "saved")
    assert all(
        same(u, s, hz)
        for u, s, hz in zip(found.utterances.values(), samples, (16000, 8000, 44100), strict=True)
    )
