import numpy as np
import pytest
import yaml
from loading import load, refuse, run
from PIL import Image

from mtl.gallery import embedded

NAMES = ["handwritten", "drawn", "capitals"]


@pytest.fixture
def recipe():
    return load("image_multitask")


@pytest.fixture(scope="module")
def small():
    return embedded(small=True)


@pytest.fixture
def learnt(recipe, monkeypatch):
    """What was trained: names, pictures of each, the settings."""
    seen, learn = [], recipe.learn

    def noted(model, drawn, config, batch, warp):
        counts = {name: len(items) for name, items in drawn.items()}
        seen.append((counts, config.balance, config.diagnose, config.seed, warp.seed))
        return learn(model, drawn, config, batch, warp)

    monkeypatch.setattr(recipe, "learn", noted)
    return seen


@pytest.fixture
def files(tmp_path):
    """An .npz file of two classes, and a folder whose two classes lie two folders deep."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (8, 8, 8), np.uint8), np.arange(8) % 2
    np.savez(tmp_path / "digits.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    for name in ("greek/alpha", "latin/a"):
        (tmp_path / "signs" / name).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "signs" / name / f"{index}.png")
    return [tmp_path / "digits.npz", tmp_path / "signs"]


def test_smoke_trains_each_alone_and_all_together_once(recipe, learnt, tmp_path, monkeypatch):
    found = run(recipe, tmp_path, "--smoke")
    assert list(found["comparisons"]) == [
        "alone, width 16, count 10",
        "together 3, width 16, count 10",
    ]
    for rows in found["comparisons"].values():
        assert list(rows) == NAMES
        assert all((row["n"], row["seeds"]) == (40, 1) for row in rows.values())
    counts = {"handwritten": 100, "drawn": 100, "capitals": 240}
    assert [each for each, *_ in learnt] == [*({n: c} for n, c in counts.items()), counts]
    assert [looks for _, _, looks, *_ in learnt] == [0, 0, 0, 1], "looks are for all together"
    assert found["claims"] == [] and found["notes"][0] == "smoke run: the figures mean nothing"
    assert any(note.startswith("joint training: mean gain") for note in found["notes"])
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "What the tasks do to each other" in page and "<svg" in page
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seeds"] == 1

    monkeypatch.setattr(recipe, "learn", refuse)
    again = run(recipe, tmp_path, "--smoke")
    for name in ("comparisons", "claims", "notes"):
        assert again[name] == found[name]


def test_own_files_balances_and_numbers_of_pictures(recipe, learnt, files, tmp_path):
    argv = ["--data", *files, "--deep", "signs", "--own", "signs=1", "--counts", 2]
    argv += ["--seeds", 2, "--balance", "uw, mgda", "--widths", 4, "--batch", 4]
    argv += ["--fit.steps", 1, "--fit.threads", 1]
    found = run(recipe, tmp_path / "out", *argv)
    arms = ["together", "uw", "mgda"]
    names = ["alone, width 4, count 2", *(f"{arm} 2, width 4, count 2" for arm in arms)]
    assert list(found["comparisons"]) == names
    for rows in found["comparisons"].values():
        assert {task: (row["n"], row["seeds"]) for task, row in rows.items()} == {
            "digits": (4, 2),
            "signs": (6, 2),
        }
    both = {"digits": 4, "signs": 2}
    assert [each for each, *_ in learnt] == 2 * [{"digits": 4}, {"signs": 2}, *3 * [both]]
    assert [balance for _, balance, *_ in learnt] == 2 * ["", "", "", "uw", "mgda"]
    assert [(seed, warp) for *_, seed, warp in learnt] == [(0, 0)] * 5 + [(1, 1)] * 5
    claims = {claim["claim"]: claim["difference"] for claim in found["claims"]}
    assert list(claims) == [
        f"{name}: fewer errors {where}"
        for name in names[1:]
        for where in ("in digits", "in signs", "on average")
    ]
    value = {
        name: {t: r["accuracy"] for t, r in rows.items()}
        for name, rows in found["comparisons"].items()
    }
    for name in names[1:]:
        gains = [value[name][task] - value[names[0]][task] for task in ("digits", "signs")]
        assert claims[f"{name}: fewer errors on average"] == pytest.approx(sum(gains) / 2)

    learnt.clear()
    run(recipe, tmp_path / "out", *argv, "--draws", 2)
    assert len(learnt) == 10, "the second draw; the first is known"
    learnt.clear()
    run(recipe, tmp_path / "out", *[word if word != "signs=1" else "signs=2" for word in argv])
    assert [each["signs"] for each, *_ in learnt if "signs" in each] == [4] * 8, "no old figures"


def test_a_replaced_file_is_learnt_anew(recipe, learnt, files, tmp_path):
    argv = [tmp_path / "out", "--data", files[0], "--counts", 2, "--smoke", "--fit.threads", 1]
    for _ in range(2):
        run(recipe, *argv)
    assert len(learnt) == 2  # alone, and "together"
    with np.load(files[0]) as held:
        np.savez(files[0], **{name: array[::-1] for name, array in held.items()})
    run(recipe, *argv)
    assert len(learnt) == 4


def test_first_tasks_and_parts_of_data_sets(recipe, learnt, files, tmp_path):
    argv = ["--data", files[0], "--split", 2, "--turns", "--tasks", "2,0,4", "--single", 1]
    argv += ["--counts", 1, "--seeds", 1, "--widths", 4, "--fit.steps", 1, "--fit.threads", 1]
    found = run(recipe, tmp_path / "out", *argv)
    parts = [f"digits-{number}" for number in range(4)]
    assert [list(each) for each, *_ in learnt] == [parts[:1], parts[:2], parts]
    assert list(found["comparisons"]) == [
        "alone, width 4, count 1",
        "together 2, width 4, count 1",
        "together 4, width 4, count 1",
    ]
    assert {claim["claim"].partition(": ")[2] for claim in found["claims"]} == {
        "fewer errors in digits-0",
        "fewer errors on average",
    }


def test_runs_that_fail_are_noted_and_all_of_them_are_an_error(recipe, files, tmp_path):
    argv = ["--data", files[0], "--seeds", 1, "--widths", 4, "--fit.steps", 1]
    found = run(recipe, tmp_path / "out", *argv, "--counts", "9,1")
    failed = [note for note in found["notes"] if note.startswith("failed: ")]
    assert len(failed) == 2 and all("has 4 pictures, 9 are wanted" in note for note in failed)
    assert list(found["comparisons"]) == ["alone, width 4, count 1", "together 1, width 4, count 1"]
    with pytest.raises(ValueError, match="no run gave a figure; the first failed: arm=alone"):
        run(recipe, tmp_path / "out", *argv, "--counts", 9)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--draws", "0"], "--draws is 0; give at least 1"),
        (["--batch", "-1"], "--batch is -1; give at least 1"),
        (["--counts", "2,few"], "'2,few': give whole numbers, comma separated, such as 2,10"),
        (["--widths", ""], "'': give whole numbers"),
        (["--widths", "8,0"], "--widths is 0; give at least 1"),
        (["--single", "-1"], "--single is -1; give 0 or more"),
        (["--split", "-2"], "--split is -2; give 0 or more"),
        (["--fit.balance", "mgda"], "--fit.balance mgda: give it to --balance, which"),
        (["--fit.seed", "5"], "--fit.seed is 5; seeds are 0, 1"),
        (["--tasks", "2,4"], "--tasks 4: there are 3: handwritten, drawn, capitals"),
        (["--balance", "uw,uwe"], "mtl/balance has no 'uwe'; it has: aligned, "),
        (["--own", "drawn=few"], "--own drawn: write NAME=COUNT, NAME one of handwritten, drawn"),
        (["--own", "signs=2"], "--own signs: write NAME=COUNT, NAME one of handwritten, drawn"),
        (["--split", "99"], "no data set has 99 classes to make a task of"),
        (["--data", "gone.npz"], r"gone\.npz does not exist"),
        (["--test", "signs"], "'signs' names none of the tasks: no data"),
    ],
)
def test_wrong_options_are_refused_before_training(
    argv, message, recipe, small, tmp_path, monkeypatch
):
    monkeypatch.setattr(recipe, "learn", refuse)
    monkeypatch.setattr(recipe, "embedded", lambda _: small)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
