"""Unseen: arms learn from seen classes alone, and their figures are those of direct computation."""

from dataclasses import replace

import numpy as np
import pytest

from mtl.config import Fit
from mtl.data.images import from_arrays
from mtl.score.generalised import generalised
from mtl.studies import unseen
from mtl.studies.unseen import ARMS, HOG, ONE_HOT, Way, head_of, learn, measure
from mtl.studies.worlds import Split, World

QUICK = Fit(steps=60, lr=5e-3, threads=1, log_every=10, dry_run=False, precision="no")
WAY = Way(size=16, batch=24, gamma=1.0)


def parts():
    """Classes have two of four parts, in noise: red, green, blue, stripes."""
    names, rows = [], []
    for first in range(4):
        for second in range(first):
            names.append(f"{first}{second}")
            rows.append([float(part in (first, second)) for part in range(4)])
    made = []
    for part, each in (("train", 12), ("test", 4)):
        rng = np.random.default_rng(each)
        y = np.repeat(np.arange(len(names)), each)
        x = rng.integers(0, 60, (len(y), 16, 16, 3)).astype(np.uint8)
        x += (np.array(rows)[y][:, None, None, :3] * 120).astype(np.uint8)
        striped = np.array(rows)[y][:, 3] > 0
        x[striped, ::2] //= 4
        made.append(from_arrays(x, y, part, names))
    return World(*made, dict(zip(names, rows, strict=True)))


@pytest.fixture(scope="module")
def world():
    return parts()


SPLIT = Split(["10", "20", "21", "30"], ["31", "32"])


def seen(world):
    return [picture for picture in world.train if picture.label in SPLIT.seen]


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_learns_from_seen_pictures_and_scores_all_classes(arm, world, monkeypatch):
    streams, fit = [], unseen.fit
    monkeypatch.setattr(
        unseen, "fit", lambda m, s, c, **more: streams.append(s) or fit(m, s, c, **more)
    )
    scorer, logged = learn(
        arm, SPLIT, world, WAY, Fit(steps=2, threads=1, log_every=1), seen(world)
    )
    found = scorer(world.test)
    assert found.shape == (24, 6) and np.isfinite(found).all()
    assert len(streams) == (arm != HOG)
    for each in streams:
        assert set(each["images"].data.column("label")) == set(SPLIT.seen)
    assert bool(logged.get("spread")) == arm.endswith("+g")


def test_attributes_tell_unseen_classes_and_one_hot_does_not_know_them(world):
    found = measure("softmax", SPLIT, world, WAY, QUICK)
    assert found["value"] == 1.0 and found["n"] == 8
    blind = measure(ONE_HOT, SPLIT, world, WAY, QUICK)
    assert blind["seen"]["value"] > 0.9 > 0.75 >= blind["value"]


def test_figures_are_those_of_the_scores(world, monkeypatch):
    table = np.random.default_rng(0).normal(size=(24, 6))
    monkeypatch.setattr(unseen, "learn", lambda *given: (lambda tests: table, {"untrained": {}}))
    monkeypatch.setattr(unseen, "_penalty", lambda *given: 0.7)
    found = measure("softmax", SPLIT, world, WAY, QUICK)
    names = [*SPLIT.seen, *SPLIT.unseen]
    labels = np.array([names.index(picture.label) for picture in world.test])
    new = np.arange(6) >= 4
    right = table[labels >= 4][:, 4:].argmax(1) + 4 == labels[labels >= 4]
    assert found["value"] == pytest.approx(right.mean()), "as many of each class"
    for prefix, penalty in (("", 0.0), ("calibrated ", 0.7)):
        for name, value in generalised(table, labels, new, penalty)._asdict().items():
            assert found[prefix + name] == {"value": value, "n": 24}
    assert found["penalty"] == 0.7 and found["untrained"] == {}
    bias = np.array(found["bias"])
    assert bias[0, 1] == 0.0 == bias[-1, 0] and len(bias) <= 40


def test_a_penalty_is_chosen_by_training_pictures_of_seen_classes(world, monkeypatch):
    asked, learn_ = [], unseen.learn

    def noted(arm, split, world, way, config, pictures):
        scorer, logged = learn_(arm, split, world, way, config, pictures)
        return lambda tests: asked.append((split, pictures, tests)) or scorer(tests), logged

    monkeypatch.setattr(unseen, "learn", noted)
    measure(HOG, SPLIT, world, WAY, QUICK)
    *folds, (split, pictures, tests) = asked
    assert split == SPLIT and tests == world.test and len(pictures) == 48 and len(folds) == 12
    for inner, learnt, held in folds:
        assert len(inner.unseen) == 2 and {*inner.seen, *inner.unseen} == set(SPLIT.seen)
        assert {p.label for p in learnt} == set(inner.seen)
        assert {p.label for p in held} == set(SPLIT.seen)
        assert {p.id for p in held} <= {p.id for p in seen(world)}
        assert not {p.id for p in held} & {p.id for p in learnt}


def test_learnt_descriptions_fall_together_by_squared_distances_alone(world):
    ends = {}
    for arm in ("squared+g", "softmax+g"):
        spread = learn(arm, SPLIT, world, WAY, replace(QUICK, lr=2e-2), seen(world))[1]["spread"]
        assert [step for step, _ in spread] == list(range(10, 61, 10))
        ends[arm] = spread[-1][1] / spread[0][1]
    assert ends["squared+g"] < 0.15 < 1 < ends["softmax+g"]


def test_an_unknown_arm_is_named(world):
    with pytest.raises(ValueError, match="'svm' is no way to learn; choose from hinge"):
        head_of("svm", SPLIT, world, WAY)
