import io
import zipfile

import numpy as np
import pytest
from loading import load, refuse, run
from PIL import Image


@pytest.fixture
def recipe():
    return load("one_shot")


@pytest.fixture
def omniglot(tmp_path):
    """The published files, with three characters of two drawings, and two runs of two characters."""
    rng = np.random.default_rng(0)

    def png():
        data = io.BytesIO()
        Image.fromarray(rng.integers(0, 2, (20, 20)).astype(bool)).save(data, "PNG")
        return data.getvalue()

    with zipfile.ZipFile(tmp_path / "images_background_small2.zip", "w") as file:
        for character in range(3):
            for turn in range(2):
                name = f"images_background_small2/Greek/character{character}/{turn}.png"
                file.writestr(name, png())
    with zipfile.ZipFile(tmp_path / "all_runs.zip", "w") as file:
        for run in ("run01", "run02"):
            lines = [f"{run}/test/item{n}.png {run}/training/class{n}.png" for n in (1, 2)]
            file.writestr(f"{run}/class_labels.txt", "\n".join(lines))
            for name in (each for line in lines for each in line.split()):
                file.writestr(name, png())
    return tmp_path


def test_smoke_compares_every_arm_with_pixels(recipe, tmp_path, monkeypatch):
    found = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    arms = ["prototype", "matching", "siamese"]
    assert list(found["comparisons"]) == ["pixels", *arms, *(f"{arm}, views" for arm in arms)]
    assert all(rows["fonts"]["n"] == 40 for rows in found["comparisons"].values())
    assert found["claims"] == [] and found["notes"][0] == "smoke run: the figures mean nothing"
    assert "right as often as they say" in (tmp_path / "report.html").read_text("utf-8")
    monkeypatch.setattr(recipe, "measure", refuse)
    again = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    assert again["comparisons"] == found["comparisons"]


def test_omniglot_is_learnt_from_one_part_alone(recipe, omniglot, tmp_path, monkeypatch):
    seen, learn = [], recipe.learn

    def noted(arm, pictures, net, config, warp):
        seen.append((arm, sorted({p.label for p in pictures}), config.seed, warp.seed))
        return learn(arm, pictures, net, config, warp)

    monkeypatch.setattr(recipe, "learn", noted)
    argv = ["--data", omniglot, "--parts", "small2", "--arms", "matching", "--seeds", 2]
    argv += ["--net.ways", 3, "--net.queries", 1, "--net.size", 16, "--net.channels", 4]
    found = run(
        recipe, tmp_path / "out", *argv, "--net.views", 1, "--fit.steps", 1, "--fit.threads", 1
    )
    classes = [f"Greek/character{number}" for number in range(3)]
    assert seen == [("matching", classes, seed, seed) for seed in (0, 1)]
    rows = {name: column["small2"] for name, column in found["comparisons"].items()}
    assert {name: (row["n"], row["seeds"]) for name, row in rows.items()} == dict.fromkeys(
        ["pixels", "matching", "matching, views"], (4, 2)
    )
    assert [claim["claim"] for claim in found["claims"]] == [
        "small2: matching errs less than the nearest pixels",
        "small2: matching errs less with averaged views",
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--trials", "0"], "--trials is 0; give at least 1"),
        (["--arms", "pixels"], "--arms 'pixels': choose from prototype, matching, siamese"),
        (["--net.ways", "1"], "net.ways is 1; give 2 or more"),
        (["--data", "."], r"no images_background_small1\.zip, and no folder"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "learn", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
