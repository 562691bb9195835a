"""Arms: what each trains, what it leaves as it was, and what it may see of earlier tasks."""

import pytest
import torch

from mtl.batch import collate
from mtl.config import Fit
from mtl.data.digits import digits
from mtl.gallery import Gallery
from mtl.studies import arms, lab
from mtl.studies.arms import ARMS, column_bytes, look_up, run
from mtl.studies.lab import Lab
from mtl.studies.memory import item_bytes
from mtl.studies.sequence import pairs

TASKS = ["0-1", "2-3", "4-5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where first networks wait, for all tests."""
    return tmp_path_factory.mktemp("networks")


@pytest.fixture
def made(folder):
    pictures = [picture for picture in digits(8) if picture.label in "012345"]
    course = pairs(Gallery("digits", pictures[:200], pictures[200:230]), count=2)
    settings = Fit(steps=2, lr=1e-2, precision="no", threads=1, dry_run=False)
    return Lab(course, settings, folder, first_steps=2, strength=1.0)


@pytest.fixture
def trained(monkeypatch):
    """The streams, methods and names of the trained weights of each run."""
    seen, fit = [], lab.fit

    def noted(model, streams, config, methods=None, **more):
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        seen.append((streams, methods or {}, names))
        return fit(model, streams, config, methods=methods, **more)

    monkeypatch.setattr(lab, "fit", noted)
    return seen


def scores(made, model, task):
    problem = made.course.tasks[task]
    data = problem.data(model, problem.test, stream=task)
    batch = collate([data.example(index) for index in range(len(data))])
    at = model.tasks[task].at
    with torch.no_grad():
        features = model.eval()(task, batch, () if at is None else (at,))
        return model.scores(task, features).x


def walk(made, arm):
    """Each step of an arm: the task, the scores of all tasks so far."""
    kept = []
    for task, model in look_up(arm)(made):
        known = [name for name in TASKS[: TASKS.index(task) + 1] if name in model.tasks]
        kept.append({name: scores(made, model, name).clone() for name in known})
    return kept


@pytest.mark.parametrize("arm", ["progressive", "begun", "head"])
def test_earlier_tasks_stay_to_the_bit(made, arm):
    first, second, third = walk(made, arm)
    assert list(third) == TASKS
    assert first["0-1"].equal(second["0-1"]) and first["0-1"].equal(third["0-1"])
    assert second["2-3"].equal(third["2-3"])


@pytest.mark.parametrize("arm", ["tuned", "replay", "compress"])
def test_one_network_changes_what_earlier_tasks_say(made, arm):
    first, second, third = walk(made, arm)
    assert list(third) == TASKS
    assert not first["0-1"].equal(second["0-1"]) and not second["2-3"].equal(third["2-3"])


def test_what_each_arm_trains(made, trained):
    parts = {
        "scratch": {"stems", "trunk", "heads.4-5"},
        "head": {"heads.4-5"},
        "random": {"trunk.blocks.4-5", "heads.4-5"},
        "progressive": {"trunk.blocks.4-5", "heads.4-5"},
    }
    for arm, expected in parts.items():
        trained.clear()
        run(arm, made)
        names = trained[-1][2]
        for part in expected:
            assert any(name.startswith(f"{part}.") for name in names), (arm, part)
        assert all(name.startswith(tuple(f"{part}." for part in expected)) for name in names), arm
        assert list(trained[-1][0]) == ["4-5"]


def test_random_columns_stand_beside_an_untrained_network_only(made):
    (_, _), (_, model) = look_up("random")(made)
    start = made.network("0-1")
    for name, value in start.trunk.state_dict().items():
        assert model.trunk.trunk("0-1").state_dict()[name].equal(value)
    assert model.trunk.column("4-5").sources == ["0-1"]
    *_, (_, model) = look_up("progressive")(made)
    assert model.trunk.column("4-5").sources == ["0-1", "2-3"]


def test_columns_may_begin_with_the_weights_of_the_first(made, monkeypatch):
    monkeypatch.setattr(made, "learn", lambda *_: None)
    for arm, equal in (("begun", True), ("progressive", False)):
        *_, (_, model) = look_up(arm)(made)
        first = model.trunk.trunk("0-1").blocks.b1.convolution.weight
        for task in TASKS[1:]:
            assert model.trunk.trunk(task).blocks.b1.convolution.weight.equal(first) == equal


def test_harm_is_done_to_the_second_task_alone(made):
    ((task, model),) = look_up("harmful")(made)
    assert task == "2-3" and list(model.trunk.blocks) == ["0-1", "2-3"]
    wrong = made.first(harmful=True).trunk.state_dict()
    for name, value in wrong.items():
        assert model.trunk.trunk("0-1").state_dict()[name].equal(value)


def test_replay_stores_as_many_bytes_as_columns_take(made, trained, monkeypatch):
    monkeypatch.setattr(arms, "column_bytes", lambda lab: 5 * 64 + 63)
    made.course.tasks["2-3"].notes = ("left out one (too short)",)
    _, figures = run("replay", made)
    assert "left out one (too short)" in figures["notes"]  # kept with the cell, for runs that go on
    streams = trained[-1][0]
    assert list(streams) == ["4-5", "0-1", "2-3"]
    ids = {name: set(stream.data.ids) for name, stream in streams.items()}
    assert len(ids["0-1"]) == 5 and ids["0-1"] <= {p.id for p in made.items("0-1")}
    assert ids["2-3"] == {p.id for p in made.items("2-3")}
    assert [streams[name].batch for name in streams] == [32.0, 16.0, 16.0]
    assert "5 of 68 of 0-1, 4 of 4 of 2-3" in figures["notes"][0]
    assert item_bytes(made.items("0-1")[0]) == 64


def test_a_columns_bytes_are_those_of_its_weights_and_laterals(made):
    model = made.first()
    made.grow(model, "2-3")
    state = model.trunk.blocks["2-3"].state_dict()
    assert column_bytes(made) == 4 * sum(value.numel() for value in state.values())
    assert any("laterals" in name for name in state)


def test_compress_learns_a_column_and_then_the_network_from_it(made, trained, monkeypatch):
    seen, consolidate = [], arms.consolidate

    def noted(old, new):
        seen.append((set(old), consolidate(old, new)))
        return seen[-1][1]

    monkeypatch.setattr(arms, "consolidate", noted)
    _, figures = run("compress", made)
    assert figures["one"] and [list(streams) for streams, *_ in trained][-4:] == [
        ["2-3"],
        ["2-3"],
        ["4-5"],
        ["4-5"],
    ]
    column, network = trained[-2:]
    assert not column[1] and all("4-5" in name for name in column[2])
    method = network[1]["compress"]
    assert list(method.teacher.trunk.blocks) == ["0-1", "4-5"] and method.strength == 1.0
    assert not network[0]["4-5"].data.labels(0)
    assert seen[0][0] == set() and seen[1][0] == set(seen[0][1])
    total = sum(value.double().sum() for value in seen[1][1].values())
    count = sum(value.numel() for value in seen[1][1].values())
    assert float(total / count) == pytest.approx(2.0, rel=1e-3), "two tasks, each of mean 1"


def test_figures_tell_errors_when_learnt_and_in_the_end(made):
    model, figures = run("tuned", made)
    assert list(figures["tasks"]) == TASKS == figures["order"] and figures["one"]
    for task, found in figures["tasks"].items():
        assert found["end"]["value"] == made.measure(model, task)["value"]
    assert figures["tasks"]["4-5"]["after"] == figures["tasks"]["4-5"]["end"]
    assert "trained" not in figures["tasks"]["0-1"] and "trained" in figures["tasks"]["2-3"]
    assert not run("scratch", made)[1]["one"]


def test_unknown_arms_are_named():
    with pytest.raises(ValueError, match="arm 'x' is not known; choose from scratch, head, tuned"):
        look_up("x")
    assert set(ARMS) == {line.split()[0] for line in arms.__doc__.splitlines()[2:] if line.strip()}
