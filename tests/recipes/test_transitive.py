import numpy as np
import pytest
from loading import load, refuse, run


@pytest.fixture
def recipe():
    return load("transitive")


ARMS = ["source-only", "direct", "all at once", "chain", "target-only"]


def test_smoke_finds_the_chain(recipe, tmp_path, monkeypatch):
    found = run(recipe, tmp_path, "--smoke", "--close", 1.9)
    assert list(found["comparisons"]) == ARMS
    assert {rows["0 to 90"]["n"] for rows in found["comparisons"].values()} == {40}
    way = next(note for note in found["notes"] if note.startswith("the first chain: 0, "))
    names = [int(name) for name in way.removeprefix("the first chain: ").split(", ")]
    assert names == sorted(names) and names[-1] == 90 and len(names) > 3
    assert any("from '0' to '90' it is 2.00" in note for note in found["notes"])
    monkeypatch.setattr(recipe, "Journey", refuse)
    again = run(recipe, tmp_path, "--smoke", "--close", 1.9)
    assert again["comparisons"] == found["comparisons"]


def test_a_chain_that_is_not_close_enough_is_refused_and_the_others_are_told(recipe, tmp_path):
    found = run(recipe, tmp_path, "--smoke", "--close", 0.1)
    assert "chain" not in found["comparisons"] and "direct" in found["comparisons"]
    assert any(note.startswith("failed: ") and "no chain from" in note for note in found["notes"])


def test_own_domains(recipe, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("near", "mid", "far"):
        x, y = rng.integers(0, 256, (40, 8, 8), np.uint8), np.arange(40) % 2
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    data = ["--data", *(tmp_path / f"{name}.npz" for name in ("near", "mid", "far"))]
    found = run(recipe, tmp_path / "out", *data, "--seeds", 2, "--close", 2)
    row = found["comparisons"]["chain"]["near to far"]
    assert (row["n"], row["seeds"]) == (10, 2)
    back = run(recipe, tmp_path / "back", *data, "--source", "far", "--target", "mid", "--seeds", 1)
    assert list(back["comparisons"]["direct"]) == ["far to mid"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--close", "3"], "--close is 3.0; A-distances are from 0 to 2"),
        (["--source", "15", "--smoke"], "source '15', target '90': give two of 0, 10"),
    ],
)
def test_wrong_options_are_refused(argv, message, recipe, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value)
