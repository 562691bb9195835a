import json
from importlib import import_module

import numpy as np
import pytest
import soundfile
import talking
from talking import model, text, times, write

from mtl.__main__ import main
from mtl.load import Loaded

SAID = {"a": text(60, 1), "b": text(150, 2), "c": text(40, 3)}  # 6, 15 and 4 seconds


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run `mtl transcribe`, where "m" is the toy: (exit code, output, lines of the error output)."""
    monkeypatch.chdir(tmp_path)
    made = model(languages=("cy", "nl"))
    asked = []

    def load(source, **options):
        asked.append((source, options))
        return Loaded(made, 3 if options["speaker"] else 0)

    monkeypatch.setattr(import_module("mtl.load"), "load", load)
    for name, said in SAID.items():
        write(tmp_path / f"{name}.wav", [said])

    def run(*words):
        code = main(["transcribe", "--model", "m", *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err.splitlines()

    run.asked = asked
    return run


FILES = ("a.wav", "b.wav", "c.wav")


def test_long_files_give_a_line_each(run):
    for options in ([], ["--chunk", "5"], ["--chunk", "5", "--batch", "5"]):
        code, out, errors = run(*FILES, *options)
        assert (code, errors) == (0, [])
        lines = [f"{name}.wav\tcy\t{said}" for name, said in SAID.items()]
        assert out.splitlines() == lines


def test_json_gives_words_where_they_are_asked_for(run):
    code, out, _ = run(*FILES, "--json", "--chunk", "5")
    assert code == 0
    plain = [json.loads(line) for line in out.splitlines()]
    assert [set(line) for line in plain] == [{"path", "lang", "text", "confidence", "seconds"}] * 3
    assert [line["seconds"] for line in plain] == [
        round(len(said) * talking.STEP, 3) for said in SAID.values()
    ]
    code, out, _ = run(*FILES, "--format", "json", "--timestamps", "--chunk", "5")
    for found, line, said in zip(
        map(json.loads, out.splitlines()), plain, SAID.values(), strict=True
    ):
        words = found.pop("words")
        assert found == line
        assert [word["word"] for word in words] == said.split()
        truth = times(said)
        for key, column in (("start", 1), ("end", 2)):
            expected = [row[column] for row in truth]
            assert [word[key] for word in words] == pytest.approx(expected, abs=0.021)
        assert all(0.5 < word["confidence"] <= 1 for word in words)


def test_timestamps_print_a_line_for_each_caption(run):
    code, out, _ = run("b.wav", "--timestamps", "--chunk", "5")
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and len(rows) > 1
    assert {tuple(row[:2]) for row in rows} == {("b.wav", "cy")}
    assert " ".join(row[4] for row in rows) == SAID["b"]
    ends = [(float(row[2]), float(row[3])) for row in rows]
    assert all(start < end <= 6 + start for start, end in ends)
    assert ends == sorted(ends)


def test_captions_are_printed_for_one_file_and_written_for_several(run, tmp_path):
    code, out, _ = run("b.wav", "--format", "srt")
    assert code == 0 and out.startswith("1\n00:00:00,000 --> 00:00:0")
    code, _, (error,) = run(*FILES, "--format", "vtt")
    assert code == 1 and "captions of 3 recordings: give a folder, --out DIR" in error
    code, shown, _ = run(*FILES, "--format", "srt", "--out", "new/captions")
    assert (code, shown) == (0, "")
    assert (tmp_path / "new/captions/b.srt").read_text() == out
    assert sorted(path.name for path in (tmp_path / "new/captions").iterdir()) == [
        "a.srt",
        "b.srt",
        "c.srt",
    ]
    assert run("a.wav", "--format", "vtt")[1].startswith("WEBVTT\n\n00:00:00.000 --> ")
    code, _, _ = run(*FILES, "--out", "texts")
    assert (tmp_path / "texts/c.txt").read_text() == f"c.wav\tcy\t{SAID['c']}\n"
    write(tmp_path / "a.flac", ["ab"])
    code, _, (error,) = run("a.wav", "a.flac", "--out", "texts")
    assert code == 1 and "several files are called 'a'" in error


def test_ctm_lists_the_words_of_all_files(run):
    code, out, _ = run(*FILES, "--format", "ctm", "--chunk", "5")
    rows = [line.split() for line in out.splitlines()]
    assert code == 0 and {len(row) for row in rows} == {6}
    for name, said in SAID.items():
        own = [row for row in rows if row[0] == f"{name}.wav"]
        assert [row[4] for row in own] == said.split()
        starts = [start for _, start, _ in times(said)]
        assert [float(row[2]) for row in own] == pytest.approx(starts, abs=0.021)


def test_problems_are_named_and_the_others_go_on(run, tmp_path):
    samples = soundfile.read("b.wav")[0]
    samples[90000] = np.nan
    soundfile.write("bad.wav", samples, talking.HZ, subtype="FLOAT")
    (tmp_path / "talk.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    write(tmp_path / "quiet.wav", [9.0])
    files = ("talk.m4a", "a.wav", "bad.wav", "quiet.wav", "b.wav")
    code, out, errors = run(*files, "--chunk", "5")
    assert code == 1
    texts = [("a", "cy", SAID["a"]), ("quiet", "und", ""), ("b", "cy", SAID["b"])]
    assert out.splitlines() == [f"{name}.wav\t{lang}\t{said}" for name, lang, said in texts]
    assert len(errors) == 2
    assert "convert it: ffmpeg -i talk.m4a -vn -ac 1 talk.flac" in errors[0]
    assert "bad.wav: holds samples that are NaN" in errors[1]
    for format, empty in (("srt", ""), ("vtt", "WEBVTT\n"), ("ctm", "")):
        assert run("quiet.wav", "--format", format) == (0, empty, [])


def test_language_and_speaker_are_those_of_all_pieces(run):
    code, out, _ = run("b.wav", "--lang", "nl", "--chunk", "5", "--speaker", "anna")
    assert (code, out) == (0, f"b.wav\tnl\t{SAID['b'].upper()}\n")
    assert run.asked[-1] == ("m", {"speaker": "anna", "speakers": None})
    code, out, (error,) = run("b.wav", "--lang", "fr", "--chunk", "5")
    assert (code, out) == (1, "") and "'fr'" in error and "cy, nl" in error


@pytest.mark.parametrize("chunk", ["0", "-3", "x", "nan", "inf"])
def test_a_chunk_is_a_number_of_seconds(run, chunk, capsys):
    with pytest.raises(SystemExit):
        run("a.wav", f"--chunk={chunk}")
    assert "is not a number of seconds above 0" in capsys.readouterr().err
    code, _, (error,) = run("a.wav", "--chunk", "0.5")
    assert code == 1 and "chunk is 0.5; give the seconds of a piece, at least 1" in error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--out", "b.wav"], "--out b.wav is a file; give a folder"),
        (["--lm-weight", "3"], "--lm-weight does nothing without --lm"),
        (["--hotword-weight", "3"], "--hotword-weight does nothing without --hotwords"),
        (["--lm", ""], "--lm is empty: name a file"),
        (["--lang", "nl", "--lm", "cy=x.arpa"], "lm cy=x.arpa: has no file for nl"),
        (["--lang", "nl", "--lm", "nl="], "lm nl=: 'nl=' names no file"),
        (["--lang", "nl", "--lm", "x.arpa"], "lm 'x.arpa': no such file"),
        (["--hotwords", "añ"], "hotwords (--hotwords): 'añ' can be spelled in none of cy, nl"),
    ],
)
def test_what_would_do_nothing_is_refused(run, words, says):
    code, out, (error,) = run("a.wav", *words)
    assert (code, out) == (1, "") and says in error


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--format", "srt", "--json"], "not allowed with"), (["--hotwords", ","], "holds no words")],
)
def test_what_contradicts_itself_is_bad_usage(run, words, says, capsys):
    with pytest.raises(SystemExit):
        run("a.wav", *words)
    assert says in capsys.readouterr().err


def test_hot_words_have_a_weight(run, monkeypatch):
    asked = []
    monkeypatch.setattr("mtl.decoding.beams", lambda _, search, *__: asked.append(search))
    run("a.wav", "--hotwords", "ab, cd", "--hotword-weight", "2.5")
    assert (asked[0].hotwords, asked[0].hotword_weight) == (("ab", "cd"), 2.5)
