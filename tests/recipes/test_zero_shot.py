import numpy as np
import pytest
import yaml
from loading import load, refuse, run

COLUMNS = ["unseen alone", "seen among all", "unseen among all"]
COLUMNS += ["harmonic mean", "harmonic, calibrated"]


@pytest.fixture
def recipe():
    return load("zero_shot")


@pytest.fixture
def files(tmp_path):
    """Pictures of six classes, and a table of their attributes."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 28, 28), np.uint8), np.arange(60) % 6
    np.savez(tmp_path / "six.npz", x_train=x, y_train=y, x_test=x[:24], y_test=y[:24])
    rows = [f"{name},{name % 2},{1 + name // 2}" for name in range(6)]
    (tmp_path / "six.csv").write_text("\n".join(["name,odd,half", *rows]))
    return ["--data", tmp_path / "six.npz", "--attributes", tmp_path / "six.csv", "--unseen", 2]


def test_smoke_measures_every_arm_once(recipe, tmp_path, monkeypatch):
    found = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    arms = ["softmax", "eszsl", "one-hot", "softmax+g", "squared+g"]
    assert list(found["comparisons"]) == COLUMNS
    for name, rows in found["comparisons"].items():
        assert list(rows) == arms
        count = 20 if name == "unseen alone" else 100
        assert all((row["n"], row["seeds"]) == (count, 1) for row in rows.values())
    assert found["claims"] == [] and found["notes"] == ["smoke run: the figures mean nothing"]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "a plain squared loss lets them collapse" in page and "every penalty on the seen" in page
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seeds"] == 1

    monkeypatch.setattr(recipe, "measure", refuse)
    again = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    assert again["comparisons"] == found["comparisons"]


def test_own_pictures_and_attributes(recipe, files, tmp_path, monkeypatch):
    seen, measure = [], recipe.measure

    def noted(arm, split, world, way, config):
        seen.append((arm, tuple(split.unseen), config.seed, len(world.train), way.gamma))
        return measure(arm, split, world, way, config)

    monkeypatch.setattr(recipe, "measure", noted)
    argv = [
        *files,
        "--arms",
        "hog+eszsl",
        "--count",
        8,
        "--test",
        4,
        "--way.gamma",
        5,
        "--seeds",
        3,
    ]
    found = run(recipe, tmp_path / "out", *argv)
    assert [(arm, seed, count, gamma) for arm, _, seed, count, gamma in seen] == [
        ("hog+eszsl", seed, 48, 5.0) for seed in range(3)
    ]
    assert len({unseen for _, unseen, *_ in seen}) > 1 and all(len(each[1]) == 2 for each in seen)
    assert found["comparisons"]["unseen alone"]["hog+eszsl"]["n"] == 8
    claims = [claim["claim"] for claim in found["claims"]]
    assert claims == [
        "hog+eszsl: among all, seen classes fare better than unseen",
        "hog+eszsl: a penalty chosen on seen classes raises the harmonic mean",
    ]
    assert "95 % intervals over 3 splits" in found["notes"][0]
    seen.clear()
    run(recipe, tmp_path / "out", *argv[:-1], 4)
    assert [seed for _, _, seed, *_ in seen] == [3], "the others are known"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--way.folds", "0"], "way.folds is 0; give at least 1"),
        (["--way.lam", "0"], "way.lam 0.0: both must be above 0"),
        (["--arms", "softmax,svm"], "--arms 'svm': choose from hinge, "),
        (["--data", "six.npz"], "--data and --attributes go together: give both, or none"),
        (["--attributes", "strokes"], "--data and --attributes go together: give both, or none"),
        (["--data", "none.npz", "--attributes", "strokes"], r"none\.npz does not exist"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "measure", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_too_many_unseen_classes_are_refused(recipe, files, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "measure", refuse)
    with pytest.raises(ValueError, match="3 unseen of 6 classes: give 2 or more, and leave 4"):
        run(recipe, tmp_path / "out", *files[:-1], 3, "--count", 8, "--test", 4)
