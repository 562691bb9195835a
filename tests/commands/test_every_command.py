"""What holds for all commands: help with units and defaults, --json, exit codes, one line for bad usage."""

import argparse
import re

import pytest

from mtl.__main__ import main, make_parser


def leaves(parser, words=()):
    """Every command that can be run: (its words, its parser)."""
    parts = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not parts:
        yield " ".join(words), parser
    for part in parts:
        for name, child in part.choices.items():
            yield from leaves(child, (*words, name))


COMMANDS = dict(leaves(make_parser()))
OWN = ("help", "debug")  # every parser's options


def options(command):
    return [action for action in COMMANDS[command]._actions if action.dest not in OWN]


def test_all_commands_are_found():
    wanted = {
        "list",
        "data check",
        "data import",
        "data make",
        "lm",
        "transcribe",
        "adapt",
        "align",
    }
    wanted |= {"keyword add", "keyword detect", "evaluate", "score", "export", "report", "symbols"}
    assert wanted <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_option_with_its_default_and_unit(command, capsys):
    for action in options(command):
        name = f"{command} {action.dest}"
        assert action.help, name
        if action.default not in (None, False, "", (), {}, [], argparse.SUPPRESS):
            assert (
                f"default: {action.default:g}" in action.help
                if isinstance(action.default, float)
                else f"default: {action.default}" in action.help
            ), name
        number = action.type in (int, float) or "count" in getattr(action.type, "__name__", "")
        assert not number or action.metavar, f"{name}: say in what it is counted"
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0 and shown.startswith(f"usage: mtl {command}")
    top = command.split()[0]
    assert re.search(
        rf"^    mtl {top}\b",
        make_parser()._subparsers._group_actions[0].choices[top].description,
        re.M,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_speaks_json(command):
    assert any("--json" in action.option_strings for action in options(command))


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_is_not_there_is_one_line(command, capsys):
    needed = filled(command)
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), *needed, "--nonsense"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert "--nonsense" in error and "--help" in error


def filled(command):
    """Words for all that a command must have: files and models that there are not."""
    values = {"languages": "en=1", "format": "nemo"}
    words = []
    for action in options(command):
        value = values.get(action.dest, f"no-such-{action.dest}")
        if not action.option_strings and action.nargs not in ("?", "*"):
            words.append(value)
        elif action.required:
            words += [action.option_strings[0], value]
    return words


@pytest.mark.parametrize(
    "command", sorted(set(COMMANDS) - {"list", "data make"})
)  # these read no files
def test_a_file_that_is_not_there_is_one_line(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*command.split(), *filled(command)]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and shown.err.startswith("mtl: ")
    assert "no-such-" in shown.err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "list"])
def test_nothing_given_is_one_line(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main(command.split())
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1 and "--help" in error
