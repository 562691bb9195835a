"""crossing: the figures of a trained network, against its own predictions."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_shift import pictures, said

from mtl.config import Fit
from mtl.crossing import ASKED, _unheard, measure
from mtl.fit import Fitted, fit
from mtl.head import Task
from mtl.predict import predict
from mtl.problem import Pictures, Recordings
from mtl.shift import SOURCE, TARGET, TASK, Shift, adapting, paired, unlabelled
from mtl.tune.domain_norm import domain_norm

TASKS = {SOURCE: TASK, TARGET: ASKED}


@pytest.fixture(scope="module")
def shift():
    source = Pictures(pictures(8, "s"), pictures(12, "st"))
    return paired(source, Pictures(pictures(10, "t"), pictures(11, "tt")))


@pytest.fixture(scope="module")
def fitted(shift):
    torch.manual_seed(0)
    model = shift.network("resnet")
    method = adapting("dann", list(model.trunk.blocks))
    settings = Fit(steps=4, log_every=2, dry_run=False, precision="no", threads=1)
    streams = shift.streams(model, "dann", 4, 0)
    return fit(model, streams, settings, methods={"dann": method}, show=False)


def test_figures_are_those_of_the_predictions(shift, fitted):
    found = json.loads(json.dumps(measure(shift, fitted, drawn=True)))
    held = {SOURCE: shift.source.test, TARGET: shift.target.test}
    for name, items in held.items():
        task, data = TASKS[name], shift.source.data(fitted.model, items, stream=name)
        answers = predict(fitted.model, data, name)
        right = [a.predictions[task].value == p.label for a, p in zip(answers, items, strict=True)]
        assert found[name]["value"] == pytest.approx(np.mean(right))
        assert found[name]["metric"] == "accuracy" and found[name]["n"] == len(items)
    assert found["validators"]["source accuracy"] == pytest.approx(found[SOURCE]["value"])
    assert 0 <= found["distance"] <= 2
    assert [step for step, _ in found["told"]] == [2, 4]
    assert all(0 <= accuracy <= 1 for _, accuracy in found["told"])
    assert {n: np.shape(points) for n, points in found["map"].items()} == {
        SOURCE: (12, 2),
        TARGET: (11, 2),
    }
    assert measure(shift, fitted)["map"] == {}


def test_certainty_is_that_of_the_target_as_the_head_sees_it(shift, fitted):
    data = shift.target.data(fitted.model, shift.target.train, stream=SOURCE)
    answers = predict(fitted.model, data, SOURCE)
    most = np.array([a.predictions["label"].confidence for a in answers])
    entropy = -(most * np.log(most) + (1 - most) * np.log(1 - most))  # of two classes
    assert measure(shift, fitted)["validators"]["entropy"] == pytest.approx(
        -entropy.mean(), abs=1e-5
    )


def test_only_accuracies_depend_on_the_targets_labels(shift, fitted):
    blind = Shift(shift.source, Pictures(unlabelled(shift.target.train), shift.target.test))
    true, without = measure(shift, fitted), measure(blind, fitted)
    assert true == without
    turned = [*shift.target.test[1:], shift.target.test[0]]
    other = measure(Shift(shift.source, Pictures(shift.target.train, turned)), fitted)
    assert other["validators"] == true["validators"]


def test_too_few_examples_leave_out_what_needs_more(shift, fitted):
    small = Shift(
        Pictures(shift.source.train, shift.source.test[:4]),
        Pictures(shift.target.train[:3], shift.target.test[:4]),
    )
    found = measure(small, fitted)
    assert found["distance"] is None and found["validators"]["importance-weighted"] is None
    assert found["validators"]["entropy"] is not None


def test_what_cannot_be_used_is_an_error_of_the_test_and_left_out_elsewhere(shift, fitted):
    """Also among the training examples of the target, that validators look at."""

    def damaged(items):
        return [replace(items[0], source=b"garbage"), *items[1:]]

    sides = [Pictures(side.train, damaged(side.test)) for side in shift[:2]]
    sides[1] = Pictures(damaged(sides[1].train), sides[1].test)
    found, whole = measure(Shift(*sides), fitted), measure(shift, fitted)
    for name, side in zip((SOURCE, TARGET), sides, strict=True):
        assert found[name]["n"] == len(side.test) == whole[name]["n"]
        assert list(found[name]["skipped"]) == [side.test[0].id]
    without = [Pictures(side.train, side.test[1:]) for side in sides]
    without[1] = Pictures(sides[1].train[1:], without[1].test)
    wanted = measure(Shift(*without), fitted)
    for name in ("distance", "validators"):
        assert found[name] == wanted[name]


def test_recordings_that_training_left_out_are_named():
    """Before they are read: those longer than a stem takes."""
    parts = [[said(f"{name}{n}", n % 2) for n in range(4)] for name in "st"]
    parts[1][2] = replace(parts[1][2], seconds=31.0)
    shift = paired(*(Recordings(part, part) for part in parts))
    model = shift.network("lenet")
    model.add(Task(ASKED, TARGET, TASK, label="label"))
    model.stem(TARGET).fixed_seconds = 30.0
    assert list(_unheard(model, {SOURCE: shift.source, TARGET: shift.target})) == ["t2"]
    assert _unheard(model, {SOURCE: Pictures([], [])}) == {}


def test_each_domain_is_measured_by_its_own_statistics(shift):
    torch.manual_seed(0)
    model = shift.network("lenet")
    model.stems["domains"].convolution = torch.nn.Sequential(
        model.stems["domains"].convolution, torch.nn.BatchNorm2d(32)
    )
    domain_norm(model, [SOURCE, TARGET])
    norm = model.stems["domains"].convolution[1]
    norm.running_var[0] = 1e12  # of the source: all features become the same
    found = measure(shift, Fitted(model.eval(), 0, "last", 0.0), drawn=False)
    assert found["source"]["value"] == 0.5, "one class for all of two"
    sure = {}
    for name, task in TASKS.items():
        data = shift.target.data(model, shift.target.train, stream=name)
        answers = predict(model, data, name)
        most = np.array([a.predictions[task].confidence for a in answers])
        sure[name] = (most * np.log(most) + (1 - most) * np.log(1 - most)).mean()
    assert found["validators"]["entropy"] == pytest.approx(sure[TARGET], abs=1e-7)
    assert sure[TARGET] != pytest.approx(sure[SOURCE], abs=1e-5)
