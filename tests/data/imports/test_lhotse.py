import gzip
import json
import sys
import tarfile

import pytest
from layouts import HZ, bring, same, sound

from mtl.data.importing import import_manifest
from mtl.data.imports import Ask

lhotse = pytest.importorskip("lhotse", reason="pip install 'mtl[data]'")
from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet  # noqa: E402


def segment(name, recording, start, duration, text="een", **more):
    return SupervisionSegment(name, recording, start, duration, text=text, **more)


@pytest.fixture
def talk(tmp_path):
    """A recording of 3 s, one of 0.5 s, and their samples."""
    paths = tmp_path / "wav" / "talk.wav", tmp_path / "wav" / "short.flac"
    samples = sound(paths[0], 3.0), sound(paths[1], 0.5)
    return [Recording.from_file(path) for path in paths], samples


def test_supervisions_and_recordings(talk, tmp_path):
    (long, short), (samples, few) = talk
    more = {"language": "nl", "speaker": "anna"}
    said = [
        segment("a", "talk", 0.25, 0.5, "een", **more),
        segment("b", "talk", 2.5, 0.5, "twee", language="nl", speaker="bert"),
        segment("c", "short", 0, 0.5, "drie", **more, custom={"mood": "glad", "norm": "drie!"}),
    ]
    folder = tmp_path / "manifests"
    folder.mkdir()
    for split in ("train", "dev"):
        RecordingSet.from_recordings([long, short]).to_file(
            folder / f"x_recordings_{split}.jsonl.gz"
        )
        SupervisionSet.from_segments(said).to_file(folder / f"x_supervisions_{split}.jsonl.gz")
    found = bring("lhotse", folder, split="dev")
    assert found.skips == []
    assert found.words("text", "lang", "speaker") == {
        "a": ("een", "nl", "anna"),
        "b": ("twee", "nl", "bert"),
        "c": ("drie", "nl", "anna"),
    }
    spans = {"a": samples[HZ // 4 : 3 * HZ // 4], "b": samples[5 * HZ // 2 :], "c": few}
    assert all(same(found.utterances[name], span) for name, span in spans.items())
    file = folder / "x_supervisions_train.jsonl.gz"
    found = bring("lhotse", file, columns={"label": "mood", "text": "norm"}, untranscribed=True)
    assert found.words("label", "text")["c"] == ("glad", "drie!")
    with pytest.raises(ValueError, match=r"wanted one file of supervisions; .*_dev.*_train"):
        bring("lhotse", folder)
    (folder / "x_recordings_train.jsonl.gz").unlink()
    with pytest.raises(ValueError, match="where are its recordings"):
        bring("lhotse", file)


def cuts_of(long, short):
    near, far = (
        segment("a", "talk", 0.25, 0.5),
        segment("b", "talk", 1.0, 0.25, "twee", language="af"),
    )
    return [
        MonoCut("cut1", 0.5, 1.5, 0, [near, far], recording=long),
        MonoCut("cut2", 0, 0.5, 0, [segment("c", "short", 0, 0.5, "drie")], recording=short),
    ]


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz", "cuts.json"])
def test_cuts_of_several_supervisions(talk, tmp_path, name):
    recordings, (samples, few) = talk
    CutSet.from_cuts(cuts_of(*recordings)).to_file(tmp_path / name)
    found = bring("lhotse", tmp_path / name, lang="nl")
    assert found.report.replaced == {"af": 1}
    spans = {
        "a": samples[3 * HZ // 4 : 5 * HZ // 4],
        "b": samples[3 * HZ // 2 : 7 * HZ // 4],
        "c": few,
    }
    assert found.words("text") == {"a": ("een",), "b": ("twee",), "c": ("drie",)}
    assert all(same(found.utterances[key], span) for key, span in spans.items())


# lhotse leaves its archives to the garbage collector to close
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@unclosed
def test_shar(talk, tmp_path):
    recordings, (samples, few) = talk
    folder = tmp_path / "shar"
    folder.mkdir()
    CutSet.from_cuts(cuts_of(*recordings)).to_shar(folder, {"recording": "flac"}, shard_size=1)
    for path in (tmp_path / "wav").iterdir():
        path.unlink()
    found = bring("lhotse", folder, lang="nl")
    assert found.skips == []
    # a shard holds the sound of the cut only
    spans = {
        "a": samples[3 * HZ // 4 : 5 * HZ // 4],
        "b": samples[3 * HZ // 2 : 7 * HZ // 4],
        "c": few,
    }
    assert all(same(found.utterances[key], span) for key, span in spans.items())
    files = [path.name for path in (tmp_path / "out" / "train_audio").rglob("*.flac")]
    assert sorted(files) == ["cut1.flac", "cut2.flac"]


@unclosed
def test_shards_that_lack_sound_are_named(talk, tmp_path):
    recordings, _ = talk
    folder = tmp_path / "shar"
    folder.mkdir()
    CutSet.from_cuts(cuts_of(*recordings)).to_shar(folder, {"recording": "wav"}, shard_size=10)
    (tar,) = folder.glob("recording.*.tar")
    whole = tar.read_bytes()
    with tarfile.open(tar) as old:
        members = [(m, old.extractfile(m)) for m in old.getmembers()]
        with tarfile.open(tmp_path / "half.tar", "w") as new:
            for member, data in members[:2]:
                new.addfile(member, data)
    (tmp_path / "half.tar").replace(tar)
    found = bring("lhotse", folder, lang="nl")
    assert set(found.utterances) == {"a", "b"} and found.kinds == {"cut cut2": "missing"}
    tar.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot be read as data of lhotse .*ReadError"):
        bring("lhotse", folder, lang="nl")
    tar.unlink()
    with pytest.raises(ValueError, match="1 shards of cuts and 0 of recordings"):
        bring("lhotse", folder)


def test_what_cannot_be_used_is_named(talk, tmp_path):
    (long, short), _ = talk
    sound(tmp_path / "phone.wav", 1.0, channels=2)
    phone = Recording.from_file(tmp_path / "phone.wav")
    marker = tmp_path / "marker"
    command = json.loads(json.dumps(short.to_dict()))
    command["sources"][0] |= {"type": "command", "source": f"touch {marker}; cat {tmp_path}/x.wav"}
    far = json.loads(json.dumps(short.to_dict()))
    far["sources"][0] |= {"type": "url", "source": "https://x.org/a.wav"}
    gone = json.loads(json.dumps(short.to_dict()))
    gone["sources"][0]["source"] = str(tmp_path / "gone.wav")
    piped, far, gone = map(Recording.from_dict, (command, far, gone))
    one = [segment("s", "short", 0, 0.5)]
    cut = MonoCut("good", 0, 0.5, 0, [segment("good", "short", 0, 0.5)], recording=short)
    cuts = {
        "good": cut,
        "pipe": MonoCut("x", 0, 0.5, 0, one, recording=piped),
        "address": MonoCut("x", 0, 0.5, 0, one, recording=far),
        "missing": MonoCut("x", 0, 0.5, 0, one, recording=gone),
        "text": MonoCut("x", 0, 0.5, 0, [], recording=short),
        "transform": MonoCut("x", 0, 0.5, 0, one, recording=short).perturb_speed(1.1),
        "mixed": cut.append(cut.with_id("again")),
        "times": MonoCut("x", 0.2, 0.2, 0, [segment("s", "talk", -0.2, 0.5)], recording=long),
        "channel": MonoCut("x", 0, 1, 1, [segment("s", "phone", 0, 1, channel=1)], recording=phone),
        "both": phone.to_cut(),
    }
    cuts["both"].supervisions = [segment("both", "phone", 0, 1, channel=[0, 1])]
    ordered = [value.with_id(key) for key, value in cuts.items()]
    CutSet.from_cuts(ordered).to_file(tmp_path / "cuts.jsonl")
    found = bring("lhotse", tmp_path / "cuts.jsonl", lang="nl")
    assert set(found.utterances) == {"good", "both"}
    assert found.kinds == {f"cut {kind}": kind for kind in list(cuts)[1:-1]}
    assert not marker.exists()


def test_resampling_alone_changes_nothing(talk, tmp_path):
    (_, short), (_, few) = talk
    cut = MonoCut("c", 0, 0.5, 0, [segment("c", "short", 0, 0.5)], recording=short).resample(8000)
    CutSet.from_cuts([cut]).to_file(tmp_path / "cuts.jsonl")
    (utterance,) = bring("lhotse", tmp_path / "cuts.jsonl", lang="nl").utterances.values()
    assert same(utterance, few)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("none.jsonl", None, "no such file or folder"),
        ("a.jsonl", b"{", "is no manifest of lhotse .*JSON"),
        ("a.jsonl", b'{"a": 1}\n', "is no manifest of lhotse .*keyword"),
        ("a.jsonl.gz", b"no gzip", "gzip"),
        ("a.jsonl.gz", gzip.compress(b""), "neither cuts nor supervisions"),
        ("a.txt", b"x", "is no manifest of lhotse .*Not a valid"),
    ],
)
def test_other_files_are_refused(tmp_path, name, data, says):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises((ValueError, OSError), match=says):
        bring("lhotse", tmp_path / name)


def test_a_broken_line_names_the_manifest(talk, tmp_path):
    recordings, _ = talk
    path = tmp_path / "cuts.jsonl"
    CutSet.from_cuts(cuts_of(*recordings)).to_file(path)
    path.write_text(path.read_text() + '{"type": "MonoCut"}\n')
    with pytest.raises(ValueError, match=r"cuts\.jsonl: cannot be read .*MonoCut"):
        bring("lhotse", path)


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lhotse", None)
    (tmp_path / "cuts.jsonl").touch()
    with pytest.raises(ImportError, match=r"pip install 'mtl\[data\]'"):
        import_manifest("lhotse", Ask(str(tmp_path / "cuts.jsonl")), tmp_path / "m.jsonl")
