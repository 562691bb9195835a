"""What looks see, against gradients and steps taken by hand; and that they leave the training alone."""

import copy
import threading

import pytest
import torch
from test_contract import (
    BOTH,
    DIM,
    DOMAINS,
    WIDTH,
    Linear,
    Reversal,
    Toy,
    Translate,
    build,
    spoken,
    streams,
)
from test_contract import train as train_contract
from torch import nn
from toy import Bad, assert_same_weights
from toy import model as toy_model
from toy import train as train_toy

from mtl.config import Fit
from mtl.device import make_accelerator
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.looks import Looks
from mtl.method import Totals
from mtl.model import Model
from mtl.step import Step
from mtl.stream import Parts, Stream
from mtl.trunks.transformer import Transformer
from mtl.update import Updater

TASKS = ("nl", "cy", "language", "digit")


def seen(model, batches=BOTH, methods=None, index=0, **settings):
    """What one look sees before a step, and the updater that took it."""
    config = Fit(steps=10, warmup=0.0, dry_run=False, diagnose=1, **{"precision": "no"} | settings)
    updater = Updater(Step(model, methods), config, make_accelerator(config), 10)
    given = batches if isinstance(next(iter(batches.values())), Stream) else streams(**batches)
    parts = Parts(given, 0, accumulate=config.accumulate)
    updater.run(index, [parts[0, part] for part in range(config.accumulate)])
    return updater.looks.take(), updater


def losses(model, seed=None):
    """The losses of the first step's whole batch, by task."""
    if seed is not None:
        seed(0)
    part = Parts(streams(**BOTH), 0)[0, 0]
    return Step(model).train()(part.batches, "train", True, Totals(part.examples), 0.0).losses


def encoder(model):
    return [*model.stems.parameters(), *model.trunk.parameters()]


def gradient(model, task, seed=None):
    """A task's gradient of everything but heads, by a plain backward pass."""
    model.zero_grad()
    losses(model, seed)[task].backward()
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in encoder(model)]
    model.zero_grad()
    return found


def by_hand(model, rate, seed=None):
    """(cosines, affinities) from backward passes and from steps of copies of the model."""
    before = losses(model, seed)
    rows = {task: gradient(copy.deepcopy(model), task, seed) for task in TASKS}
    flat = {task: torch.cat([g.flatten() for g in row]) for task, row in rows.items()}
    cosines = {
        f"{a}|{b}": torch.cosine_similarity(flat[a], flat[b], dim=0).item()
        for place, a in enumerate(TASKS)
        for b in TASKS[place + 1 :]
    }
    affinities = {}
    for a in TASKS:
        moved = copy.deepcopy(model)
        for parameter, step in zip(encoder(moved), rows[a], strict=True):
            parameter.data -= rate * step
        after = losses(moved, seed)
        affinities |= {f"{a}>{b}": 1 - (after[b] / before[b]).item() for b in TASKS}
    return cosines, affinities


def close(found, expected, tolerance=2e-6):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=tolerance), name


@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"checkpoint_blocks": True}])
def test_a_look_sees_what_a_hand_finds(settings):
    cosines, affinities = by_hand(build(), 0.5)
    found, _ = seen(build(), lr=0.5, **settings)
    close(found["conflict"], cosines)
    close(found["affinity"], affinities)
    assert len(cosines) == 6 and max(map(abs, cosines.values())) > 0.05
    assert max(map(abs, affinities.values())) > 0.01, "steps that do change losses"


def test_a_look_draws_the_dropout_of_the_step():
    def dropping():
        torch.manual_seed(1)
        return build(Transformer(DIM, depth=2, heads=2, expansion=2, dropout=0.3))

    found, updater = seen(dropping(), lr=0.5)
    cosines, affinities = by_hand(dropping(), 0.5, updater._seed)
    close(found["conflict"], cosines)
    close(found["affinity"], affinities)
    others, _ = by_hand(dropping(), 0.5, lambda _: torch.manual_seed(5))
    assert others["nl|cy"] != pytest.approx(cosines["nl|cy"], abs=1e-3)


def test_a_look_computes_in_32_bit():
    found, _ = seen(build(), lr=1e-3, precision="bf16")
    exact, _ = seen(build(), lr=1e-3)
    assert found == exact


def test_deeper_blocks_take_shorter_steps():
    slow, _ = seen(build(), lr=0.5, lr_decay=0.1)
    fast, _ = seen(build(), lr=0.5)
    close(slow["conflict"], fast["conflict"])
    assert abs(slow["affinity"]["nl>nl"]) < abs(fast["affinity"]["nl>nl"])


def test_looks_are_averaged_since_the_last_time():
    _, updater = seen(build(), lr=0.5)

    def look(index):
        part = Parts(streams(**BOTH), 0)[index, 0]
        groups = updater.optimizer.param_groups
        updater.looks.look([part], 0.0, groups, lambda: torch.manual_seed(3))

    single = []
    for index in (1, 2):
        look(index)
        single.append(updater.looks.take())
    look(1)
    look(2)
    both = updater.looks.take()
    for kind in ("conflict", "affinity"):
        given = {name: [] for found in single for name in found[kind]}
        for found in single:
            for name, value in found[kind].items():
                given[name].append(value)
        assert {len(values) for values in given.values()} == {1, 2}, "a pair is missing once"
        close(both[kind], {name: sum(v) / len(v) for name, v in given.items()}, 1e-9)
    assert single[0] != single[1] and updater.looks.take() == {}


class Counting(Classify):
    """Has a running mean."""

    def build(self, dim):
        super().build(dim)
        self.statistics = nn.BatchNorm1d(len(self.classes))

    def scores(self, f):
        scores = super().scores(f)
        return scores._replace(x=self.statistics(scores.x))


def counting():
    net = toy_model(dropout=0.3)
    net.heads["language"] = Counting(["nl", "cy"])
    torch.manual_seed(0)
    net.heads["language"].build(8)
    return net


@pytest.mark.parametrize("settings", [{}, {"balance": "mgda"}, {"unfreeze": 2}])
def test_looking_changes_nothing_that_is_learnt(settings):
    plain = train_toy(net=counting(), **settings)
    looked = train_toy(net=counting(), diagnose=1, **settings)
    assert_same_weights(plain.model, looked.model)
    assert [e["loss"] for e in looked.history] == [e["loss"] for e in plain.history]
    assert all(
        set(e["conflict"]) == {"nl|cy", "nl|language", "cy|language"} for e in looked.history
    )
    assert not any("conflict" in entry for entry in plain.history)


@pytest.mark.parametrize("kind", [Reversal, Translate])
def test_methods_with_phases_and_inputs_of_their_own_are_looked_at(kind):
    plain, looked = (
        train_contract(build(), DOMAINS, {"m": kind()}, steps=3, diagnose=every) for every in (0, 1)
    )
    assert_same_weights(plain.model, looked.model)
    assert set(looked.history[-1]["affinity"]) == {f"{a}>{b}" for a in TASKS[:3] for b in TASKS[:3]}


def test_looks_come_as_often_as_asked_and_need_not_be_resumed(tmp_path):
    fitted = train_toy(steps=10, log_every=2, diagnose=4, out=tmp_path)
    assert [e["step"] for e in fitted.history if "conflict" in e] == [2, 6, 10]
    again = train_toy(steps=10, log_every=2, diagnose=3, out=tmp_path)  # not another run
    assert again.history == fitted.history


def opposed():
    """Two tasks that share a head, and whose labels are opposite."""
    torch.manual_seed(0)
    trunk = Transformer(DIM, depth=1, heads=2, expansion=2, dropout=0.0)
    tasks = [Task("yes", "speech", Classify(["0", "1"])), Task("no", "speech", "yes")]
    return Model({"speech": Linear(WIDTH, DIM)}, trunk, tasks)


def contrary(index, g):
    x, _ = spoken(index, g)
    x[:, 0] += 2.0 * (index % 2)
    return x, {"yes": torch.tensor(index % 2), "no": torch.tensor(1 - index % 2)}


def test_opposite_labels_conflict():
    model = opposed()
    nn.init.zeros_(model.heads["yes"].output.weight[:, :1])  # unsure of everything, nearly
    found, _ = seen(model, {"speech": Stream(Toy(12, contrary), 12.0)}, lr=0.1)
    assert found["conflict"]["yes|no"] < -0.8
    assert found["affinity"]["yes>no"] < 0 < found["affinity"]["yes>yes"]
    assert found["affinity"]["no>yes"] < 0 < found["affinity"]["no>no"]


def test_what_was_not_seen_is_left_out():
    nothing = [
        seen(opposed_alone(), {"speech": Stream(Toy(12, contrary), 6.0)})[0],
        seen(frozen(), BOTH)[0],
        seen(toy_model(), {"speech": Stream(Bad(nan={f"x{n}" for n in range(12)}), 8.0)})[0],
    ]
    assert nothing == [{}, {}, {}]
    found, _ = seen(build(), streams(**BOTH) | {"speech": Stream(Toy(12, half_dumb), 6.0)})
    assert set(found["conflict"]) == {"nl|language", "nl|digit", "language|digit"}
    assert len(found["affinity"]) == 9 and not any("cy" in name for name in found["affinity"])


def half_dumb(index, g):
    x, labels = spoken(index, g)
    return x, {name: value for name, value in labels.items() if name != "cy"}


def opposed_alone():
    model = opposed()
    del model.tasks["no"]
    return model


def frozen():
    model = build()
    model.stems.requires_grad_(False)
    model.trunk.requires_grad_(False)
    return model


class Together:
    """Two processes, played by threads: `reduce` waits for the other and takes the mean."""

    device, num_processes = torch.device("cpu"), 2

    def __init__(self, rank, table, barrier):
        self.rank, self.table, self.barrier = rank, table, barrier

    def reduce(self, values, how):
        assert how == "mean"
        self.table[self.rank] = values
        self.barrier.wait(20)
        mean = (self.table[0] + self.table[1]) / 2
        self.barrier.wait(20)
        return mean


def test_two_processes_see_what_one_sees():
    table, barrier, found = {}, threading.Barrier(2), {}
    alone = looks(build(), make_accelerator(Fit(precision="no")))
    both = [looks(build(), Together(rank, table, barrier)) for rank in (0, 1)]

    def work(rank):
        found[rank] = look_at(both[rank], Parts(streams(**BOTH), 0, rank, 2)[0, 0])

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    one = look_at(alone, Parts(streams(**BOTH), 0)[0, 0])
    for kind in ("conflict", "affinity"):
        close(found[0][kind], one[kind])


def looks(model, accelerator):
    step = Step(model).train()
    return Looks(step, accelerator, step.phases()[0])


def look_at(looks, part, seed=lambda: None):
    groups = [{"params": list(looks.step.parameters()), "lr": 0.5}]
    looks.look([part], 0.0, groups, seed)
    return looks.take()


def test_a_look_that_fails_leaves_the_weights(monkeypatch):
    model = build()
    before = copy.deepcopy(model.state_dict())
    calls = iter("ab")

    def seed():
        if next(calls) == "b":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        part = Parts(streams(**BOTH), 0)[0, 0]
        look_at(looks(model, make_accelerator(Fit(precision="no"))), part, seed)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
