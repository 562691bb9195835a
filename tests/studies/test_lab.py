"""A lab: same data and starts for all arms, what is frozen stored, what is measured told."""

import pytest
import torch

from mtl.config import Fit
from mtl.methods.compress import Compress
from mtl.prefix import Prefix
from mtl.studies import lab as module
from mtl.studies.lab import Lab, Unlabelled, outputs
from mtl.studies.sequence import images

QUICK = {"log_every": 1, "precision": "no", "threads": 1, "dry_run": False}


@pytest.fixture
def course():
    return images(2, small=True)[0]


def make(course, folder, seed=0, steps=1):
    return Lab(course, Fit(steps=steps, seed=seed, **QUICK), folder, first_steps=2, strength=1.0)


@pytest.fixture
def runs(monkeypatch):
    """What was trained: its data, its batch and its settings."""
    seen, fit = [], module.fit

    def noted(model, streams, config, **more):
        seen.append((streams, config))
        return fit(model, streams, config, **more)

    monkeypatch.setattr(module, "fit", noted)
    return seen


def same(one, two):
    return all(a.equal(b) for a, b in zip(one.values(), two.values(), strict=True))


def test_starts_depend_on_task_and_seed_alone(course, tmp_path):
    one, other = make(course, tmp_path), make(course, tmp_path, seed=1)
    first = one.network("2-3").state_dict()
    torch.manual_seed(77)
    assert same(first, one.network("2-3").state_dict())
    assert not same(first, other.network("2-3").state_dict())
    assert not first["stems.images.convolution.weight"].equal(
        one.network("4-5").state_dict()["stems.images.convolution.weight"]
    )


def test_the_first_network_is_trained_once_and_the_harmful_one_is_another(course, tmp_path, runs):
    lab = make(course, tmp_path)
    model = lab.first()
    assert len(runs) == 1 and runs[0][1].steps == 2
    assert same(model.state_dict(), make(course, tmp_path).first().state_dict())
    assert len(runs) == 1
    lab.first(harmful=True)
    right, wrong = (streams["0-1"].data for streams, _ in runs)
    assert right.ids == wrong.ids
    labels = [[data.labels(i)["label"] for i in range(len(data))] for data in (right, wrong)]
    assert labels[0] != labels[1] and sorted(labels[0]) == sorted(labels[1])


def test_only_what_is_frozen_is_stored(course, tmp_path, runs):
    lab = make(course, tmp_path, steps=3)
    model = lab.first()
    lab.grow(model, "2-3")
    lab.learn(model, "2-3")
    streams, config = runs[-1]
    data = streams["2-3"].data
    assert list(streams) == ["2-3"] and config.steps == 3
    assert isinstance(data, Prefix) and data.block == "2-3" and len(data) == 4
    column = sum(p.numel() for p in model.trunk.column("2-3").parameters())
    head = sum(p.numel() for p in model.heads["2-3"].parameters())
    assert lab.costs["2-3"]["trained"] == column + head
    assert lab.costs["2-3"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert lab.costs["2-3"]["milliseconds"] > 0
    scratch = lab.network("2-3")
    lab.learn(scratch, "2-3")
    assert not isinstance(runs[-1][0]["2-3"].data, Prefix)


def test_a_method_learns_without_labels_and_its_steps_add_up(course, tmp_path, runs):
    lab = make(course, tmp_path)
    model = lab.network("0-1")
    lab.course.enrol(model, "2-3")
    lab.learn(model, "2-3")
    once = lab.costs["2-3"]["milliseconds"]
    lab.learn(model, "2-3", methods={"compress": Compress()})
    streams, config = runs[-1]
    data = streams["2-3"].data
    assert isinstance(data, Unlabelled) and config.weight_decay == 0
    assert all(not data.labels(i) and not data.example(i).labels for i in range(len(data)))
    assert runs[0][1].weight_decay > 0
    assert lab.costs["2-3"]["milliseconds"] > once


def test_a_task_of_which_nothing_can_be_used_is_named(course, tmp_path):
    lab = make(course, tmp_path)
    model, problem = lab.network("0-1"), course.tasks["0-1"]
    problem.data, make_data = lambda net, items, augment: make_data(net, [], augment), problem.data
    problem.notes = ("left out 3 of 3 (too short)",)
    with pytest.raises(
        ValueError, match=r"task '0-1': no example can be learnt from: left out 3 of 3"
    ):
        lab.learn(model, "0-1")


def test_errors_are_those_of_the_predictions(course, tmp_path):
    lab = make(course, tmp_path)
    model = lab.first()
    found = lab.measure(model, "0-1")
    problem = course.tasks["0-1"]
    data, wrong = problem.data(model, problem.test), 0
    for index, picture in enumerate(problem.test):
        batch = module.collate([data.example(index)])
        best = model.scores("0-1", model("0-1", batch)).x.argmax().item()
        wrong += ["0", "1"][best] != picture.label
    assert found["metric"] == "error" and found["n"] == len(problem.test)
    assert found["value"] == pytest.approx(wrong / found["n"])
    assert sum(row[0] for row in found["counts"]) == wrong


def test_the_hash_of_outputs_feels_the_last_bit(course, tmp_path):
    model = make(course, tmp_path).network("0-1").eval()
    problem = course.tasks["0-1"]
    data = problem.data(model, problem.test)
    before = outputs(model, data, "0-1")
    assert before == outputs(model, data, "0-1")
    bias = model.heads["0-1"].output.bias
    with torch.no_grad():
        bias[0] = torch.nextafter(bias[0], torch.tensor(9.0))
    assert before != outputs(model, data, "0-1")
