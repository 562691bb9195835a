import json
from pathlib import Path

import pytest
from test_page import Reader

from mtl.__main__ import main
from mtl.metrics import Interval
from mtl.report import Claim, Report
from mtl.runs import claims, differing, read_run, side_by_side


def write(folder, cer, steps, claims=(), **more):
    folder.mkdir(parents=True)
    settings = f"steps: {steps}\nfit:\n  lr: 0.001\n  clip: {steps / 10}\nout: {folder}\n"
    (folder / "config.yaml").write_text(settings)
    tasks = {"nl": {"cer": cer, "cer_interval": [cer - 0.01, cer + 0.02], "n": 100}}
    Report("some_recipe", 3, tasks, claims=list(claims), **more).write(folder)
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = {"alone": {"nl": {"cer": 0.2, "range": [0.15, 0.25], "n": 100}}}
    told = [
        Claim("it <helps>", "undecided", 0.1, Interval(-0.1, 0.3)),
        Claim("it hurts", "true", -0.5, Interval(-0.6, -0.4), "tuned less scratch"),
        Claim("nobody ran", "undecided", None, None),
    ]
    write(Path("a/out"), 0.08, 10, told, comparisons=alone)
    write(Path("b/out"), 0.05, 20, [Claim("it fell", "false", 0.25, Interval(0.2, 0.3))])
    return Path("a/out"), Path("b/out")


def test_runs_stand_side_by_side_with_what_differs(runs, capsys):
    found = [read_run(run) for run in (runs[0], runs[1] / "metrics.json")]
    assert side_by_side(found) == (
        ["task", "metric", "a/out", "b/out"],
        [
            ["nl", "cer %", "8.00 (7.0 to 10.0)", "5.00 (4.0 to 7.0)"],
            ["nl (alone)", "cer %", "20.00 (15.0 to 25.0)", ""],
        ],
    )
    assert differing(found) == (
        ["setting", "a/out", "b/out"],
        [["steps", "10", "20"], ["fit.clip", "1.0", "2.0"]],
    )
    assert main(["report", *map(str, runs), "--out", "deep/both.html"]) == 0
    shown = capsys.readouterr().out
    reader = Reader(Path("deep/both.html").read_text("utf-8"))
    for cell in ("8.00 (7.0 to 10.0)", "20.00 (15.0 to 25.0)", "fit.clip"):
        assert cell in shown and any(cell in row for row in reader.rows)
    assert f"accelerate launch recipes/some_recipe.py --config {runs[1]}/config.yaml" in reader.text
    assert main(["report", *map(str, runs), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["runs"]
    assert first["tasks"]["nl"]["cer"] == 0.08 and second["settings"]["fit.clip"] == 2.0


def test_runs_that_differ_in_nothing(runs, capsys):
    assert main(["report", "a/out", "a/out/metrics.json", "--out", "x.html"]) == 0
    assert "No setting does." in Reader(Path("x.html").read_text("utf-8")).text


def test_the_claims_page_holds_every_claim_once_true_ones_first(runs, capsys):
    assert main(["report", "--claims", ".", "a", "--out", "claims.html"]) == 0
    shown = capsys.readouterr().out
    reader = Reader(Path("claims.html").read_text("utf-8"))
    columns, *rows = reader.rows
    assert columns == ["claim", "verdict", "difference %", "95 % interval", "baseline"]
    assert rows == [
        ["it hurts", "true", "-50.0", "-60.0 to -40.0", "tuned less scratch"],
        ["it fell", "false", "+25.0", "20.0 to 30.0", ""],
        ["it <helps>", "undecided", "+10.0", "-10.0 to 30.0", "alone"],
        ["nobody ran", "undecided", "", "", "alone"],
    ]
    assert "4 claims: 1 true, 1 false, 2 undecided" in reader.text
    assert "recipes/some_recipe.py --config a/out/config.yaml" in reader.text
    assert "it hurts" in shown and "-60.0 to -40.0" in shown
    assert main(["report", "--claims", "b", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["claims"]
    assert told == claims([Path("b")])[0]._asdict()
    assert (told["difference"], told["interval"]) == (0.25, [0.2, 0.3])
    assert told["command"].endswith("--config b/out/config.yaml")


def test_runs_without_claims_say_so(tmp_path, capsys):
    write(tmp_path / "c", 0.1, 1)
    assert main(["report", "--claims", str(tmp_path)]) == 0
    assert "no run claims anything" in capsys.readouterr().out


def test_what_is_no_run_is_said_in_one_line(runs, capsys):
    Path("empty").mkdir()
    for name, text in (("cut", '{"recipe"'), ("foreign", "{}"), ("list", "[]")):
        Path(name).mkdir()
        Path(name, "metrics.json").write_text(text)
    Path("odd").mkdir()
    Path("odd/metrics.json").write_text(Path("a/out/metrics.json").read_text())
    Path("odd/config.yaml").write_text("a: [")
    for words, says in (
        (["a/out"], "one run, a/out; give two or more, or --claims"),
        (["a/out", "empty"], "empty holds no metrics.json: give the --out folder of a recipe"),
        (["a/out", "cut"], "cut/metrics.json is damaged"),
        (["a/out", "list"], "list/metrics.json is damaged"),
        (["a/out", "foreign"], "foreign/metrics.json was not written by a recipe of mtl"),
        (["a/out", "odd"], "odd/config.yaml is no file of settings"),
        (["--claims", "empty"], "empty holds no metrics.json: no recipe has written there"),
        (["--claims", "nowhere"], "nowhere is no folder"),
        (
            ["--claims", "a", "--out", "b"],
            "--out b is a folder; name a file, such as b/claims.html",
        ),
    ):
        assert main(["report", *words]) == 1, words
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1, error
