"""Galleries: what is drawn from them, cut out of them and read, and that a network learns several."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from mtl.batch import collate
from mtl.config import Fit
from mtl.data.images import Images
from mtl.data.pictures import from_arrays
from mtl.data.pixels import read_pixels
from mtl.evaluate import evaluate
from mtl.gallery import SIDE, Gallery, embedded, learn, network, read_galleries, split

RNG = np.random.default_rng(0)


def made(name, classes=2, each=6, channels=1):
    """Classes "0", "1", ... from dark to bright."""
    y = np.arange(classes * each) % classes
    shape = (len(y), 8, 8, 3) if channels == 3 else (len(y), 8, 8)
    shade = (200 * y // max(classes - 1, 1)).reshape(-1, *[1] * (len(shape) - 1))
    x = RNG.integers(0, 20, shape) + shade
    return from_arrays(x.astype(np.uint8), y, name)


def ids(pictures):
    return [picture.id for picture in pictures]


def write_folder(path, classes, count=2):
    for name in classes:
        (path / name).mkdir(parents=True)
        for index in range(count):
            pixels = RNG.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(path / name / f"{index}.png")
    return path


def write_npz(path, classes=2, each=3):
    train, test = (made("x", classes, count) for count in (each, 1))
    arrays = {}
    for part, pictures in (("train", train), ("test", test)):
        arrays[f"x_{part}"] = np.stack([p.source for p in pictures])
        arrays[f"y_{part}"] = np.array([int(p.label) for p in pictures])
    np.savez(path, **arrays)
    return path


# Drawing


def test_a_draw_takes_so_many_of_each_class_and_tests_on_the_rest():
    gallery = Gallery("a", made("a"))
    train, test = gallery.draw(2, seed=0, most=99)
    assert Counter(p.label for p in train) == {"0": 2, "1": 2} and len(test) == 8
    assert set(ids(train)) | set(ids(test)) == set(ids(gallery.train))
    assert gallery.draw(2, 0, 99) == (train, test), "the same once more"
    others = [ids(gallery.draw(2, seed, 99)[0]) for seed in range(1, 6)]
    assert any(other != ids(train) for other in others)
    few = gallery.draw(2, 0, 3)[1]
    assert ids(few) == ids(test)[:3]
    assert ids(few) != [p.id for p in gallery.train if p.id in set(ids(few))], "they are mixed"


def test_tests_that_are_given_are_the_same_for_all_draws():
    gallery = Gallery("a", made("a"), made("test", each=10))
    draws = [gallery.draw(count, seed, 7) for count, seed in ((0, 0), (2, 0), (2, 1))]
    assert len(draws[0][0]) == 12
    first, second, third = (ids(test) for _, test in draws)
    assert first == second == third and len(first) == 7
    assert {name.partition(":")[0] for name in first} == {"test"}


def test_a_draw_that_leaves_nothing_is_refused():
    with pytest.raises(
        ValueError, match="a: all pictures are learnt from, none is left to test on"
    ):
        Gallery("a", made("a")).draw(0, 0, 9)
    with pytest.raises(ValueError, match="class '0' has 6 pictures, 7 are wanted"):
        Gallery("a", made("a")).draw(7, 0, 9)


# Cutting


def test_split_gives_tasks_of_so_many_classes_of_their_own():
    galleries = [Gallery("a", made("a", 5), made("t", 5, 2)), Gallery("b", made("b", 2))]
    parts = split(galleries, 2)
    assert [part.name for part in parts] == ["a-0", "a-1", "b-0"]
    classes = [{p.label for p in part.train} for part in parts]
    assert [len(found) for found in classes] == [2, 2, 2] and not classes[0] & classes[1]
    for part, found in zip(parts, classes, strict=True):
        assert len(part.train) == 12
        assert {p.label for p in part.test} == (found if part.name != "b-0" else set())
    assert [p.train for p in split(galleries, 2)] == [p.train for p in parts]
    with pytest.raises(ValueError, match="no data set has 6 classes to make a task of"):
        split(galleries, 6)


@pytest.mark.parametrize("channels", [1, 3])
def test_turned_pictures_are_classes_of_their_own(channels):
    gallery = Gallery("a", made("a", 2, 1, channels))
    (whole,) = split([gallery], 8, turns=True)
    assert {p.label for p in whole.train} == {f"{c}@{d}" for c in "01" for d in (0, 90, 180, 270)}
    assert len(set(ids(whole.train))) == len(whole.train) == 8
    for picture in whole.train:
        name, degrees = picture.id.split("@")
        source = next(p.source for p in gallery.train if p.id == name)
        expected = np.rot90(source, int(degrees) // 90)  # rows and columns, colours stay
        got = read_pixels(picture.source).numpy()
        assert np.array_equal(got[0] if channels == 1 else got.transpose(1, 2, 0), expected)


# Reading


def test_files_and_folders_are_tasks_named_as_they_are(tmp_path):
    folder = write_folder(tmp_path / "animals", ["cat", "dog"])
    deep = write_folder(tmp_path / "signs", ["greek/alpha", "greek/beta", "latin/a"])
    more = write_folder(tmp_path / "test" / "animals", ["cat"], 1)
    paths = [write_npz(tmp_path / "digits.npz"), folder, deep]
    digits, animals, signs = read_galleries(paths, [more], ["signs"])
    assert [g.name for g in (digits, animals, signs)] == ["digits", "animals", "signs"]
    assert (len(digits.train), len(digits.test)) == (6, 2)
    assert ids(animals.train) == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
    assert [(p.label, p.source.parent.parent.parent.name) for p in animals.test] == [
        ("cat", "test")
    ]
    assert {p.label for p in signs.train} == {"greek/alpha", "greek/beta", "latin/a"}
    assert ids(signs.train)[0] == "greek/alpha/0.png" and signs.test == []
    shallow = read_galleries([deep])[0]
    assert {p.label for p in shallow.train} == {"greek", "latin"}


def test_tests_of_an_npz_file_may_come_from_another(tmp_path):
    (tmp_path / "more").mkdir()
    own, other = write_npz(tmp_path / "d.npz"), write_npz(tmp_path / "more" / "d.npz", classes=3)
    (gallery,) = read_galleries([own], [other])
    assert {p.label for p in gallery.train} == {"0", "1"}
    assert [p.label for p in gallery.test] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("data", "test", "deep", "message"),
    [
        (["a/x", "b/x.npz"], [], [], "two data sets are named 'x': rename one"),
        (["a/x"], ["y"], [], "'y' names none of the tasks: x"),
        (["a/x"], [], ["z"], "'z' names none of the tasks: x"),
        ([], ["y"], [], "'y' names none of the tasks: no data"),
        (["a/x"], [], ["x"], "holds no folders"),
        (["gone"], [], [], "gone is no folder"),
        (["gone.npz"], [], [], r"gone\.npz does not exist"),
    ],
)
def test_wrong_files_are_named(data, test, deep, message, tmp_path):
    write_folder(tmp_path / "a" / "x", ["cat"])
    with pytest.raises(ValueError, match=message):
        read_galleries([tmp_path / p for p in data], [tmp_path / p for p in test], deep)


def test_nothing_has_to_be_given():
    written, drawn, capitals = embedded(small=True)
    assert [len({p.label for p in g.train}) for g in (written, drawn, capitals)] == [10, 10, 24]
    assert not set(ids(written.train)) & set(ids(written.test))
    assert {p.label for p in drawn.train} == {p.label for p in written.train}
    assert not {p.label for p in capitals.train} & {p.label for p in drawn.train}
    assert [len(g.test) for g in (written, drawn, capitals)] == [40, 40, 40]
    same = [
        np.array_equal(a.source, b.source) for a, b in zip(drawn.train, drawn.test, strict=False)
    ]
    assert not any(same), "other drawings test"


# Learning


def test_a_network_has_one_stem_and_a_head_for_each():
    galleries = [Gallery("grey", made("g", 2)), Gallery("coloured", made("c", 3, channels=3))]
    torch.manual_seed(0)
    model = network(galleries, 4)
    assert list(model.stems) == ["images"] and list(model.heads) == ["grey", "coloured"]
    assert model.head("coloured").classes == ["0", "1", "2"]
    assert (model.trunk.dim, len(model.trunk.blocks)) == (16, 3)
    inputs = [Images(g.train[:2], model, g.name).example(0).input for g in galleries]
    assert [tuple(x.shape) for x in inputs] == [(3, SIDE, SIDE)] * 2
    assert torch.equal(inputs[0][0], inputs[0][1]), "grey in all colours"
    assert network(galleries[:1], 4).stems["images"].channels == 1
    batch = collate([Images(galleries[0].train[:2], model, "grey").example(0)])
    assert model.scores("grey", model("grey", batch)).x.shape == (1, 2)


def test_all_tasks_are_learnt_at_once():
    """One task is bright or dark, the other left or right; both from pictures of their own."""
    y = np.arange(12) % 2
    x = np.zeros((12, 8, 8), np.uint8)
    x[y == 0, :, :4] = x[y == 1, :, 4:] = 200
    sides = from_arrays(x, ["left" if label == 0 else "right" for label in y], "s")
    galleries = [Gallery("shade", made("shade")), Gallery("side", sides)]
    torch.manual_seed(0)
    model = network(galleries, 4)
    drawn = {g.name: g.train for g in galleries}
    config = Fit(steps=30, lr=1e-2, precision="no", dry_run=False, log_every=10)
    fitted = learn(model, drawn, config, batch=12)
    first, *_, last = (entry["loss"] for entry in fitted.history)
    assert all(last[name] < 0.3 * first[name] for name in ("shade", "side"))
    tested = evaluate(model, {g.name: Images(g.train, model, g.name) for g in galleries}).tasks()
    assert {name: found["accuracy"] for name, found in tested.items()} == {
        "shade": 1.0,
        "side": 1.0,
    }


def test_a_first_picture_that_is_grey_or_damaged_decides_nothing(tmp_path):
    folder = write_folder(tmp_path / "mixed", "ab")
    (folder / "a" / "0.png").write_text("no picture")
    colours = RNG.integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(colours).save(folder / "b" / "1.png")
    (gallery,) = read_galleries([folder])
    assert network([gallery], 4).stem("mixed").channels == 3


@pytest.mark.parametrize(("part", "use"), [("train", "learn from"), ("test", "test on")])
def test_an_empty_part_is_named(part, use, tmp_path):
    path = write_npz(tmp_path / "some.npz")
    with np.load(path) as arrays:
        held = dict(arrays)
    held |= {f"x_{part}": held[f"x_{part}"][:0], f"y_{part}": held[f"y_{part}"][:0]}
    np.savez(path, **held)
    with pytest.raises(ValueError, match=f"some: its .npz file holds no picture to {use}"):
        read_galleries([path])
