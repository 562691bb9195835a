import json

import numpy as np
import pytest
import soundfile
import yaml
from loading import load, refuse, run
from safetensors.torch import load_file

from mtl.fit import Fitted

ARMS = ["source-only", "ddc", "dan", "coral", "cmd", "dann", "sdt", "target-only"]


@pytest.fixture
def recipe():
    return load("domain_adaptation")


@pytest.fixture
def learnt(recipe, monkeypatch):
    """What was trained: labels by stream, methods, steps, seed, parameters."""
    seen, fit = [], recipe.fit

    def noted(model, streams, config, methods, show):
        labels = {
            name: sorted({key for index in range(len(s.data)) for key in s.data.labels(index)})
            for name, s in streams.items()
        }
        size = sum(parameter.numel() for parameter in model.parameters())
        weights = {name: getattr(method, "weight", None) for name, method in methods.items()}
        seen.append((labels, weights, config.steps, config.seed, size))
        return fit(model, streams, config, methods=methods, show=show)

    monkeypatch.setattr(recipe, "fit", noted)
    return seen


@pytest.fixture
def given(recipe, monkeypatch):
    """What runs were given that then do not train: settings, and the edits of their networks."""
    seen = []

    def noted(model, streams, config, methods, show):
        seen.append((config, [edit["name"] for edit in model.edits]))
        return Fitted(model.eval(), 0, "last", 0.0)

    monkeypatch.setattr(recipe, "fit", noted)
    monkeypatch.setattr(recipe, "measure", untrained)
    return seen


def untrained(shift, fitted, drawn):
    right = {"metric": "accuracy", "value": 0.5, "n": 1, "counts": [[1.0, 1.0, "x"]]}
    found = {"source": right, "target": right, "distance": None, "validators": {}}
    return found | {"told": [], "map": {}, "untrained": {}}


@pytest.fixture
def files(tmp_path):
    """Two .npz files of two classes, grey and coloured."""
    rng = np.random.default_rng(0)
    for name, size in (("grey", (16, 8, 8)), ("colour", (16, 9, 9, 3))):
        x, y = rng.integers(0, 256, size, np.uint8), np.arange(16) % 2
        np.savez(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    return ["--source", tmp_path / "grey.npz", "--target", tmp_path / "colour.npz"]


def test_smoke_trains_every_arm_once_and_no_method_sees_a_label_of_the_target(
    recipe, learnt, tmp_path, monkeypatch
):
    found = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    assert list(found["comparisons"]) == ["target", "source"]
    for rows in found["comparisons"].values():
        assert list(rows) == ARMS
        assert all((row["n"], row["seeds"]) == (30, 1) for row in rows.values())
    one, both = {"source": ["label"]}, {"source": ["label"], "target": []}
    assert [labels for labels, *_ in learnt] == [one, *[both] * 6, one]
    assert [list(methods) for _, methods, *_ in learnt] == [[], *([arm] for arm in ARMS[1:-1]), []]
    assert len({each[2:] for each in learnt}) == 1, "same steps, seed and network"
    assert found["claims"] == [] and found["notes"][0] == "smoke run: the figures mean nothing"
    assert any(note.startswith("labels of the test: the oracle") for note in found["notes"])
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "t-SNE" in page and "domain classifier: a half is chance" in page
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seeds"] == 1

    monkeypatch.setattr(recipe, "fit", refuse)
    again = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    assert [again[name] for name in ("comparisons", "notes")] == [
        found[name] for name in ("comparisons", "notes")
    ]


def test_methods_that_translate(recipe, learnt, tmp_path, monkeypatch):
    argv = [
        "--smoke",
        "--method",
        "pixelda,dsn",
        "--networks",
        "width=4,depth=1",
        "--fit.threads",
        1,
    ]
    found = run(recipe, tmp_path, *argv)
    arms = ["source-only", "pixelda", "dsn", "target-only"]
    assert list(found["comparisons"]["target"]) == arms
    both, one = {"source": ["label"], "target": []}, {"source": ["label"]}
    # After the first translation its judge learns from the target, and never again.
    assert [labels for labels, *_ in learnt] == [one, both, one, both, one]
    (judged,) = [note for note in found["notes"] if note.startswith("pixelda: ")]
    assert "of translations show what they did before" in judged
    (costs,) = [
        note for note in found["notes"] if note.startswith("seconds of a step: source-only")
    ]
    assert all(f"{arm} 0." in costs for arm in arms)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "pixelda: pictures of the source, their translations, and of the target" in page
    (kept,) = tmp_path.glob("*/judge")
    assert not any("methods" in name for name in load_file(kept / "model.safetensors"))

    monkeypatch.setattr(recipe, "fit", refuse)
    again = run(recipe, tmp_path, *argv)
    assert again["notes"] == found["notes"]


def test_own_files_strengths_and_seeds(recipe, learnt, files, tmp_path):
    argv = [*files, "--method", "coral, dann", "--weights", "coral=3", "--network", "resnet"]
    argv += ["--seeds", 2, "--batch", 4, "--fit.steps", 1, "--fit.threads", 1]
    found = run(recipe, tmp_path / "out", *argv)
    arms = ["source-only", "coral", "dann", "target-only"]
    rows = found["comparisons"]["target"]
    assert {arm: (row["n"], row["seeds"]) for arm, row in rows.items()} == dict.fromkeys(
        arms, (8, 2)
    )
    assert [methods for _, methods, *_ in learnt] == 2 * [{}, {"coral": 3.0}, {"dann": 1.0}, {}]
    assert [seed for *_, seed, _ in learnt] == [0] * 4 + [1] * 4
    claims = {claim["claim"]: claim["difference"] for claim in found["claims"]}
    gain = rows["coral"]["accuracy"] - rows["source-only"]["accuracy"]
    name = "coral: more of the target is right than from the source alone"
    assert claims[name] == pytest.approx(gain)

    learnt.clear()
    run(recipe, tmp_path / "out", *argv, "--seeds", 3)
    assert [seed for *_, seed, _ in learnt] == [2] * 4, "the others are known"


def test_speech_with_labels(recipe, learnt, tmp_path):
    argv = [*manifests(tmp_path), "--seeds", 1, "--batch", 2]
    argv += ["--fit.steps", 1, "--fit.threads", 1, "--method"]
    found = run(recipe, tmp_path / "out", *argv, "ddc,dsn")
    for arm in ("ddc", "dsn"):
        assert found["comparisons"]["target"][arm]["n"] == 8
    assert "label" not in learnt[1][0]["target"] and "label" in learnt[-1][0]["source"]
    with pytest.raises(ValueError, match="PixelDA paints pictures of one shape"):
        run(recipe, tmp_path / "other", *argv, "pixelda")
    assert not [*tmp_path.glob("other/**/cells/*")]


def manifests(tmp_path):
    """Options for three manifests of noise in two classes."""
    rng = np.random.default_rng(0)
    for side in ("source", "target", "test"):
        lines = []
        for index in range(8):
            file = f"{side}{index}.wav"
            soundfile.write(tmp_path / file, rng.normal(0, 0.1, 4000), 16000)
            line = {"audio_filepath": file, "duration": 0.25, "label": index % 2, "text": "x"}
            lines.append(json.dumps(line | {"speaker": f"{side}{index % 4}"}))
        (tmp_path / f"{side}.jsonl").write_text("\n".join(lines))
    return [
        word
        for side in ("source", "target", "test")
        for word in (f"--{side}", tmp_path / f"{side}.jsonl")
    ]


def test_what_is_asked_for_stays_also_where_it_is_the_setting_for_pictures(recipe, given, tmp_path):
    argv = [*manifests(tmp_path), "--method", "ddc", "--seeds", 1]
    run(recipe, tmp_path / "a", *argv)
    chosen = given[0][0]
    assert (chosen.optimizer, chosen.schedule, chosen.steps) == ("adamw", "cosine", 600)
    assert (chosen.lr, chosen.clip, chosen.dry_run) == (1e-3, 1.0, False)
    given.clear()
    run(recipe, tmp_path / "b", *argv, "--fit.steps", 800, "--fit.optimizer", "sgd")
    chosen = given[0][0]
    assert (chosen.optimizer, chosen.steps, chosen.schedule) == ("sgd", 800, "cosine")


def test_figures_of_other_files_are_not_taken_for_these(recipe, given, tmp_path):
    """The same manifests, the second a source, a target, or a test of it."""
    manifests(tmp_path)
    one, two, three = (tmp_path / f"{side}.jsonl" for side in ("source", "target", "test"))
    for options in (
        ["--source", one, "--target", two, "--test", three],
        ["--source", one, "--target", two, three],
        ["--source", one, two, "--target", three],
    ):
        given.clear()
        run(recipe, tmp_path / "out", *options, "--method", "ddc", "--seeds", 1)
        assert len(given) == 3


def test_pictures_are_learnt_as_published(recipe, given, files, tmp_path):
    run(recipe, tmp_path / "a", *files, "--method", "ddc", "--fit.threads", 1)
    published = given[0][0]
    assert (published.optimizer, published.momentum, published.lr) == ("sgd", 0.9, 0.01)
    assert (published.schedule, published.steps) == ("inverse", 800)
    assert published.warmup == published.weight_decay == published.clip == 0
    assert len(given) == 9, "three arms, three seeds"
    given.clear()
    run(recipe, tmp_path / "b", *files, "--method", "ddc", "--full", "--fit.threads", 1)
    assert sorted({config.seed for config, _ in given}) == [0, 1, 2, 3, 4]


def test_statistics_of_batch_norm(recipe, given, files, tmp_path):
    argv = [*files, "--method", "ddc", "--seeds", 1, "--network", "torchvision:shufflenet_v2_x0_5"]
    for kind, edits, joint in (
        ("own", ["domain_norm"], False),
        ("joint", [], True),
        ("separate", [], False),
    ):
        given.clear()
        run(recipe, tmp_path, *argv, "--statistics", kind, "--fit.threads", 1)
        assert [found for _, found in given] == [[], edits, []], "one domain alone needs none"
        assert {config.one_pass for config, _ in given} == {joint}


def test_own_statistics_are_learnt_and_tested(recipe, files, tmp_path):
    argv = [*files, "--method", "ddc", "--seeds", 1, "--network", "torchvision:shufflenet_v2_x0_5"]
    argv += ["--statistics", "own", "--batch", 2, "--most", 2, "--fit.steps", 1, "--fit.threads", 1]
    found = run(recipe, tmp_path, *argv)
    assert list(found["comparisons"]["target"]) == ["source-only", "ddc", "target-only"]


@pytest.mark.parametrize("control", ["concept", "labels"])
def test_a_control_changes_the_target_alone(control, recipe, files, tmp_path, monkeypatch):
    seen = []
    measure = recipe.measure
    monkeypatch.setattr(
        recipe,
        "measure",
        lambda shift, *rest, **more: seen.append(shift) or measure(shift, *rest, **more),
    )
    argv = [*files, "--method", "ddc", "--control", control, "--seeds", 2, "--batch", 4]
    found = run(recipe, tmp_path, *argv, "--fit.steps", 1, "--fit.threads", 1)
    source, target = seen[0].source.train, seen[0].target.train
    assert [p.label for p in source] == ["0", "1"] * 8
    wanted = {"concept": ["1", "0"] * 8, "labels": ["0", "1", *["0"] * 7]}[control]
    assert sorted(p.label for p in target) == sorted(wanted)
    (claim, _) = found["claims"]
    assert claim["claim"] == "ddc: less of the target is right than from the source alone"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--batch", "0"], "--batch is 0; give at least 1"),
        (["--method", "ddc,l2sp"], "'l2sp' adapts to no domain; choose from cmd, coral, "),
        (["--networks", "size=3"], "'size=3': write width=64; there are: width, depth, fold, lr"),
        (["--method", "unit", "--networks", "fold=3"], "fold 3, lr 0.0005; weight and keep"),
        (["--weights", "ddc"], "'ddc': write METHOD=WEIGHT, such as coral=10"),
        (["--weights", "ddc=-1"], "weight is -1.0; it may not be below 0"),
        (["--method", "ddc", "--weights", "dan=1"], "'dan' is none of the methods: ddc"),
        (["--statistics", "own"], "stems and trunk have no batch norm"),
        (["--source", "a.npz"], "--source and --target belong together: give both, or none"),
        (["--test", "a.npz"], "--source and --target belong together: give both, or none"),
        (["--speech", "--source", "a.npz"], "--speech is the source: leave out --source"),
        (["--speech", "--test", "a.npz"], "leave out --source; --test goes with --target"),
        (["--source", "a.npz", "--target", "b.npz"], "a.npz: no such file or folder"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "fit", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
