import numpy as np
import pytest
from loading import load, refuse, run


@pytest.fixture
def recipe():
    return load("instance_transfer")


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("a", 60), ("b", 40)):
        x, y = rng.integers(0, 256, (count, 10, 10), np.uint8), np.arange(count) % 2
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    return ["--source", tmp_path / "a.npz", "--target", tmp_path / "b.npz"]


def test_smoke_does_all_three_parts(recipe, tmp_path, monkeypatch):
    found = run(recipe, tmp_path, "--smoke")
    rows = found["comparisons"]["TrAdaBoost"]
    assert list(rows) == ["30 labels", "source 1 times"] and rows["30 labels"]["n"] == 898
    assert list(found["comparisons"]["KMM"]) == [
        f"{k} shift" for k in ("covariate", "label", "concept")
    ]
    assert sum("rank correlation with the true ratio" in note for note in found["notes"]) == 3
    assert found["claims"] == [] and found["notes"][0].startswith("smoke run")
    monkeypatch.setattr(recipe, "repaired", refuse)
    assert run(recipe, tmp_path, "--smoke")["comparisons"] == found["comparisons"]


def test_own_files_say_what_they_lack(recipe, files, tmp_path):
    argv = [
        *files,
        "--counts",
        "10",
        "--labels",
        10,
        "--sizes",
        "1,100",
        "--examples",
        20,
        "--seeds",
        2,
    ]
    found = run(recipe, tmp_path / "out", *argv)
    rows = found["comparisons"]["balanced"]
    assert {(row["n"], row["seeds"]) for row in rows.values()} == {(8, 2)}
    assert "source: 1000 examples were asked for, there are 60" in found["notes"]
    claims = [claim["claim"] for claim in found["claims"]]
    assert "the gain of a source grows from 1 to 100 times the target" in claims
    assert "KMM: rank correlation with the true ratio above 0.9" in claims


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--counts", "0"], "--counts is 0; give at least 1"),
        (["--sizes", "1,x"], "--sizes '1,x': give numbers"),
        (["--sizes", "0"], "--sizes '0': give numbers above 0"),
        (["--source", "a.npz"], "--source and --target belong together"),
        (["--test", "a.npz"], "--source and --target belong together"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "study", refuse)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
