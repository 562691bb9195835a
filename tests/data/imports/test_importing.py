import importlib
import json
import os
from dataclasses import fields

import pytest
import soundfile
from layouts import HZ, bring, same, sound

from mtl.data.importing import import_manifest
from mtl.data.imports import FOREIGN, READABLE, Ask, Sound, Unusable, column
from mtl.data.sounds import sounds
from mtl.registry import names

FORMATS = names("data.imports")


@pytest.fixture
def corpus(tmp_path):
    """A folder `corpus` with one.wav and one.txt."""
    samples = sound(tmp_path / "corpus" / "one.wav")
    (tmp_path / "corpus" / "one.txt").write_text("een")
    return tmp_path / "corpus", samples


def paths(manifest):
    return [json.loads(line)["audio_filepath"] for line in manifest.read_text().splitlines()]


def test_formats():
    assert FORMATS == [
        "common_voice",
        "datasets",
        "folder",
        "kaldi",
        "lhotse",
        "mls",
        "nemo",
        "speechbrain",
    ]
    known = {field.name for field in fields(Ask)} - {"source"}
    for name in FORMATS:
        module = importlib.import_module(f"mtl.data.imports.{name}")
        assert set(module.OPTIONS) <= known
        assert module.__doc__.startswith(f"{name}: ") and "Raises" in module.read.__doc__
    assert not READABLE & FOREIGN


@pytest.mark.parametrize("name", FORMATS)
def test_options_that_mean_nothing_are_refused(name, tmp_path):
    values = {"split": "x", "subset": "x", "root": tmp_path, "columns": {"text": "x"}}
    values["folders"] = ("lang",)
    has = importlib.import_module(f"mtl.data.imports.{name}").OPTIONS
    refused = set(values) - set(has)
    assert refused
    for option in refused:
        with pytest.raises(ValueError, match=f"--{option} means nothing to {name}; it reads: --"):
            import_manifest(name, Ask("x", **{option: values[option]}), tmp_path / "m.jsonl")


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no format 'cv'; there are: common_voice, datasets"):
        import_manifest("cv", Ask("x"), tmp_path / "m.jsonl")


def test_paths_are_relative_inside_one_tree(corpus, tmp_path, monkeypatch):
    folder, samples = corpus
    out = tmp_path / "elsewhere" / "m.jsonl"
    wanted = {
        folder / "m.jsonl": "one.wav",
        folder / "lists" / "m.jsonl": "../one.wav",
        tmp_path / "m.jsonl": "corpus/one.wav",
        out: str(folder / "one.wav"),
    }
    for place, path in wanted.items():
        (utterance,) = bring("folder", folder, place, lang="nl").utterances.values()
        assert paths(place) == [path] and same(utterance, samples)
    monkeypatch.chdir(tmp_path)
    import_manifest("folder", Ask("corpus"), out.relative_to(tmp_path))
    assert paths(out) == [str(folder / "one.wav")]
    os.rename(folder, tmp_path / "moved")
    assert paths(tmp_path / "moved" / "lists" / "m.jsonl") == ["../one.wav"]


def test_a_linked_folder_is_another_tree(corpus, tmp_path):
    folder, samples = corpus
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "link").symlink_to(folder)
    out = tmp_path / "home" / "lists" / "m.jsonl"
    (utterance,) = bring("folder", tmp_path / "home" / "link", out, lang="nl").utterances.values()
    assert paths(out) == [str(folder / "one.wav")] and same(utterance, samples)


def test_a_failed_import_leaves_the_earlier_manifest(corpus, tmp_path):
    folder, _ = corpus
    out = tmp_path / "out" / "m.jsonl"
    out.parent.mkdir()
    out.write_text("earlier")
    rows = "ID,wav,wrd\nu0,gone.wav,nul\nu1,one.wav,een\nu2,$root/one.wav,twee\n"
    (folder / "m.csv").write_text(rows)
    with pytest.raises(ValueError, match="give --root"):
        import_manifest("speechbrain", Ask(str(folder / "m.csv")), out)
    (folder / "m.csv").write_text(rows[: rows.index("u1")])
    with pytest.raises(
        ValueError, match=r"could be imported \(skipped: missing 1, see .*m.skipped.tsv"
    ):
        import_manifest("speechbrain", Ask(str(folder / "m.csv")), out)
    assert out.read_text() == "earlier"
    assert sorted(path.name for path in out.parent.iterdir()) == ["m.jsonl", "m.skipped.tsv"]
    where, kind, message = out.with_suffix(".skipped.tsv").read_text().strip().split("\t")
    assert (where, kind) == ("m.csv:2", "missing") and "gone.wav: no such file" in message


def test_the_source_is_never_overwritten(tmp_path):
    sound(tmp_path / "one.wav")
    path = tmp_path / "nemo.json"
    path.write_text('{"audio_filepath": "one.wav", "text": "een", "lang": "nl"}\n')
    with pytest.raises(ValueError, match="is what is imported; give another file"):
        import_manifest("nemo", Ask(str(path)), tmp_path / "x" / ".." / "nemo.json")
    assert "een" in path.read_text()


def test_text_that_is_no_unicode_is_skipped(tmp_path):
    sound(tmp_path / "one.wav")
    good = {"audio_filepath": "one.wav", "text": "een", "lang": "nl"}
    rows = [good, good | {"text": "half \ud800"}, good | {"audio_filepath": "a\0b"}]
    rows += [good | {"audio_filepath": "x" * 5000}, good | {"audio_filepath": "~nobody/one.wav"}]
    (tmp_path / "m.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = bring("nemo", tmp_path / "m.json")
    assert list(found.kinds.values()) == ["form", "missing", "missing", "missing"]
    assert len(found.utterances) == 1


def test_a_language_may_be_replaced(tmp_path):
    sound(tmp_path / "one.wav")
    rows = [{"audio_filepath": "one.wav", "text": t, "lang": f"nl-{t}"} for t in ("BE", "NL", "nl")]
    rows.append({"audio_filepath": "one.wav", "text": "geen"})
    (tmp_path / "m.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = bring("nemo", tmp_path / "m.json", lang="nl-nl")
    assert {u.lang for u in found.utterances.values()} == {"nl-nl"}
    assert found.report.replaced == {"nl-BE": 1, "nl-NL": 1}


def test_the_column_asked_for_comes_first():
    ask = Ask("here", columns={"text": "b"})
    assert column(ask, "text", ("a", "b"), ["a", "b"]) == "b"
    assert column(ask, "lang", ("a", "b"), ["b"]) == "b"
    assert column(ask, "lang", ("a",), ["b"]) is None


def encoded(tmp_path, kind):
    sound(path := tmp_path / f"x.{kind}")
    return path.read_bytes()


def test_sounds_keep_their_bytes_and_get_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr("mtl.data.sounds._IN_FOLDER", 3)
    wav, flac, ogg, mp3 = (encoded(tmp_path, kind) for kind in ("wav", "flac", "ogg", "mp3"))
    folder = tmp_path / "kept"
    with sounds(folder) as keep:
        places = [
            keep(Sound(name, data))
            for name, data in (
                ("a/../../b.wav", wav),
                ("b.wav", flac),
                ("no suffix", ogg),
                ("née: x?*.m4a", mp3),
                ("same", flac),
            )
        ]
        assert not folder.exists()
        assert [now.read_bytes() for now, _ in places] == [wav, flac, ogg, mp3, flac]
        again = keep(Sound("another name", flac))
    assert again == places[-1]
    names = [
        "0000/b.wav",
        "0000/b-1.wav",
        "0000/no_suffix.ogg",
        "0001/née_x_.m4a.mp3",
        "0001/same.flac",
    ]
    assert [later.relative_to(folder).as_posix() for _, later in places] == names
    assert [later.read_bytes() for _, later in places] == [wav, flac, ogg, mp3, flac]
    assert soundfile.info(folder / "0000" / "b-1.wav").samplerate == HZ


def test_sounds_appear_whole_or_not_at_all(tmp_path):
    data = encoded(tmp_path, "wav")
    folder = tmp_path / "kept"

    def fail():
        with sounds(folder) as keep:
            keep(Sound("new", data))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with sounds(folder):
        pass
    assert not folder.exists()
    with sounds(folder) as keep:
        keep(Sound("old", data))
        with pytest.raises(
            Unusable, match=r"x\.m4a: cannot be read as audio .*; the source holds it"
        ):
            keep(Sound("x.m4a", b"ftypM4A" * 100))
    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in folder.rglob("*.*")] == ["old.wav"]
