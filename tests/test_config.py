"""What a recipe's command line refuses before anything is trained, and how a recipe ends."""

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mtl.config import Fit, launch, parse
from mtl.recogniser import Net

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass
class Tiny:
    """Settings."""

    out: Path = Path("runs/tiny")
    """folder"""


@dataclass
class Grid:
    """Settings of runs of several seeds."""

    seeds: int = 3
    """seeds"""
    net: Net = field(default_factory=Net)
    fit: Fit = field(default_factory=Fit)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--fit.gramian", "x"], 'Parser key "fit.gramian": Expected .*Got value: x; see --help'),
        (["--nope", "3"], "unrecognized arguments: --nope=3; see --help"),
        (["--fit.seed", "5"], r"--fit.seed is 5; seeds are 0, 1, ... here: give --seeds alone"),
    ],
)
def test_a_wrong_option_ends_with_one_line(argv, message, capsys):
    with pytest.raises(SystemExit, match=f"^error: {message}$"):
        launch(lambda: parse(Grid, "", argv) and None)
    assert capsys.readouterr() == ("", "")


def test_flags_of_nested_settings_need_no_word():
    read = parse(Grid, "", ["--net.shared", "--no-fit.dry-run", "--seeds", "2"])
    assert (read.net.shared, read.fit.dry_run, read.seeds) == (True, False, 2)
    assert parse(Grid, "", ["--net.shared", "false"]).net.shared is False


def test_a_folder_with_the_figures_of_another_recipe_is_refused(tmp_path):
    argv, file = ["--out", str(tmp_path)], tmp_path / "metrics.json"
    file.write_text(json.dumps({"recipe": "one"}, indent=1))
    assert parse(Tiny, "", argv, "one").out == tmp_path
    with pytest.raises(ValueError, match=r"--out .* holds the figures of one; give another folder"):
        parse(Tiny, "", argv, "two")
    for text in ("{", "[]", "{}"):
        file.write_text(text)
        assert parse(Tiny, "", argv, "two").out == tmp_path, "no recipe wrote this"


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.py")), ids=lambda path: path.stem)
def test_every_recipe_refuses_the_folder_of_another(recipe, tmp_path):
    (tmp_path / "metrics.json").write_text('{"recipe": "other"}')
    spec = importlib.util.spec_from_file_location(recipe.stem, recipe)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ValueError, match="holds the figures of other; give another folder"):
        module.main(["--smoke", "--out", str(tmp_path)])
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no folder that none can write to")
def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path):
    parse(Tiny, "", ["--out", str(tmp_path / "new" / "run")])
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".run.lock"]
    with pytest.raises(ValueError, match=r"^--out /proc/run cannot be written: \w+"):
        parse(Tiny, "", ["--out", "/proc/run"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fit: [1]", "mapping"),
        ("out: " + "[" * 10**5, r"g\.yaml nests lists more than 100 deep"),  # hours
        (
            "out: [&a [x, x], &b [*a, *a]]",
            r"g\.yaml repeats values by aliases",
        ),  # grows as 2**lines
    ],
)
def test_strange_files_of_settings_are_refused(text, message, tmp_path):
    (tmp_path / "g.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        parse(Grid, "", ["--config", str(tmp_path / "g.yaml")])


def test_the_death_of_another_process_ends_with_one_line(monkeypatch):
    text = "[../third_party/gloo/gloo/transport/tcp/pair.cc:5] Connection closed by peer\nmore"

    def main():
        raise RuntimeError(text)

    with pytest.raises(RuntimeError, match="closed by peer"):
        launch(main)  # alone, it is a mistake of the program's
    monkeypatch.setenv("WORLD_SIZE", "2")
    says = (
        r"^error: another process of this run is gone \(.*by peer\): start the same command again"
    )
    with pytest.raises(SystemExit, match=says):
        launch(main)


def test_help_tells_how_a_list_and_a_dash_are_written(capsys):
    with pytest.raises(SystemExit):
        parse(Tiny, "", ["--help"])
    assert "--data a.jsonl b.jsonl" in " ".join(capsys.readouterr().out.split())


def test_a_recipe_that_is_stopped_exits_as_shells_expect(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        launch(main)
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "stopped; start the same command again to resume\n"
