"""`mtl keyword`: words taught from a recording, and found in others, in tones of `talking`."""

import numpy as np
import pytest
import soundfile
from talking import HZ, STEP, Ear, Same, write

from mtl import Model, Task
from mtl.__main__ import main
from mtl.heads.classify import Classify
from mtl.heads.prototype import Prototype


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run `mtl keyword` beside a model `m`: (exit code, columns of the output, lines of the errors)."""
    monkeypatch.chdir(tmp_path)
    ear = Ear()
    tasks = [Task("word", "speech", Prototype()), Task("other", "speech", Classify(["a", "b"]))]
    Model({"speech": ear}, Same(ear.dim), tasks).save_pretrained("m")
    for name, said in (("lumos", "abcabc"), ("nox", "defgde"), ("more", "cbacab")):
        write(tmp_path / f"{name}.wav", [said])

    def run(*words):
        code = main(["keyword", *words])
        shown = capsys.readouterr()
        return code, [line.split("\t") for line in shown.out.splitlines()], shown.err.splitlines()

    return run


def add(run, name, *files, code=0):
    found = run("add", "--model", "m", "--name", name, *files)
    assert found[0] == code, found
    return found


def test_a_word_is_taught_from_one_recording_and_detected(run):
    before = Model.from_pretrained("m")
    _, lines, errors = add(run, "lumos", "lumos.wav")
    assert (lines, errors) == ([["lumos", "added, from 1 example(s)", "1 words", "m"]], [])
    add(run, "nox", "nox.wav")
    after = Model.from_pretrained("m")
    assert after.head("word").classes == ["lumos", "nox"]
    for name, value in before.state_dict().items():
        if name != "heads.word.support":
            assert value.equal(after.state_dict()[name]), name
    code, lines, errors = run("detect", "--model", "m", "more.wav", "nox.wav")
    assert (code, errors) == (0, [])
    assert [line[:2] for line in lines] == [["more.wav", "lumos"], ["nox.wav", "nox"]]
    assert float(lines[1][3]) == pytest.approx(0, abs=1e-3)
    assert -0.1 < float(lines[0][3]) < 0 and 0.5 < float(lines[0][2]) < 1


def test_a_word_may_be_taught_anew_and_elsewhere(run, tmp_path):
    add(run, "lumos", "lumos.wav", "more.wav")
    config = (tmp_path / "m" / "config.json").read_bytes()
    code, lines, _ = run("add", "--model", "m", "--name", "lumos", "--out", "n", "nox.wav")
    assert (code, lines[0][1:]) == (0, ["taught anew, from 1 example(s)", "1 words", "n"])
    assert (tmp_path / "m" / "config.json").read_bytes() == config
    best = [run("detect", "--model", model, "nox.wav")[1][0][3] for model in "mn"]
    assert float(best[1]) > float(best[0])


def test_words_are_found_where_they_are_said(run, tmp_path):
    add(run, "lumos", "lumos.wav")
    add(run, "nox", "nox.wav")
    starts = write(tmp_path / "long.wav", [2.0, "abcabc", 1.5, "defgde", 1.0, "cabcab", 0.7])
    how = ("detect", "--model", "m", "--window", str(6 * STEP), "--least", "-0.01", "long.wav")
    code, lines, errors = run(*how)
    assert (code, errors) == (0, [])
    assert [line[2] for line in lines] == ["lumos", "nox", "lumos"]
    found = [float(line[1]) for line in lines]
    assert np.allclose(found, starts, atol=6 * STEP / 8 + 0.02)
    assert run("detect", "--model", "m", "--least", "1", "lumos.wav")[1] == []


def test_what_goes_wrong_is_named_and_changes_nothing(run, tmp_path):
    config = (tmp_path / "m" / "config.json").read_bytes()
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), HZ)
    for words, message in (
        (["add", "--name", " ", "lumos.wav"], "class ' ' is empty"),
        (["add", "--name", "x", "lumos.wav", "missing.wav"], "missing.wav: no such file"),
        (["add", "--name", "x", "broken.wav"], "broken.wav"),
        (["add", "--name", "x", "--task", "other", "lumos.wav"], "'other' has a Classify head"),
        (["detect", "lumos.wav"], "no word was taught yet"),
        (["detect", "--window", "0", "lumos.wav"], "--window is 0"),
    ):
        code, lines, errors = run(words[0], "--model", "m", *words[1:])
        assert (code, lines, len(errors)) == (1, [], 1) and message in errors[0], (words, errors)
    assert (tmp_path / "m" / "config.json").read_bytes() == config
    add(run, "lumos", "lumos.wav")
    code, lines, errors = run("detect", "--model", "m", "nothing.wav", "lumos.wav")
    assert (code, [line[0] for line in lines]) == (1, ["lumos.wav"])
    assert len(errors) == 1 and "nothing.wav" in errors[0]
