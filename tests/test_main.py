import subprocess
import sys
from pathlib import Path

import pytest

import mtl
from mtl.__main__ import main


@pytest.fixture
def run(capsys):
    """Run a command: (exit code, lines of the output, lines of the error output)."""

    def run(*words):
        code = main(list(words))
        shown = capsys.readouterr()
        return code, shown.out.splitlines(), shown.err.splitlines()

    return run


def test_errors_are_one_line_and_debug_shows_where(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("notes.wav").write_text("not a sound")
    for command in (
        ["transcribe", "mid.wav"],
        ["evaluate", "none.jsonl"],
        ["evaluate", "notes.wav"],
    ):
        code, lines, errors = run(*command, "--model", "empty")
        assert (code, lines) == (1, [])
        assert errors[0].startswith("mtl: ")
        assert not any("Traceback" in line for line in errors)
    assert run("transcribe", "mid.wav", "--model", "empty")[2] == [
        "mtl: empty holds no config.json: not a model saved by mtl"
    ]
    for words in (["--debug", "transcribe"], ["transcribe", "--debug"]):
        with pytest.raises(FileNotFoundError):
            main([*words, "mid.wav", "--model", "empty"])


def fail_now(error):
    raise error


def test_system_errors_lose_their_number_and_interruption_is_one_line(run, monkeypatch):
    def fail(error):
        def run(args):
            raise error

        monkeypatch.setattr("mtl.commands.list.run", run)

    fail(PermissionError(13, "Permission denied", "x.wav"))
    assert run("list") == (1, [], ["mtl: x.wav: Permission denied"])
    fail(FileNotFoundError("no such model:\n\nthe hub is away"))
    assert run("list") == (1, [], ["mtl: no such model: the hub is away"])
    fail(KeyboardInterrupt())
    assert run("list") == (130, [], ["mtl: stopped"])
    monkeypatch.setattr("mtl.commands.list.arguments", lambda parser: fail_now(KeyboardInterrupt()))
    assert run("list") == (130, [], ["mtl: stopped"]), "before the command runs"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "COMMAND"),
        (["trainscribe"], "transcribe"),
        (["transcribe", "--model", "m"], "FILE"),
        (["transcribe", "mid.wav"], "--model"),
        (["transcribe", "mid.wav", "--model", "m", "--batch", "0"], "above 0"),
        (["evaluate", "a.jsonl", "--model", "m", "--worst", "-1"], "-1"),
        (["list", "legs"], "stems"),
        (["data"], "check|make"),
        (["data", "make", "--languages", "en"], "en=100"),
    ],
)
def test_bad_usage_is_one_line_with_a_remedy(words, says, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert says in error
    assert "--help" in error


def test_help_is_quick_as_it_imports_no_torch():
    command = [sys.executable, "-X", "importtime", "-m", "mtl", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = [line.split("|")[-1].strip() for line in done.stderr.splitlines()]
    assert "argparse" in imported
    assert "torch" not in imported
    for name in ("transcribe", "evaluate", "list", "data", "turn audio files into text"):
        assert name in done.stdout


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"mtl {mtl.__version__}\n"


def test_public_names_are_not_hidden_by_the_modules_they_come_from():
    import mtl.evaluate  # sets mtl.evaluate to the module, if nothing prevents it

    assert callable(mtl.evaluate)
    assert all(getattr(mtl, name).__name__ == name for name in mtl.__all__)
