import itertools
import sys
import warnings

import numpy as np
import pytest
from test_contract import Translate
from toy import Bad, Spelled, assert_same_weights, model, train

from mtl.config import Fit
from mtl.fit import fit
from mtl.stream import Stream
from mtl.update import Updater


class Unlabelled(Spelled):
    def labels(self, index):
        return {}

    def example(self, index, draw=None, targets=True):
        return super().example(index, draw, targets)._replace(labels={})


class Stopped(Exception):
    pass


def stop_at(monkeypatch, step):
    """Let the run die before `step`, once."""
    run = Updater.run

    def dying(self, index, parts):
        if index == step:
            monkeypatch.undo()
            raise Stopped
        return run(self, index, parts)

    monkeypatch.setattr(Updater, "run", dying)


def settings_of(case):
    """Give fresh arguments; everything random is switched on."""
    known = {
        "plain": {},
        "accumulated": {"accumulate": 2, "batch": 4.0},
        "phases": {"methods": {"gan": Translate()}, "target": Unlabelled(10, 50)},
        "chosen": {"dev": {"speech": Spelled(6, 40)}, "eval_every": 2, "average": 2},
        "stopping": {"dev": {"speech": Spelled(6, 40)}, "eval_every": 1, "patience": 3, "lr": 1e-9},
        "bf16": {"precision": "bf16"},
        "workers": {"workers": 1},
    }
    return {"net": model(dropout=0.3), "save_every": 5, **known[case]}


@pytest.mark.parametrize(
    "case", ["plain", "accumulated", "phases", "chosen", "stopping", "bf16", "workers"]
)
def test_ten_steps_are_five_and_resume_and_five(case, tmp_path, monkeypatch):
    whole = train(out=tmp_path / "whole", **settings_of(case))
    stop_at(monkeypatch, 3 if case == "stopping" else 5)
    with pytest.raises(Stopped):
        train(out=tmp_path / "parts", **settings_of(case))
    resumed = train(out=tmp_path / "parts", **settings_of(case))
    assert_same_weights(whole.model, resumed.model)
    assert (resumed.steps, resumed.chosen) == (whole.steps, whole.chosen)
    assert resumed.history == whole.history
    assert whole.steps == (4 if case == "stopping" else 10)


def test_the_seed_decides(tmp_path):
    results = [train(net=model(0.3), seed=seed, steps=2).model.state_dict() for seed in (0, 0, 1)]
    name = "trunk.blocks.b1.attention.inward.weight"
    assert results[0][name].equal(results[1][name])
    assert not results[0][name].equal(results[2][name])


def test_a_finished_run_only_gives_its_result(tmp_path, monkeypatch):
    first = train(out=tmp_path)
    stop_at(monkeypatch, 0)
    again = train(out=tmp_path, net=model(seed=1))
    assert_same_weights(first.model, again.model)


def test_skipped_examples_survive_a_resume(tmp_path, monkeypatch):
    stop_at(monkeypatch, 15)
    data = {"data": Bad(broken={"x1"}, nan={"x4"}), "out": tmp_path, "steps": 16, "save_every": 5}
    with pytest.raises(Stopped):
        train(**data)
    resumed = train(**data)
    assert set(resumed.skipped) == {"x1", "x4"}


def test_overfitting_a_few_examples_brings_the_loss_near_zero():
    net = model(depth=2)
    data = Spelled(40)
    fitted = train(data, net=net, overfit=8, steps=250, lr=1e-2, log_every=10, batch=100.0)
    losses = fitted.history[-1]["loss"]
    assert set(losses) == {"nl", "cy", "language"}
    assert max(losses.values()) < 0.05 < max(fitted.history[0]["loss"].values())


def test_overfitting_sees_the_first_examples_unaugmented(monkeypatch):
    seen = set()
    example = Spelled.example

    def spy(self, index, draw=None, targets=True):
        seen.add((index, draw))
        return example(self, index, draw, targets)

    monkeypatch.setattr(Spelled, "example", spy)
    train(overfit=4)
    assert seen == {(index, None) for index in range(4)}


def test_patience_stops_early(tmp_path):
    dev = {"speech": Spelled(6, 40)}
    fitted = train(dev=dev, out=tmp_path, steps=50, eval_every=2, patience=3, lr=1e-9)
    assert fitted.steps == 8  # best at 2, then three evaluations without a better one
    assert [entry["step"] for entry in fitted.history if "dev" in entry] == [2, 4, 6, 8]


class Scripted:
    """Stands in for an evaluation: the score of the n-th call."""

    def __init__(self, scores):
        self.scores = itertools.chain(scores)

    def __call__(self, model, data, **_):
        score = next(self.scores)
        result = type("Result", (), {"score": lambda self: score})
        return result()


@pytest.mark.parametrize(
    ("final", "chosen"),
    [((0.3, 0.2, 0.4), "best"), ((0.1, 0.2, 0.4), "last"), ((0.3, 0.3, 0.1), "averaged")],
)
def test_dev_data_choose_the_weights(final, chosen, tmp_path, monkeypatch):
    """Scores during training make step 4 the best; those at the end decide."""
    from safetensors.torch import load_file

    scripted = Scripted([0.5, 0.2, 0.4, 0.3, 0.3, *final])
    monkeypatch.setattr(sys.modules["mtl.fit"], "evaluate", scripted)
    dev = {"speech": Spelled(6, 40)}
    fitted = train(dev=dev, out=tmp_path, eval_every=2, save_every=2, average=3)
    assert fitted.chosen == chosen
    wanted = {"best": [4], "last": [10], "averaged": [6, 8, 10]}[chosen]
    files = [
        load_file(tmp_path / f"checkpoints/step-{step:08d}/step.safetensors") for step in wanted
    ]
    for name, value in fitted.model.state_dict().items():
        mean = np.mean([file[f"model.{name}"].double().numpy() for file in files], 0)
        np.testing.assert_allclose(value.double(), mean, rtol=1e-6, atol=1e-8)
    kept = sorted(int(path.name[5:]) for path in (tmp_path / "checkpoints").glob("step-*"))
    assert kept == [4, 6, 8, 10]


def test_without_a_folder_the_choice_works_too():
    dev = {"speech": Spelled(6, 40)}
    fitted = train(dev=dev, eval_every=5, average=2)
    assert fitted.chosen in ("last", "best", "averaged") and fitted.dev.rows


def test_averaging_without_dev_data(tmp_path):
    assert train(out=tmp_path, save_every=2, average=3).chosen == "averaged"
    assert train(steps=4).chosen == "last"


def test_evaluating_changes_nothing():
    dev = {"speech": Spelled(6, 40)}
    often = train(net=model(0.3), dev=dev, eval_every=1)
    assert often.chosen in ("last", "best")
    scores = [entry["dev"] for entry in often.history if "dev" in entry]
    assert often.dev.score() == min(scores)
    if often.chosen == "last":
        assert_same_weights(often.model, train(net=model(0.3)).model)


def test_trackers_write_beside_the_checkpoints(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorboard's own imports
        train(out=tmp_path, trackers="tensorboard", steps=3, log_every=1)
    files = list((tmp_path / "log").glob("events.out.tfevents.*"))
    assert files
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/nl")] == [1, 2, 3]


def test_trackers_need_a_folder():
    with pytest.raises(ValueError, match=r"fit.trackers is 'tensorboard': give an output folder"):
        train(trackers="tensorboard")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"streams": {}}, "at least one stream"),
        (
            {"streams": {"sound": Stream(Spelled(), 8.0)}},
            "no stream 'sound'; this model has: speech",
        ),
        ({"streams": {"speech": [1]}}, "stream 'speech' is no `mtl.Stream`: write Stream"),
        ({"dev": {"dev": Spelled()}}, "no stream 'dev'; this model has: speech, target"),
        ({"config": Fit(patience=2)}, "fit.patience is 2, but nothing is evaluated on the way"),
    ],
)
def test_wrong_arguments_are_refused_before_training(change, message):
    arguments = {"streams": {"speech": Stream(Spelled(), 8.0)}, **change}
    with pytest.raises(ValueError, match=message):
        fit(model(), **arguments, show=False)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("steps", -1, "it must be 0 or positive"),
        ("threads", -1, "it must be 0 or positive"),
        ("workers", -1, "it must be 0 or positive"),
        ("lr", float("nan"), "it must be 0 or positive"),
        ("lr", 0.0, "it must be positive"),
        ("precision", "int8", "choose from auto, no, bf16, fp16"),
        ("schedule", "cosin", "choose from cosine, linear, constant"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(name, value, says):
    with pytest.raises(ValueError, match=rf"^fit\.{name} is {value!r}; {says}"):
        Fit(**{name: value})


def test_dev_data_without_a_label_say_so():
    with pytest.raises(ValueError, match="no example has a label of a task"):
        train(dev={"speech": Unlabelled(4)}, steps=1)


def test_a_frozen_model_is_refused():
    with pytest.raises(ValueError, match="every parameter is frozen"):
        train(net=model().requires_grad_(False))


def test_the_bar_prints_ten_lines(capsys):
    config = Fit(steps=50, precision="no", threads=1, log_every=3, dry_run=False)
    fit(model(), {"speech": Stream(Bad(broken={"x1"}), 8.0)}, config, title="toy", show=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("toy: 0.00 M parameters, 1 process(es) x 1 thread(s)")
    assert sum("examples/s" in line for line in lines) == 10
    assert "1 skipped, the first x1: toy.jsonl:1: cannot be read" in lines
