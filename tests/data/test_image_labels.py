"""Pictures with several labels, some of them missing, some of them maps; and what cannot be used."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from mtl.data.images import Images, Picture, few, from_arrays, hold_out, labelled
from mtl.data.warp import Warp
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.dense import Dense
from mtl.heads.multilabel import MultiLabel
from mtl.heads.regress import Regress
from mtl.model import Model
from mtl.stems.pixels import Pixels
from mtl.stream import Parts, Stream
from mtl.trunks.resnet import ResNet

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (4, 8, 8), np.uint8)
MARKS = [["round"], None, [], ["big", "round"]]
AGES = [3.0, 5.0, None, None]
PARTS = [None, PIXELS[1] > 127, None, (PIXELS[3] > 127).astype(np.uint8)]


def make_model(size=8, streams=None):
    torch.manual_seed(0)
    tasks = [
        Task("kind", "images", Classify(["0", "1"]), label="label"),
        Task("marks", "images", MultiLabel(["round", "big"])),
        Task("age", "images", Regress([4.0], [1.0])),
        Task("parts", "images", Dense(["dark", "light"], size, ignore=255), at="b1"),
    ]
    return Model({"images": Pixels(1, size, dim=4)}, ResNet(4, [8, 8]), tasks, streams)


def pictures(**labels):
    given = {"marks": MARKS, "age": AGES, "parts": PARTS} | labels
    return labelled(from_arrays(PIXELS, [0, 1, 0, 1], "m"), **given)


def test_every_task_finds_its_label():
    data = Images(pictures(), make_model())
    found = [data.example(index).labels for index in range(4)]
    assert [sorted(labels) for labels in found] == [
        ["age", "label", "marks"],
        ["age", "label", "parts"],
        ["label", "marks"],
        ["label", "marks", "parts"],
    ]
    assert found[0]["marks"].tolist() == [1, 0] and found[1]["age"].tolist() == [1]
    assert found[3]["parts"].tolist() == (PIXELS[3] > 127).astype(int).tolist()
    assert data.labels(0) == {"label": "0", "marks": ["round"], "age": 3.0}
    assert data.example(1, targets=False).labels == {} and data.empty == []


def test_missing_labels_are_marked_in_a_batch():
    data = Images(pictures(), make_model())
    batch = Parts({"images": Stream(data, 4)}, seed=0)[0, 0].batches["images"]
    present = {name: labels.present.tolist() for name, labels in batch.labels.items()}
    rows = [int(name[-1]) for name in batch.ids]
    assert present["label"] == [True] * 4
    assert present["age"] == [AGES[row] is not None for row in rows]
    assert present["parts"] == [PARTS[row] is not None for row in rows]
    assert batch.labels["parts"].values.shape == (4, 8, 8)


def test_a_picture_without_a_class_has_other_labels():
    plain = [Picture(f"p{n}", "", x, {"age": 4.0, "marks": None}) for n, x in enumerate(PIXELS)]
    data = Images(plain, make_model(), augment=Warp(shift=0.1))
    assert data.labels(0) == {"age": 4.0} and list(data.example(0, 1).labels) == ["age"]
    assert data.column("label") == [""] * 4
    assert len(few(plain, 2)) == 2 and len(hold_out(plain, 0.5)[1]) == 2


def test_a_column_must_fit():
    with pytest.raises(ValueError, match="'age' has 2 values for 4 pictures; write None"):
        pictures(age=[1.0, 2.0])
    both = labelled(labelled(pictures()[:1], age=[9.0]), more=["x"])[0]
    assert both.known()["age"] == 9.0 and both.known()["more"] == "x"
    assert labelled(pictures()[:1])[0].known().keys() == {"label", "marks", "age"}


# Maps


def test_a_map_is_squared_and_resized_with_its_picture(tmp_path):
    wide = np.zeros((16, 40), np.uint8)
    wide[:, 24:] = 255  # right of the middle, which becomes 4 of 8 columns from the fifth on
    Image.fromarray(wide).save(tmp_path / "p.png")
    Image.fromarray((wide > 0).astype(np.uint8)).save(tmp_path / "m.png")
    for label in (tmp_path / "m.png", partial(np.copy, wide > 0), torch.tensor(wide > 0)):
        data = Images([Picture("p", "0", tmp_path / "p.png", {"parts": label})], make_model())
        example = data.example(0)
        assert torch.equal(example.labels["parts"], (example.input[0] > 0).long())
        assert example.labels["parts"][0].tolist() == [0] * 6 + [1] * 2
        assert np.array_equal(data.labels(0)["parts"], example.labels["parts"])


@pytest.mark.parametrize("augment", [Warp(0.2, mirror=True), v2.RandomHorizontalFlip(0.5)])
def test_a_map_is_augmented_with_its_picture(augment):
    light = [(x > 127).astype(np.uint8) for x in PIXELS]
    data = Images(pictures(parts=light), make_model(), augment=augment)
    plain, drawn = data.example(3), [data.example(3, draw) for draw in range(8)]
    assert len({tuple(each.input.flatten().tolist()) for each in drawn}) > 1
    for each in drawn:
        moved = not torch.equal(each.input, plain.input)
        assert moved == (not torch.equal(each.labels["parts"], plain.labels["parts"]))
    if isinstance(augment, v2.RandomHorizontalFlip):
        for each in drawn:
            assert torch.equal(each.labels["parts"], (each.input[0] > 0).long())
    assert "Warp" in data.settings or "RandomHorizontalFlip(p=0.5)" in data.settings


# What cannot be used


def broken(tmp_path, **labels):
    return [Picture("bad", "", PIXELS[0], labels)]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"label": "7"}, "bad: class '7' is not known; this head has: 0, 1"),
        ({"marks": ["red"]}, "bad: marks: class 'red' is not known; this head has: round, big"),
        ({"age": float("nan")}, "bad: age: label nan is not finite"),
        ({"age": "old"}, "bad: age: label 'old' is no number"),
        ({"parts": np.full((8, 8), 2)}, "bad: parts: a map holds 2, which is no class"),
        ({"parts": np.zeros((9, 8))}, r"bad: parts: the map is \(9, 8\), its picture \(8, 8\)"),
        ({"parts": np.array([["a"]])}, r"bad: a map is <U1 \(1, 1\); give one number"),
    ],
)
def test_a_label_that_cannot_be_used_is_named(labels, message):
    data = Images([Picture("bad", "", PIXELS[0], labels)], make_model())
    with pytest.raises(ValueError, match=message):
        data.example(0)
    assert data.example(0, targets=False).labels == {}


def test_what_cannot_be_used_is_skipped_and_counted(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    bad = [
        Picture("cut", "0", tmp_path / "cut.png"),
        Picture("lost", "0", PIXELS[0], {"parts": tmp_path / "lost.png"}),
        Picture("strange", "7", PIXELS[0]),
    ]
    data = Images([*pictures(), *bad], make_model())
    part = Parts({"images": Stream(data, 7)}, seed=0)[0, 0]
    assert sorted(part.batches["images"].ids) == ["m:0", "m:1", "m:2", "m:3"]
    reasons = dict(part.skipped)
    assert sorted(reasons) == ["cut", "lost", "strange"] and part.examples == {"images": 7}
    assert "cut.png is damaged" in reasons["cut"] and "lost.png does not exist" in reasons["lost"]


def test_a_task_without_any_label_is_refused_for_training():
    data = Images(pictures(age=[None] * 4), make_model())
    assert data.empty == ["age"]
    with pytest.raises(ValueError, match=r"no example has the label 'age', which a task of this"):
        Stream(data, 4)
    bare = [Picture(p.id, "", p.source) for p in pictures()]
    assert Stream(Images(bare, make_model()), 4).data.empty == []  # a stream without labels
    target = Images(pictures(age=[None] * 4), make_model(streams={"more": "images"}), "more")
    assert target.empty == [] and target.example(0).labels == {}


def test_tasks_may_share_a_label():
    model = make_model()
    model.add(Task("again", "images", Regress([4.0], [1.0]), label="age"))
    assert Images(pictures(), model).example(0).labels["age"].tolist() == [-1]
    model.add(Task("other", "images", Regress([0.0], [1.0]), label="age"))
    with pytest.raises(ValueError, match="m:0: two heads encode its age differently; split the"):
        Images(pictures(), model).example(0)
