import numpy as np
import pytest
from loading import load, refuse, run


@pytest.fixture
def recipe():
    return load("self_taught")


WAYS = ["raw pixels", "PCA", "random dictionary", "random patches", "sparse coding"]
WAYS += ["untrained network", "masked autoencoder"]


@pytest.fixture
def files(tmp_path):
    """Pictures with labels, and a folder of others without."""
    from PIL import Image

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 12, 12), np.uint8)
    y = np.arange(40) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    for place in range(30):
        folder = tmp_path / "signs" / f"{place % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 12), np.uint8)).save(folder / f"{place}.png")
    return ["--unlabelled", tmp_path / "signs", "--data", tmp_path / "a.npz"]


def test_smoke_compares_every_way_and_tells_the_clusters(recipe, tmp_path, monkeypatch):
    found = run(recipe, tmp_path, "--smoke")
    assert list(found["comparisons"]) == WAYS
    assert all(rows["3 labels"]["n"] == 40 for rows in found["comparisons"].values())
    assert found["claims"] == [] and found["notes"][0].startswith("smoke run")
    assert sum("NMI" in note for note in found["notes"]) == 3
    monkeypatch.setattr(recipe, "Bench", lambda *_: None)
    monkeypatch.setattr(recipe, "agreement", refuse)
    again = run(recipe, tmp_path, "--smoke")
    assert again["comparisons"] == found["comparisons"]


def test_own_files_and_settings_count(recipe, files, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "problems", lambda *_: {})
    argv = [*files, "--counts", "4,6", "--seeds", 2, "--code.atoms", 8, "--pictures.steps", 1]
    found = run(recipe, tmp_path / "out", *argv)
    rows = found["comparisons"]["sparse coding"]
    assert list(rows) == ["4 labels", "6 labels"]
    assert {(row["n"], row["seeds"]) for row in rows.values()} == {(8, 2)}
    claims = [claim["claim"] for claim in found["claims"]]
    assert "sparse coding, 4 labels: at least 30% fewer errors than PCA" in claims
    assert "masked autoencoder, 6 labels: fewer errors than untrained network" in claims


def test_speech_is_heard_before_it_is_written(recipe, tmp_path, monkeypatch):
    seen = []

    def recognise(problem, items, settings, source=None):
        seen.append((len(items), source))
        return {"metric": "cer", "value": 0.5 - 0.4 * (source is not None), "n": 4, "counts": []}

    monkeypatch.setattr(recipe, "pretrained", lambda *_: "taught")
    monkeypatch.setattr(recipe, "recognise", recognise)
    found = run(recipe, tmp_path, "--smoke", "--speech", "--counts", "3")
    assert seen == [(3, None), (3, "taught")]
    assert {arm: rows["3 labels"]["cer"] for arm, rows in found["comparisons"].items()} == (
        pytest.approx({"scratch": 0.5, "masked units": 0.1})
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--counts", "ten"], "'ten': give whole numbers"),
        (["--code.stride", "0"], "give values above 0"),
        (["--data", "none.npz"], "none.npz: no such file or folder"),
        (["--unlabelled", "none"], "none is no folder"),
        (["--speech", "--data", "a.jsonl"], "--unlabelled and --data belong together"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "study", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
