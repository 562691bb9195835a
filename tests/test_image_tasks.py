"""One stream of pictures, a head of every kind, labels partly missing: trained, saved and evaluated."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn

from mtl.config import Fit
from mtl.data.digits import digits
from mtl.data.images import Images, Picture, labelled
from mtl.data.warp import Warp
from mtl.evaluate import evaluate
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.dense import Dense
from mtl.heads.multilabel import MultiLabel
from mtl.heads.regress import Regress
from mtl.measures import mean_iou
from mtl.model import Model
from mtl.predict import predict
from mtl.stems.pixels import Pixels
from mtl.stream import Stream
from mtl.trunks.resnet import ResNet

ROUND, EVEN = "0689", "02468"
QUICK = {"precision": "no", "threads": 1, "dry_run": False}


def pictures(count=120, start=0):
    """Digits: which, round or even or both, how much ink in units of its own, and where."""
    chosen = digits(8)[start : start + count]
    marks = [[m for m, s in (("round", ROUND), ("even", EVEN)) if p.label in s] for p in chosen]
    ink = [float(p.source.mean()) for p in chosen]
    where = [(p.source > 100).astype(np.uint8) for p in chosen]
    where = [np.where(np.eye(8) > 0, 255, each) for each in where]  # the diagonal is not labelled
    light = [p.source.astype(np.float32) for p in chosen]
    some = {"marks": marks, "ink": ink, "where": where, "light": light}
    for place, column in enumerate(some.values(), 1):
        column[:] = [None if n % 5 == place else each for n, each in enumerate(column)]
    known = [Picture(p.id, p.label if n % 5 else "", p.source) for n, p in enumerate(chosen)]
    return labelled(known, **some)


def make_model():
    torch.manual_seed(0)
    ink = [picture.labels["ink"] for picture in pictures() if picture.labels["ink"] is not None]
    tasks = [
        Task("kind", "images", Classify(list("0123456789")), label="label"),
        Task("marks", "images", MultiLabel(["round", "even"])),
        Task("ink", "images", Regress.of(ink, delta=1.0)),
        Task("where", "images", Dense(["ground", "ink"], 8, ignore=255), at="b1"),
        Task("light", "images", Dense([], 8, mean=80.0, std=90.0, detail=2), at="b1"),
    ]
    return Model({"images": Pixels(1, 8, dim=8)}, ResNet(8, [16, 32, 32], strides=[1, 2, 2]), tasks)


def train(model, steps, augment=None):
    stream = Stream(Images(pictures(), model, augment=augment), batch=40)
    return fit(model, {"images": stream}, Fit(steps=steps, lr=1e-2, **QUICK), show=False)


@pytest.fixture(scope="module")
def trained():
    model = make_model()
    train(model, 60)
    return model


def test_every_head_learns_from_its_own_examples():
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fitted = train(model, 3, Warp(shift=0.1))
    assert not fitted.skipped and set(fitted.history[-1]["loss"]) == set(model.tasks)
    assert all(math.isfinite(loss) for loss in fitted.history[-1]["loss"].values())
    changed = {n for n, value in model.state_dict().items() if not value.equal(before[n])}
    for part in ("stems.images", "trunk.b", *(f"heads.{name}" for name in model.tasks)):
        assert any(name.startswith(part.replace("trunk.b", "trunk.blocks")) for name in changed)


def test_a_trained_model_knows_more_than_a_guess(trained):
    data = Images(pictures(100, 400), trained)
    result = evaluate(trained, {"images": data})
    figures = result.tasks()
    assert [figures[name]["n"] for name in trained.tasks] == [80] * 5
    assert figures["kind"]["accuracy"] > 0.5 and figures["marks"]["f1"] > 0.75
    assert figures["where"]["iou"] > 0.7 < figures["where"]["pixel_accuracy"]
    assert figures["ink"]["mae"] < 8 and figures["light"]["mae"] < 40
    rows = result.of("where")
    pooled = mean_iou([r.reference for r in rows], [r.prediction for r in rows])
    known = np.concatenate([r.reference for r in rows]) >= 0
    flat = [
        np.concatenate([getattr(r, x) for r in rows])[known] for x in ("reference", "prediction")
    ]
    assert pooled == pytest.approx(sklearn.jaccard_score(*flat, average="macro"))
    assert known.mean() == 7 / 8


def test_the_score_compares_units_with_the_spread_of_the_labels(trained):
    result = evaluate(trained, {"images": Images(pictures(30, 400), trained)})
    figures = result.tasks()
    relative = []
    for name in ("ink", "light"):
        values = np.concatenate([np.ravel(row.reference) for row in result.of(name)])
        always = np.full_like(values, values.mean())
        relative.append(figures[name]["mae"] / sklearn.mean_absolute_error(values, always))
    parts = [
        1 - figures["kind"]["accuracy"],
        1 - figures["marks"]["f1"],
        1 - figures["where"]["iou"],
    ]
    assert result.score() == pytest.approx(np.mean(parts + relative))


def test_a_saved_model_predicts_the_same(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    data = [Images(pictures(12, 400), model) for model in (trained, loaded)]
    one, two = (predict(m, d, "images") for m, d in zip((trained, loaded), data, strict=True))
    for a, b in zip(one, two, strict=True):
        assert list(a.predictions) == list(b.predictions) and len(a.predictions) == 5
        for name, said in a.predictions.items():
            assert np.array_equal(said.value, b.predictions[name].value), name
            assert np.array_equal(said.confidence, b.predictions[name].confidence, equal_nan=True)
    assert one[0].predictions["where"].value.shape == (8, 8)
    assert [row.counts for row in evaluate(loaded, {"images": data[1]}).rows] == [
        row.counts for row in evaluate(trained, {"images": data[0]}).rows
    ]


def test_a_picture_that_cannot_be_read_is_wrong_in_every_task(trained):
    good = pictures(10, 400)[7:]
    bad = [Picture(f"bad{n}", p.label, b"no image", p.labels) for n, p in enumerate(good)]
    figures = evaluate(trained, {"images": Images(bad, trained)}).tasks()
    assert all(found["skipped"] == found["n"] for found in figures.values())
    assert figures["kind"]["accuracy"] == figures["marks"]["f1"] == figures["where"]["iou"] == 0
    mean = trained.head("ink").mean[0]
    expected = np.mean([abs(p.labels["ink"] - mean) for p in good if p.labels["ink"] is not None])
    assert figures["ink"]["mae"] == pytest.approx(expected)


def test_nothing_is_evaluated_of_a_task_without_labels(trained):
    bare = [Picture(p.id, p.label or "1", p.source) for p in pictures(6)]
    result = evaluate(trained, {"images": Images(bare, trained)})
    with pytest.raises(ValueError, match="nothing was evaluated of task 'ink'; there is: kind"):
        result.of("ink")


UNUSED = {  # a label, what its task's row then names, and whether the figure counts it
    "kind": ("77", "class '77' is not known; this head has: 0, 1", 1),
    "marks": (["red"], "class 'red' is not known; this head has: round, even", 1),
    "ink": ("x", "label 'x' is no number", 0),
    "where": (np.full((8, 8), 9, np.uint8), "a map holds 9, which is no class", 0),
    "light": (np.full((8, 8), np.nan, np.float32), "no pixel of the map is labelled", 0),
}
UNREAD = {
    "marks": (3, "label 3 is no list of classes"),
    "ink": (math.nan, "label nan is not finite"),
    "where": (np.zeros((4, 6), np.uint8), r"the map is (4, 6), its picture (8, 8)"),
    "light": (Path("nowhere.npy"), "nowhere.npy does not exist"),
}


def labelled_so(task, value):
    """Pictures with all labels, the first of which has `value` for a task."""
    found = [p for p in pictures() if len(p.known()) == 5 or p.label][:6]
    labels = found[0].labels | ({} if task == "kind" else {task: value})
    first = value if task == "kind" else found[0].label
    return [Picture("odd", first, found[0].source, labels), *found[1:]]


@pytest.mark.parametrize("task", UNUSED)
def test_a_label_that_no_prediction_can_equal_is_counted_and_named(task, trained):
    value, message, counted = UNUSED[task]
    result = evaluate(trained, {"images": Images(labelled_so(task, value), trained)})
    (row,) = [row for row in result.of(task) if row.problem]
    assert row.id == "odd" and message in row.problem
    assert result.tasks()[task]["skipped"] == 1
    assert all(bool(pair[1]) == bool(counted) and not pair[0] for pair in row.counts.values())
    others = {name for name, own in result.tasks().items() if "skipped" in own}
    assert others == {task} and math.isfinite(result.score())


@pytest.mark.parametrize("task", UNREAD)
def test_a_label_that_cannot_be_read_is_skipped_by_name_also_while_training(task, tmp_path):
    value, message = UNREAD[task]
    model, given = make_model(), labelled_so(task, value)
    stream = Stream(Images(pictures(40), model), batch=40)
    settings = Fit(steps=2, eval_every=1, **QUICK)
    dev = {"images": Images(given, model)}
    fit(model, {"images": stream}, settings, dev=dev, out=tmp_path, show=False)
    result = evaluate(model, dev)
    (row,) = [row for row in result.of(task) if row.problem]
    assert row.reference is None and message in row.problem
    good = evaluate(model, {"images": Images(given[1:], model)}).tasks()
    for metric in row.counts:
        assert result.tasks()[task][metric] == pytest.approx(good[task][metric])
    with pytest.raises(ValueError, match=re.escape(message)):
        Images(given, model).example(0)


def test_a_task_whose_labels_all_cannot_be_read_has_no_figure(trained):
    odd = [Picture(f"p{n}", "3", p.source, {"ink": "x"}) for n, p in enumerate(pictures(4))]
    result = evaluate(trained, {"images": Images(odd, trained)})
    assert math.isnan(result.tasks()["ink"]["mae"]) and result.tasks()["ink"]["skipped"] == 4
    assert result.score() == 1 - result.tasks()["kind"]["accuracy"]


def test_a_picture_that_cannot_be_read_counts_as_an_error_of_its_map(trained, tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    lost = Picture("cut", "", tmp_path / "cut.png", {"where": np.zeros((8, 8), np.uint8)})
    result = evaluate(trained, {"images": Images([lost], trained)})
    assert "cut.png is damaged" in result.of("where")[0].problem
    assert result.of("where")[0].counts["pixel_accuracy"] == (0.0, 64.0)
