import numpy as np
import pytest
from loading import load, refuse, run


@pytest.fixture
def recipe():
    return load("choose_source")


@pytest.fixture
def trained(recipe, monkeypatch):
    """Which sources and targets were trained."""
    seen, learn, source = [], recipe.learn, recipe.trained
    monkeypatch.setattr(
        recipe, "learn", lambda m, t, i, c: seen.append(len(i)) or learn(m, t, i, c)
    )
    monkeypatch.setattr(recipe, "trained", lambda p, s, c: seen.append(p.name) or source(p, s, c))
    return seen


def files(tmp_path, count=4):
    rng = np.random.default_rng(0)
    for name in "abcd"[:count]:
        x, y = rng.integers(0, 256, (30, 8, 8), np.uint8), np.arange(30) % 2
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    return ["--data", *(tmp_path / f"{name}.npz" for name in "abcd"[:count])]


def test_all_pairs_are_scored_and_trained(recipe, trained, tmp_path, monkeypatch):
    figures = {"metric": "accuracy", "n": 8, "counts": []}
    values = iter(range(99))
    monkeypatch.setattr(
        recipe, "figures", lambda *_: figures | {"value": next(values) * 7 % 11 / 11}
    )
    quick = ["--seeds", 1, "--count", 3, "--source.steps", 1, "--target.steps", 1]
    found = run(recipe, tmp_path / "out", *files(tmp_path), *quick, "--choose", "d")
    assert list(found["comparisons"]) == ["scratch", "b", "c", "d", "shuffled", "a"]
    assert {len(rows) for name, rows in found["comparisons"].items() if name != "scratch"} == {3}
    assert {name for name in trained if isinstance(name, str)} == {
        f"{name}-0" for name in ("a", "b", "c", "d", "shuffled")
    }
    assert [size for size in trained if isinstance(size, int) and size < 30] == [6] * 19
    notes = "\n".join(found["notes"])
    assert "logme: rank correlation with the gain" in notes and "on d; " in notes
    assert any("chosen on d: rank correlation above 0.6" in c["claim"] for c in found["claims"])
    monkeypatch.setattr(recipe, "build", refuse)
    again = run(recipe, tmp_path / "out", *files(tmp_path), *quick, "--choose", "d")
    assert again["comparisons"] == found["comparisons"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--choose", "a", "x"], "--choose x: choose from a, b, c, d"),
        (["--choose", "a", "b", "c", "d"], "4 problems, 4 of them choose: give others as well"),
        (["--speech"], "--speech is embedded: leave out --data"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "study", refuse)
    given = [*map(str, files(tmp_path)), *argv]
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*given, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_smoke_takes_the_first_problems(recipe, trained, tmp_path):
    found = run(recipe, tmp_path, "--smoke")
    assert set(found["comparisons"]) == {
        "scratch",
        "handwritten",
        "drawn",
        "capitals-1",
        "capitals-2",
        "shuffled",
    }
    assert found["claims"] == [] and found["notes"][0].startswith("smoke run")
