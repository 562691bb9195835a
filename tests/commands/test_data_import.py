import json

import numpy as np
import pytest
import soundfile

from mtl.__main__ import main

HZ = 16000


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run `mtl data import` in the folder: (exit code, lines of the output, lines of the errors)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(["data", "import", *words])
        shown = capsys.readouterr()
        return code, shown.out.splitlines(), shown.err.splitlines()

    return run


@pytest.fixture
def corpus(tmp_path):
    """Two speakers, one file in a format that cannot be read, seven without a text."""
    rng = np.random.default_rng(0)
    for name in ("anna/1", "anna/2", "bert/1", *(f"bert/silent{n}" for n in range(7))):
        (tmp_path / "corpus" / name).parent.mkdir(parents=True, exist_ok=True)
        samples = rng.integers(-999, 999, HZ // 2, dtype=np.int16)
        soundfile.write(tmp_path / "corpus" / f"{name}.wav", samples, HZ)
        if "silent" not in name:
            (tmp_path / "corpus" / f"{name}.txt").write_text(f"dag {name[0]}")
    (tmp_path / "corpus" / "anna" / "3.m4a").write_bytes(b"ftypM4A")
    (tmp_path / "corpus" / "anna" / "3.txt").write_text("drie")
    return tmp_path / "corpus"


def test_import_prints_what_there_is_and_names_what_is_not(run, corpus):
    words = ("folder", "corpus", "--out", "train.jsonl", "--folders", "speaker", "--lang", "nl")
    code, lines, errors = run(*words)
    assert (code, lines[0].strip()) == (0, "train.jsonl: 3 imported, 8 skipped")
    cells = [line.replace("│", " ").split() for line in lines]
    assert any(row[:4] == ["nl", "3", "0.000417", "2"] for row in cells)
    assert "skipped, text: 7 (all are named in train.skipped.tsv)" in lines
    assert "skipped, format: 1 (all are named in train.skipped.tsv)" in lines
    assert errors[0] == (
        "anna/3.m4a: corpus/anna/3.m4a: cannot be read; convert it, and import again: "
        "ffmpeg -i corpus/anna/3.m4a corpus/anna/3.flac"
    )
    assert [line.split(":")[0] for line in errors[1:]] == [f"bert/silent{n}.wav" for n in range(5)]
    assert len((corpus.parent / "train.skipped.tsv").read_text().splitlines()) == 8
    rows = [json.loads(line) for line in (corpus.parent / "train.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "audio_filepath": "corpus/anna/1.wav",
        "duration": 0.5,
        "id": "anna/1",
        "text": "dag a",
        "lang": "nl",
        "speaker": "anna",
    }
    assert main(["data", "check", "train.jsonl"]) == 0


def test_import_says_what_it_did_with_languages(run, corpus):
    code, lines, _ = run("folder", "corpus", "--out", "m.jsonl", "--untranscribed")
    assert code == 0
    assert lines[-1] == "no language: 10; import again with --lang, such as --lang en"
    words = ("folder", "corpus", "--out", "m.jsonl", "--folders", "lang", "--lang", "nl")
    lines = run(*words)[1]
    assert lines[-2:] == ["language anna became nl: 2", "language bert became nl: 1"]


def test_import_of_nothing_is_an_error(run, corpus):
    for path in corpus.rglob("*.txt"):
        path.unlink()
    code, lines, errors = run("folder", "corpus", "--out", "m.jsonl")
    assert (code, lines) == (1, [])
    assert errors[-1] == (
        "mtl: corpus: nothing could be imported (skipped: text 11, see m.skipped.tsv)"
    )
    assert not (corpus.parent / "m.jsonl").exists()
    code, lines, errors = run("kaldi", "corpus", "--out", "m.jsonl")
    assert (code, errors) == (1, ["mtl: corpus: holds no wav.scp; name a Kaldi data directory"])
    code, lines, errors = run("kaldi", "corpus", "--out", "m.jsonl", "--subset", "9hr")
    assert (code, errors) == (1, ["mtl: --subset means nothing to kaldi; it reads: --root"])


def test_import_reads_its_options(run, corpus):
    table = corpus / "list.txt"
    table.write_text("x|anna|1.wav|een\n")
    words = (
        "folder",
        "corpus/list.txt",
        "--out",
        "m.jsonl",
        "--root",
        "corpus/anna",
        "--lang",
        "nl",
    )
    assert run(*words, "--columns", "speaker=2, audio=3,text=4")[0] == 0
    row = json.loads((corpus.parent / "m.jsonl").read_text())
    assert (row["speaker"], row["text"]) == ("anna", "een")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cv", "x", "--out", "m"], "invalid choice: 'cv'"),
        (["nemo", "x"], "--out"),
        (["nemo", "x", "--out", "m", "--columns", "words=x"], "write FIELD=NAME, such as text=wrd"),
        (["nemo", "x", "--out", "m", "--columns", "text"], "write FIELD=NAME"),
        (["folder", "x", "--out", "m", "--folders", "lang/who"], "write lang, speaker, label, -"),
    ],
)
def test_import_refuses_bad_usage(words, says, run, capsys):
    with pytest.raises(SystemExit) as left:
        run(*words)
    assert left.value.code == 2 and says in capsys.readouterr().err


def test_help_lists_the_formats(run, capsys):
    with pytest.raises(SystemExit):
        run("--help")
    shown = capsys.readouterr().out
    for name in (
        "common_voice",
        "mls",
        "kaldi",
        "nemo",
        "speechbrain",
        "folder",
        "datasets",
        "lhotse",
    ):
        assert any(line.strip().startswith(f"{name} ") for line in shown.splitlines())
