from collections import Counter

import numpy as np
import pytest
import soundfile

from mtl.data.check import check_manifest, find_defects, summary
from mtl.data.manifest import ManifestError, write_manifest


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000)
    for name, samples in {
        "a.wav": noise,
        "b.wav": noise[::-1],
        "c.flac": noise,
        "copy.wav": noise,
        "empty.wav": noise[:0],
    }.items():
        soundfile.write(tmp_path / name, samples, 16000)
    noise[5] = np.nan
    soundfile.write(tmp_path / "nan.wav", noise, 16000, subtype="FLOAT")
    whole = (tmp_path / "c.flac").read_bytes()
    (tmp_path / "c.flac").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bad.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    np.savez(tmp_path / "train.npz", k=np.ones((100, 13)), n=np.full((100, 13), np.inf))
    return tmp_path


def row(name, **changes):
    return {"audio_filepath": name, "duration": 1.0, "text": "hello", "lang": "en", **changes}


def kinds(folder, *rows, decode=True):
    path = folder / "train.jsonl"
    write_manifest(path, rows)
    return [(d.where.split(":")[1], d.kind) for d in check_manifest(path, decode=decode)]


def test_good_data_has_no_defects(folder):
    good = [
        row("a.wav"),
        row("b.wav", duration=0.98),
        row("", feature_key="k"),
        row("b.wav", text="", label=3, id="label only", duration=1.0),
    ]
    assert kinds(folder, *good) == []


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (row("none.wav"), "audio"),
        (row("c.flac"), "audio"),
        (row("nan.wav"), "audio"),
        (row("empty.wav"), "audio"),
        (row("bad.m4a"), "audio"),
        (row("", feature_key="n"), "features"),
        (row("", feature_key="absent"), "features"),
        (row("a.wav", text=" …! "), "text"),
        (row("a.wav", lang=""), "language"),
        (row("a.wav", text="x" * 41), "speed"),
        (row("a.wav", duration=1.06), "duration"),
        (row("a.wav", duration=0.94), "duration"),
        (row("a.wav", duration=-1), "form"),
        ({"text": "no sound"}, "form"),
    ],
)
def test_each_kind_is_found_and_the_rest_still_read(folder, bad, kind):
    assert kinds(folder, row("b.wav"), bad, row("b.wav", text="other")) == [("2", kind)]


def test_every_defect_of_a_line_is_listed(folder):
    found = kinds(folder, row("nan.wav", text="", lang="und", duration=2.0))
    assert sorted(kind for _, kind in found) == ["audio", "duration", "language", "text"]


def test_a_line_with_a_used_id_is_checked_too(folder):
    found = kinds(folder, row("a.wav", id="x"), row("none.wav", id="x"))
    assert found == [("2", "id"), ("2", "audio")]


def test_not_json_is_listed(folder):
    path = folder / "train.jsonl"
    write_manifest(path, [row("a.wav")])
    path.write_text("{\n" + path.read_text() + "7\n")
    assert [(d.where, d.kind) for d in check_manifest(path)] == [
        ("train.jsonl:1", "json"),
        ("train.jsonl:3", "json"),
    ]


def test_duplicates_are_found_by_content(folder):
    same = [row("a.wav"), row("a.wav", text="other"), row("copy.wav"), row("a.wav")]
    assert kinds(folder, *same) == [("3", "duplicate"), ("4", "duplicate")]
    assert kinds(folder, *same, decode=False) == [("4", "duplicate")]


def test_cuts_of_one_file_may_be_short_but_not_pass_its_end(folder):
    cuts = [row("a.wav", duration=0.3), row("a.wav", offset=0.3, duration=0.7)]
    assert kinds(folder, *cuts) == []
    found = kinds(folder, *cuts, row("a.wav", offset=0.6, duration=0.7))
    assert ("3", "duration") in found and {line for line, _ in found} == {"3"}


def test_headers_alone_miss_what_only_decoding_shows(folder):
    rows = [row("nan.wav"), row("none.wav"), row("", feature_path="gone.npy"), row("empty.wav")]
    assert Counter(kinds(folder, *rows, decode=False)) == Counter(
        [("2", "audio"), ("3", "features"), ("4", "audio")]
    )


def test_defects_come_one_at_a_time_and_name_place_and_remedy(folder):
    path = folder / "train.jsonl"
    write_manifest(path, [row("none.wav", id="u"), row("bad.m4a")])
    first = next(find_defects(path))
    assert (first.where, first.id) == ("train.jsonl:1", "u")
    assert str(first).startswith("train.jsonl:1: ") and "none.wav: no such file" in str(first)


def test_a_missing_manifest_is_an_error(folder):
    with pytest.raises(ManifestError, match="no such manifest"):
        check_manifest(folder / "none.jsonl")
    with pytest.raises(ManifestError, match="no such manifest"):
        summary(folder / "none.jsonl")


def test_summary_counts_per_language(folder):
    path = folder / "train.jsonl"
    write_manifest(
        path,
        [
            row("a.wav", duration=1800, speaker="x", text="Ab"),
            row("a.wav", duration=1800, speaker="y", text="b, c"),
            row("a.wav", duration=900, lang="cs", speaker="x", text="č 5€ 3% €?"),
            row("a.wav", duration=-1),
        ],
    )
    found = summary(path)
    assert list(found) == ["cs", "en"]
    assert found["en"] == (2, 1.0, 2, [" ", "a", "b", "c"], {})
    assert found["cs"] == (1, 0.25, 1, [" ", "3", "5", "č"], {"€": 2, "%": 1})
