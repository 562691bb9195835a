import json

import numpy as np
import pytest
import torch
import yaml
from loading import load, refuse

from mtl.batch import collate
from mtl.studies import lab

USUAL = ["scratch", "head", "tuned", "random", "progressive", "begun"]
ALL = [*USUAL, "harmful", "replay", "compress"]


@pytest.fixture
def recipe():
    return load("progressive")


@pytest.fixture
def files(tmp_path):
    """Two .npz files, of four classes and of two, grey and coloured."""
    rng = np.random.default_rng(0)
    found = []
    for name, size, classes in (("grey", (32, 8, 8), 4), ("colour", (32, 9, 9, 3), 2)):
        x, y = rng.integers(0, 256, size, np.uint8), np.arange(32) % classes
        found.append(tmp_path / f"{name}.npz")
        np.savez(found[-1], x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    return found


@pytest.fixture
def quick(recipe, monkeypatch):
    """Shrink the networks of pictures: the recipe's own are tried by CI."""
    from mtl.problem import Pictures
    from mtl.stems.pixels import Pixels
    from mtl.trunks.resnet import ResNet

    small = lambda self: (Pixels(1, 16, 8, stride=2), ResNet(8, [8, 8], residual=False))  # noqa: E731
    monkeypatch.setattr(Pictures, "network", small)


def main(recipe, out, *argv):
    argv = [*map(str, argv), "--fit.threads", "1", "--fit.precision", "no"]
    recipe.main([*argv, "--out", str(out)])
    return json.loads((out / "metrics.json").read_text())


def test_every_arm_learns_files_in_pairs_and_in_turn(recipe, quick, files, tmp_path, monkeypatch):
    argv = ["--data", *files, "--arms", "all", "--pictures", 2, "--seeds", 1, "--looked-at", 4]
    argv += ["--first-steps", 2, "--fit.steps", 2]
    found = main(recipe, tmp_path / "out", *argv)
    assert list(found["comparisons"]) == ALL
    rows = found["comparisons"]["progressive"]
    ahead = ["grey in pairs: later tasks, mean", "grey -> colour: later tasks, mean"]
    assert {"0-1", "2-3", "grey", "colour", *ahead} <= set(rows)
    assert rows["0-1 forgotten"]["error"] == 0 == rows["grey forgotten"]["error"]
    assert list(found["comparisons"]["harmful"]) == ["2-3", "colour"]
    assert rows["grey"]["n"] == 8 and rows["0-1"]["n"] == 4
    kept = "grey in pairs: progressive: outputs of 1 of 1 earlier tasks bit-identical in the end"
    assert kept in found["notes"]
    assert any("replay stores" in note for note in found["notes"])
    assert any("harmful: scales of the first column in 2-3" in note for note in found["notes"])
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "fisher sensitivity of 2-3" in page
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["pictures"] == 2

    monkeypatch.setattr(lab, "fit", refuse)
    again = main(recipe, tmp_path / "out", *argv)
    assert again["comparisons"] == found["comparisons"] and again["notes"] == found["notes"]


def test_progressive_forgets_nothing_to_the_bit(recipe, quick, files, tmp_path, monkeypatch):
    """Its outputs, not its errors: compared as tensors, right after a task was learnt and in the end."""
    seen, measure = [], lab.Lab.measure

    def noted(self, model, task):
        problem = self.course.tasks[task]
        data = problem.data(model, problem.test, stream=task)
        batch = collate([data.example(index) for index in range(len(data))])
        with torch.no_grad():
            features = model.eval()(task, batch, filter(None, [model.tasks[task].at]))
            seen.append((task, model.scores(task, features).x.clone()))
        return measure(self, model, task)

    monkeypatch.setattr(lab.Lab, "measure", noted)
    argv = ["--data", files[0], "--first-steps", 3, "--fit.steps", 5, "--fit.lr", "1e-2"]
    for arm, kept in (("progressive", True), ("tuned", False)):
        seen.clear()
        found = main(recipe, tmp_path / arm, *argv, "--arms", arm, "--pictures", 2)
        assert [task for task, _ in seen] == ["0-1", "2-3", "0-1"]
        assert seen[0][1].equal(seen[2][1]) == kept
        assert (found["comparisons"][arm]["0-1 forgotten"]["error"] == 0) >= kept


def test_smoke_learns_languages_in_the_usual_ways(recipe, tmp_path):
    found = main(recipe, tmp_path, "--smoke", "--looked-at", 0)
    assert list(found["comparisons"]) == USUAL
    assert found["comparisons"]["scratch"].keys() >= {"de", "en"}
    assert found["claims"] == [] and found["notes"][0] == "smoke run: the figures mean nothing"
    assert "progressive: outputs of 1 of 1 earlier tasks bit-identical" in " ".join(found["notes"])


def test_what_is_learnt_without_options(recipe, monkeypatch):
    made = []
    monkeypatch.setattr(recipe, "speech", lambda *given: made.append(given))
    monkeypatch.setattr(recipe, "images", lambda *given: made.append(given) or [])
    config = recipe.Config
    cases = {
        "default": (config(), [("de,en,es", 100, False)]),
        "full": (config(full=True), [("de,en,es,fr,it", 100, False)]),
        "own": (config(full=True, languages="nl,cy"), [("nl,cy", 100, False)]),
        "images": (config(images=True), [(10, False)]),
        "both": (config(images=True, speech=True), [("de,en,es", 100, False), (10, False)]),
    }
    for name, (given, expected) in cases.items():
        made.clear()
        monkeypatch.setattr(recipe, "unique", lambda found: found)
        recipe.sequences(given)
        assert made == expected, name


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--pictures", "0"], "--pictures is 0; give at least 1"),
        (["--strength", "-1"], "--strength is -1.0; it may not be below 0"),
        (["--looked-at", "-1"], "--looked-at is -1; it may not be below 0"),
        (["--arms", "head,best"], "arm 'best' is not known; choose from scratch, head, "),
        (["--arms", " ,"], "--arms ' ,' names none; choose from scratch, head, "),
        (["--test", "a.npz"], "--test needs --data"),
        (["--data", "a.npz"], "a.npz does not exist"),
        (["--languages", "de"], "languages: a sequence takes two tasks or more, not 1"),
        (["--languages", "de,xx"], "language 'xx'"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "fit", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
