import numpy as np
import pytest
import yaml
from loading import load, refuse, run
from test_senses import spoken

ARMS = ["alone", "together 2", "one head 2"]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "mtl"))


@pytest.fixture
def recipe():
    return load("speech_and_images")


@pytest.fixture
def learnt(recipe, monkeypatch):
    """What was trained: tasks and heads, examples of each, seed, looks and augmentation."""
    seen, fit = [], recipe.fit

    def noted(model, streams, config, show):
        counts = {name: len(stream.data) for name, stream in streams.items()}
        seen.append((list(model.heads), counts, config.seed, config.diagnose))
        return fit(model, streams, config, show=show)

    monkeypatch.setattr(recipe, "fit", noted)
    return seen


@pytest.fixture
def images(tmp_path):
    """Two classes, in an .npz file."""
    x = np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8)
    y = np.arange(8) % 2
    np.savez(tmp_path / "digits.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    return tmp_path / "digits.npz"


def test_smoke_gives_every_arm_and_does_nothing_twice(recipe, learnt, tmp_path, monkeypatch):
    found = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    assert list(found["comparisons"]) == [f"{arm}, count 2" for arm in ARMS]
    for rows in found["comparisons"].values():
        assert {task: (row["n"], row["seeds"]) for task, row in rows.items()} == {
            "speech": (10, 1),
            "images": (20, 1),
        }
    both = {"speech": 20, "images": 20}
    assert learnt == [
        (["speech"], {"speech": 20}, 0, 0),
        (["images"], {"images": 20}, 0, 0),
        (["speech", "images"], both, 0, 1),
        (["speech"], both, 0, 0),
    ]
    assert found["claims"] == [] and found["notes"][0] == "smoke run: the figures mean nothing"
    assert any(note.startswith("joint training: mean gain") for note in found["notes"])
    assert any("test speakers are unheard in training" in note for note in found["notes"])
    assert "What the tasks do to each other" in (tmp_path / "report.html").read_text("utf-8")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["width"] == 16

    monkeypatch.setattr(recipe, "fit", refuse)
    again = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    for name in ("comparisons", "claims", "notes"):
        assert again[name] == found[name]


SMALL = ["--width", 8, "--depth", 1, "--fit.steps", 1, "--fit.threads", 1, "--fit.diagnose", 0]


def test_own_files_and_the_claim_of_one_point(recipe, learnt, images, tmp_path):
    train = spoken(tmp_path)
    test = spoken(tmp_path, 8, "test.jsonl", speaker=lambda index: f"s{index}")
    argv = ["--data", train, "--test", test, "--images", images, *SMALL, "--seeds", 2]
    found = run(recipe, tmp_path / "out", *argv, "--counts", "1, 0")
    names = [f"{arm}, count {count}" for count in ("1", "all") for arm in ARMS]
    assert list(found["comparisons"]) == names
    assert found["comparisons"]["alone, count all"]["speech"]["n"] == 8
    assert (
        found["comparisons"]["alone, count 1"]["images"] | {"n": 4, "seeds": 2}
        == (found["comparisons"]["alone, count 1"]["images"])
    )
    assert "speech: 4 of 8 test speakers are unheard in training" in found["notes"]
    everything = [(seed, each) for _, each, seed, _ in learnt if len(each) == 2]
    few, most = {"speech": 2, "images": 2}, {"speech": 12, "images": 8}
    assert everything == [(s, each) for s in (0, 1) for each in (few, few, most, most)]
    claims = {claim["claim"]: claim["difference"] for claim in found["claims"]}
    assert len(claims) == 12
    for name in (name for name in names if not name.startswith("alone")):
        alone = found["comparisons"][f"alone, {name.partition(', ')[2]}"]
        for task in ("speech", "images"):
            gain = found["comparisons"][name][task]["accuracy"] - alone[task]["accuracy"]
            said = claims[f"{name}: less than 1 point more errors in {task}"]
            assert said == pytest.approx(gain)

    learnt.clear()
    run(recipe, tmp_path / "out", *argv, "--counts", "1,2")
    assert {len(part) for _, each, *_ in learnt for part in [each]} == {1, 2}
    assert len(learnt) == 8, "only what is new, two seeds of four"
    learnt.clear()
    run(recipe, tmp_path / "out", *argv, "--counts", 1, "--augment.time_frames", 5)
    assert len(learnt) == 8


def test_other_classes_have_heads_of_their_own(recipe, learnt, images, tmp_path):
    train = spoken(tmp_path, label=lambda index: ("no", "yes")[index % 2])
    argv = ["--data", train, "--images", images, *SMALL, "--seeds", 1, "--counts", 1]
    found = run(recipe, tmp_path / "out", *argv)
    assert [heads for heads, *_ in learnt] == [["speech"], ["images"], ["speech", "images"]]
    assert "one head is left out: speech and images have other classes" in found["notes"]
    found = run(recipe, tmp_path / "out", *argv, "--no-share-head")
    assert list(found["comparisons"]) == ["alone, count 1", "together 2, count 1"]
    assert not any("one head" in note for note in found["notes"]) and len(learnt) == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--batch", "0"], "--batch is 0; give at least 1"),
        (["--most", "0"], "--most is 0; give at least 1"),
        (["--counts", "5,all"], "'5,all': give whole numbers, comma separated, such as 2,10"),
        (["--data", "gone.jsonl"], r"gone\.jsonl: no such file or folder"),
        (["--test", "gone.npz"], r"--test gone\.npz has nothing to learn from: give --images"),
        (["--augment.speeds", "[0.123]"], "give multiples of 0.05"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "fit", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
