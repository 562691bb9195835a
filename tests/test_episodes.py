"""Episodes: what they hold, that processes do not share them, and accuracies over them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from talking import Same
from test_contract import Linear

from mtl import Model, Task, extract, fit
from mtl.batch import Example
from mtl.config import Fit
from mtl.data.images import Images, from_arrays
from mtl.episodes import Episodes, Sampler, accuracies
from mtl.heads.prototype import Prototype
from mtl.method import Totals
from mtl.metrics import seed_interval
from mtl.stems.pixels import Pixels
from mtl.step import TRAIN, Step
from mtl.stream import Draw, Parts, Stream, Subset
from mtl.trunks.resnet import ResNet

HOW = {"ways": 3, "shots": 1, "queries": 2}


def pictures(classes=6, each=5, seed=0):
    """Every class is a pattern of its own, in noise."""
    patterns = np.random.default_rng(seed).integers(0, 2, (classes, 8, 8)) * 120
    labels = np.repeat(np.arange(classes), each)
    noise = np.random.default_rng(seed + 1).integers(0, 130, (len(labels), 8, 8))
    return from_arrays((patterns[labels] + noise).astype(np.uint8), labels, "made")


def build():
    torch.manual_seed(0)
    task = Task("label", "images", Prototype(width=8))
    return Model({"images": Pixels(1, 8, 8)}, ResNet(8, [8]), [task])


def episodes(model=None, **more):
    return Episodes(Images(pictures(), model or build()), "label", count=8, **HOW, **more)


def test_an_episode_has_its_classes_and_examples():
    labels = ["abcdef"[n % 6] for n in range(40)]
    sampler = Sampler(labels, 4, 2, 3)
    for number in range(30):
        rows = sampler(0, number)
        assert rows.shape == (4, 5) and len(set(rows.flatten().tolist())) == 20
        names = [{labels[index] for index in row} for row in rows]
        assert all(len(name) == 1 for name in names) and len(set.union(*names)) == 4
    drawn = {tuple(sampler(0, number).flatten().tolist()) for number in range(30)}
    assert len(drawn) == 30 and sampler(0, 3).tolist() != sampler(1, 3).tolist()
    assert sampler(0, 3).tolist() == Sampler(labels, 4, 2, 3)(0, 3).tolist()


def test_examples_say_their_place_in_the_episode():
    data = episodes()
    found = [data.example(index, draw=1) for index in range(9, 18)]  # the second episode
    labels = torch.stack([example.labels["label"] for example in found])
    assert labels[:, 0].tolist() == [9] * 9  # of the second epoch
    assert labels[:, 1].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert labels[:, 2].tolist() == [0, 1, 1] * 3
    rows = data.sampler(0, 9).flatten().tolist()
    assert [example.id for example in found] == [data.data.ids[row] for row in rows]
    assert all(
        torch.equal(e.input, data.data.example(r, targets=False).input)
        for e, r in zip(found, rows, strict=True)
    )
    assert data.example(9, draw=1, targets=False).labels == {}
    assert data.example(9).labels["label"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (3, 1), (2, 2)])
def test_an_episode_stays_in_one_process(world, accumulate):
    data = episodes()
    stream = Stream(data, batch=4 * data.unit)
    assert len(stream) == 2
    for step in range(4):
        whole = Parts({"images": stream}, 0)[step, 0]
        assert whole.examples == {"images": 36}
        numbers, ids = [], []
        for rank in range(world):
            for part in range(accumulate):
                parts = Parts({"images": stream}, 0, rank, world, accumulate)
                found = parts[step, part]
                assert found.examples == {"images": 36}
                kept = found.batches["images"].weights > 0
                rows = found.batches["images"].labels["label"].values[kept]
                assert rows[:, 0].bincount().unique().tolist() in ([0, 9], [9])
                numbers += rows[:, 0].unique().tolist()
                ids += [i for i, k in zip(found.batches["images"].ids, kept, strict=True) if k]
        assert len(numbers) == len(set(numbers)) == 4
        assert sorted(ids) == sorted(whole.batches["images"].ids)


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (3, 2)])
def test_parts_add_up_to_the_whole(world, accumulate):
    model = build()
    stream = Stream(episodes(model), batch=36)
    step, grads = Step(model), []
    for processes, parts in ((1, 1), (world, accumulate)):
        step.zero_grad()
        for rank in range(processes):
            for number in range(parts):
                part = Parts({"images": stream}, 0, rank, processes, parts)[0, number]
                totals = Totals(part.examples, processes, parts)
                out = step(part.batches, TRAIN, True, totals, 0.0)
                torch.stack(list(out.losses.values())).sum().div(processes).backward()
        grads.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for one, many in zip(*grads, strict=True):
        torch.testing.assert_close(one, many, atol=1e-6, rtol=1e-4)


class Sounds:
    """Examples of unequal length, in units of three."""

    unit = 3

    def __init__(self, count):
        self.seconds = np.random.default_rng(0).uniform(1, 9, count)
        self.ids = [str(index) for index in range(count)]

    def __len__(self):
        return len(self.ids)

    def column(self, name):
        return [["de", "nl"][index // 3 % 2] for index in range(len(self))]

    def labels(self, index):
        return {}

    def example(self, index, draw=None, targets=True):
        return Example(torch.ones(1 + index, 2), id=self.ids[index])


def test_units_of_any_length_are_drawn_whole():
    data = Sounds(90)
    stream = Stream(data, 60.0)
    for epoch in range(2):
        drawn = []
        for step in range(epoch * len(stream), (epoch + 1) * len(stream)):
            draws = stream.draws(step)
            assert sum(data.seconds[draw.example] for draw in draws) <= 60 + 27
            drawn += draws
        assert sorted(drawn) == [Draw(index, epoch) for index in range(90)]
        for start in range(0, 90, 3):
            first = drawn[start].example
            assert first % 3 == 0
            assert [d.example for d in drawn[start : start + 3]] == [first, first + 1, first + 2]
    assert 0 < stream.padding_efficiency() < 1 and len(stream.largest()) % 3 == 0
    assert len(stream.first(4).data) == 6 and stream.first(4).unit == 3
    with pytest.raises(ValueError, match="7 examples are no whole units of 3"):
        Stream(Subset(data, range(7)), 60.0)


class Vectors:
    """Classes that differ in 4 of 16 numbers; the others are loud and say nothing."""

    def __init__(self, classes, each, seed):
        rng = np.random.default_rng(seed)
        self.names = [f"c{n}" for n in range(classes) for _ in range(each)]
        own = np.repeat(rng.standard_normal((classes, 4)), each, 0)
        x = [own + 0.3 * rng.standard_normal(own.shape), 3 * rng.standard_normal((len(own), 12))]
        self.x = torch.tensor(np.concatenate(x, 1)).float()
        self.seconds, self.ids = np.ones(len(own)), [f"{seed}:{n}" for n in range(len(own))]

    def __len__(self):
        return len(self.ids)

    def labels(self, index):
        return {"label": self.names[index]}

    def example(self, index, draw=None, targets=True):
        return Example(self.x[index, None], id=self.ids[index])


def test_training_on_episodes_tells_classes_never_seen():
    torch.manual_seed(0)
    task = Task("label", "speech", Prototype(width=8))
    model = Model({"speech": Linear(16, 8)}, Same(8), [task])
    new = Vectors(8, 20, seed=1)

    def score():
        x = extract(model, new, "speech")
        how = {"ways": 5, "shots": 1, "queries": 5, "count": 60}
        return accuracies(model.head("label"), x, new.names, **how)

    before = score()
    data = Episodes(Vectors(20, 10, seed=0), "label", ways=8, shots=1, queries=3, count=20)
    config = Fit(steps=60, lr=2e-2, precision="no", threads=1, log_every=20)
    fit(model, {"speech": Stream(data, data.unit)}, config, show=False)
    after = score()
    assert seed_interval(after).low > seed_interval(before).high + 0.2
    assert np.mean(after) > 0.7


def test_accuracies_are_those_of_nearest_means():
    rng = np.random.default_rng(0)
    labels = [f"c{n % 7}" for n in range(70)]
    x = rng.standard_normal((70, 3)) + 1.5 * rng.standard_normal((7, 3))[np.arange(70) % 7]
    head = Prototype()
    head.build(3)
    found = accuracies(head, x.astype(np.float32), labels, ways=4, shots=2, queries=3, count=25)
    sampler = Sampler(labels, 4, 2, 3)
    for number, accuracy in enumerate(found):
        rows = sampler(0, number)
        means = x[rows[:, :2]].mean(1)
        right = [
            np.linalg.norm(means - x[row], axis=1).argmin() == way
            for way in range(4)
            for row in rows[way, 2:]
        ]
        assert accuracy == pytest.approx(np.mean(right))
    assert 0.3 < np.mean(found) < 1
    with pytest.raises(ValueError, match="70 features, but 69 labels"):
        accuracies(head, x.astype(np.float32), labels[1:], ways=4, shots=2)


def test_what_cannot_be_drawn_is_named():
    model = build()
    few = [*pictures(), replace(pictures()[0], label="rare", id="rare")]
    lost = [*pictures(), replace(pictures()[0], label="", id="lost")]
    for items, how, message in (
        (few, HOW, "class 'rare' has 1 examples, an episode takes 1 and 2"),
        (lost, HOW, "lost has no label 'label'"),
        (pictures(), HOW | {"ways": 7}, "6 classes, but episodes of 7"),
        (pictures(), HOW | {"queries": 0}, "1 shots, 0 queries"),
        (pictures(), HOW | {"count": 0}, "count is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Episodes(Images(items, model), "label", **how)


def test_a_run_resumes_on_the_same_episodes_only():
    assert episodes().settings == episodes().settings != episodes(seed=1).settings
