"""`mtl score`: two models of drawn digits, one of which learnt shuffled labels."""

import numpy as np
import pytest

from mtl.__main__ import main
from mtl.config import Fit
from mtl.data.digits import CLASSES, glyphs
from mtl.problem import Pictures, build, learn
from mtl.studies.varied import shuffled


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models `good` and `bad`, and files of digits to learn from and of capitals as target."""
    place = tmp_path_factory.mktemp("score")
    digits, capitals = glyphs(200, CLASSES[:10]), glyphs(90, CLASSES[10:16], 1)
    problems = {"good": Pictures(digits, digits), "bad": shuffled(Pictures(digits, digits))}
    for name, problem in problems.items():
        model = build(problem)
        learn(model, problem, problem.train, Fit(steps=12, lr=4e-3, dry_run=False, threads=1))
        model.save_pretrained(place / name)
    for name, pictures in (("digits", digits), ("capitals", capitals)):
        x, y = np.stack([p.source for p in pictures]), np.array([p.label for p in pictures])
        np.savez(place / f"{name}.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    return place


@pytest.fixture
def run(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)

    def run(*words):
        code = main(["score", *words])
        shown = capsys.readouterr()
        return code, [line.split("\t") for line in shown.out.splitlines()], shown.err.splitlines()

    return run


def test_models_are_ranked_with_a_reason(run):
    code, lines, errors = run("--models", "bad", "good", "--data", "capitals.npz")
    assert (code, errors) == (0, [])
    assert lines[0] == ["model", "leep", "nce", "logme", "hscore", "transrate"]
    assert [line[0] for line in lines[1:5]] == ["good", "  untrained", "bad", "  untrained"]
    assert lines[2][1:3] == ["", ""] and float(lines[1][3]) > float(lines[3][3])
    verdicts = {line[0]: line[1:] for line in lines[5:7]}
    assert verdicts["good"][0] == "yes" and float(verdicts["good"][1].split()[1]) > 0
    assert lines[-1][0].startswith("would start from good: ")
    close = float(lines[1][3]) - float(lines[2][3])
    assert float(verdicts["good"][1].split()[1]) == pytest.approx(close, abs=2e-4)


def test_distances_and_a_margin(run):
    argv = ["--models", "good", "--sources", "digits.npz", "--data", "capitals.npz"]
    code, lines, _ = run(*argv, "--margin", "99")
    assert code == 0 and lines[0][6:] == ["A-distance", "MMD", "CORAL", "CMD", "Frechet"]
    assert len(lines[1]) == 11 and 0 <= float(lines[1][6]) <= 2
    assert lines[3][1] == "no" and lines[3][3].startswith("NEGATIVE TRANSFER likely: ")
    assert lines[-1] == ["would train from scratch: no source is better than knowing nothing"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--models", "good", "--data", "none.npz"], "none.npz: no such file or folder"),
        (["--models", "none", "--data", "capitals.npz"], "none"),
        (
            ["--models", "good", "bad", "--sources", "digits.npz", "--data", "capitals.npz"],
            "2 models, 1 sources: give one for each, or none",
        ),
        (["--models", "good", "--data", "capitals.npz", "--most", "3"], "--most is 3"),
    ],
)
def test_wrong_input_is_one_line(run, argv, message):
    code, lines, errors = run(*argv)
    assert (code, lines) == (1, []) and len(errors) == 1 and message in errors[0]
