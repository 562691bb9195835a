"""Images: readers, refusals, choices and augmentation; and that a small network learns from them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtl.config import Fit
from mtl.data.digits import CLASSES, digits, glyphs
from mtl.data.images import (
    Images,
    Picture,
    few,
    from_arrays,
    hold_out,
    only,
    read_folder,
    read_npz,
    read_pixels,
)
from mtl.data.warp import Warp
from mtl.evaluate import evaluate
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.stems.pixels import Pixels
from mtl.stream import Stream, Subset
from mtl.trunks.resnet import ResNet

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 8, 8), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 8, 8, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def make_model(classes="012", channels=1, size=8, widths=(8,)):
    torch.manual_seed(0)
    head = Classify(list(classes))
    stem = Pixels(channels, size, dim=8)
    return Model(
        {"images": stem},
        ResNet(8, widths, residual=False),
        [Task("kind", "images", head, label="label")],
    )


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "made.npz"
    np.savez(path, x_train=GREY, y_train=LABELS, x_test=COLOUR[:2], y_test=LABELS[:2])
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes, in several formats and modes."""
    for name, label in (("a.png", "cat"), ("deep/b.JPG", "cat"), ("c.png", "dog")):
        (tmp_path / label / name).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(COLOUR[0]) if label == "cat" else Image.fromarray(GREY[0])
        picture.save(tmp_path / label / name)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    (tmp_path / ".cache").mkdir()
    return tmp_path


# Readers


def test_an_npz_gives_its_parts(npz):
    train, test = read_npz(npz), read_npz(npz, "test", names=["cat", "dog"])
    assert [picture.label for picture in train] == ["0", "1", "2", "0", "1", "2"]
    assert [picture.label for picture in test] == ["cat", "dog"]
    assert train[1].id == "made.npz:1" and test[1].id == "made.npz:test:1"
    assert np.array_equal(train[4].source, GREY[4])


def test_a_folder_gives_its_classes(folder):
    pictures = read_folder(folder)
    assert [(p.id, p.label) for p in pictures] == [
        ("cat/a.png", "cat"),
        ("cat/deep/b.JPG", "cat"),
        ("dog/c.png", "dog"),
    ]
    assert torch.equal(read_pixels(pictures[0].source), torch.tensor(COLOUR[0]).permute(2, 0, 1))
    assert torch.equal(read_pixels(pictures[2].source), torch.tensor(GREY[0])[None])
    assert [image.shape[0] for image in map(read_pixels, [p.source for p in pictures])] == [3, 3, 1]


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "CMYK", "I;16"])
def test_other_modes_become_bytes(tmp_path, mode):
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    pixels = np.repeat(np.repeat(np.array([[0, 255], [255, 0]], np.uint8), 4, 0), 4, 1)
    if mode == "I;16":
        Image.fromarray(pixels.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(pixels).convert("RGB").convert(mode).save(path)
    read = read_pixels(path)
    assert read.dtype == torch.uint8 and len(read) == (1 if mode in ("1", "I;16") else 3)
    assert all(np.array_equal(channel, pixels) for channel in read.numpy())


def test_a_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    Image.fromarray(GREY[0, :4]).save(tmp_path / "x.png", exif=exif)
    upright = np.rot90(GREY[0, :4], -1)
    assert np.array_equal(read_pixels(tmp_path / "x.png")[0].numpy(), upright)


# Refusals


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (GREY / 255, LABELS, r"m: pixels are float64 \(6, 8, 8\); give uint8"),
        (GREY[0], LABELS, r"m: pixels are uint8 \(8, 8\)"),
        (COLOUR[..., :2], LABELS, r"m: pixels are uint8 \(6, 8, 8, 2\)"),
        (GREY, LABELS[:4], r"m: 6 images, but labels of shape \(4,\)"),
        (GREY, LABELS * 1.0, "m: labels are float64"),
        (GREY, LABELS - 1, "m:0: label -1 is out of range; give 0 to 2"),
        (GREY, LABELS + 1, "m:2: label 3 is out of range; give 0 to 2"),
    ],
)
def test_wrong_arrays_are_named(x, y, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(x, y, "m", ["a", "b", "c"])


def test_a_negative_label_is_refused_without_names():
    with pytest.raises(ValueError, match=r"m:0: label -1 is out of range; give 0, 1, \.\.\."):
        from_arrays(GREY, LABELS - 1, "m")


def test_wrong_npz_files_are_named(tmp_path, npz):
    with pytest.raises(ValueError, match=r"gone\.npz does not exist"):
        read_npz(tmp_path / "gone.npz")
    with pytest.raises(ValueError, match=r"part 'dev' of .* choose one of train, test"):
        read_npz(npz, "dev")
    np.savez(tmp_path / "half.npz", x_train=GREY, y_test=LABELS)
    with pytest.raises(
        ValueError, match=r"half\.npz holds x_train, y_test; .* x_train and y_train"
    ):
        read_npz(tmp_path / "half.npz")
    np.savez(tmp_path / "pickled.npz", x_train=GREY, y_train=np.array([{}] * 6, object))
    with pytest.raises(ValueError, match=r"pickled\.npz is damaged or not an \.npz"):
        read_npz(tmp_path / "pickled.npz")


@pytest.mark.parametrize("content", ["cut", "flipped", "text", "npy", "empty"])
def test_a_damaged_npz_is_named(tmp_path, npz, content):
    path, whole = tmp_path / "bad.npz", bytearray(npz.read_bytes())
    whole[200] ^= 255  # within the pixels of the first array
    cut = {"cut": whole[:400], "flipped": whole, "text": b"x_train", "empty": b""}
    path.write_bytes(cut.get(content, b""))
    if content == "npy":
        with path.open("wb") as file:
            np.save(file, GREY)
    with pytest.raises(ValueError, match=r"bad\.npz is damaged or not an \.npz file"):
        read_npz(path)


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="gone is no folder"):
        read_folder(tmp_path / "gone")
    with pytest.raises(ValueError, match="holds no folders; put the images of each class"):
        read_folder(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match=r"cat holds no image \(\.png"):
        read_folder(tmp_path)


def test_a_broken_file_is_named_when_it_is_loaded(folder):
    whole = (folder / "cat/a.png").read_bytes()
    (folder / "cat/a.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog/c.png").write_text("no image")
    data = Images(read_folder(folder), make_model(["cat", "dog"]))
    for index, name in ((0, "a.png"), (2, "c.png")):
        with pytest.raises(ValueError, match=f"{name}: .*{name} is damaged or not an image"):
            data.example(index)
    (folder / "cat/deep/b.JPG").unlink()
    with pytest.raises(ValueError, match=r"b\.JPG does not exist"):
        data.example(1)
    answers = evaluate(make_model(["cat", "dog"]), {"images": data}).tasks()["kind"]
    assert answers["skipped"] == 3 and answers["accuracy"] == 0


def test_a_class_that_the_head_lacks_is_named():
    data = Images(from_arrays(GREY, LABELS, "m"), make_model("01"))
    with pytest.raises(ValueError, match="m:2: class '2' is not known; this head has: 0, 1"):
        data.example(2)
    assert data.example(2, targets=False).labels == {}


def test_two_heads_must_agree():
    model = make_model("012")
    model.add(Task("other", "images", Classify(["0", "1", "2"]), label="label"))
    data = Images(from_arrays(GREY, LABELS, "m"), model)
    assert data.example(2).labels["label"].item() == 2
    model.add(Task("third", "images", Classify(["2", "1", "0"]), label="label"))
    with pytest.raises(ValueError, match="m:0: two heads encode its label differently"):
        Images(from_arrays(GREY, LABELS, "m"), model).example(0)


# As a data set


def test_images_are_what_a_stream_takes():
    data = Images(from_arrays(GREY, LABELS, "m"), make_model())
    stream = Stream(data, batch=2, by="label", mix="uniform")
    drawn = [draw.example for step in range(3) for draw in stream.draws(step)]
    assert sorted(drawn) == list(range(6)) and len(stream.draws(0)) == 2
    assert Subset(data, [4]).column("label") == ["1"] and data.labels(4) == {"label": "1"}
    assert data.column("speaker") == ["unknown"] * 6 and data.column("id")[5] == "m:5"
    with pytest.raises(ValueError, match="no column 'domain'; they have: label"):
        data.column("domain")


def test_settings_tell_data_sets_apart():
    pictures = from_arrays(GREY, LABELS, "m")
    settings = {
        Images(pictures, make_model(size=size), augment=augment).settings
        for size in (8, 16)
        for augment in (None, Warp(shift=0.1))
    }
    assert len(settings) == 4


def test_choices_depend_on_ids_alone():
    pictures = from_arrays(np.zeros((300, 2, 2), np.uint8), np.arange(300) % 3, "m")
    train, dev = hold_out(pictures, 0.2)
    assert [sum(p.label == c for p in dev) for c in "012"] == [20, 20, 20]
    assert sorted(p.id for p in [*train, *dev]) == sorted(p.id for p in pictures)
    again = hold_out(pictures[::-1], 0.2)[1]
    assert (
        {p.id for p in again}
        == {p.id for p in dev}
        != {p.id for p in hold_out(pictures, 0.2, 1)[1]}
    )
    three, five = few(pictures, 3), few(pictures, 5)
    assert len(three) == 9 and {p.id for p in three} < {p.id for p in five}
    assert {p.id for p in few(pictures, 3, seed=1)} != {p.id for p in three}
    assert {p.label for p in only(pictures, "02")} == {"0", "2"} and len(
        only(pictures, "02")
    ) == 200


def test_impossible_choices_are_named():
    pictures = from_arrays(GREY, LABELS, "m")
    with pytest.raises(ValueError, match=r"no picture of \['7'\]; there are: 0, 1, 2"):
        only(pictures, "07")
    with pytest.raises(ValueError, match="class '0' has 2 pictures, 3 are wanted"):
        few(pictures, 3)
    for choose in (lambda twice: few(twice, 1), hold_out):
        with pytest.raises(ValueError, match="id 'm:0' is that of several pictures: give each its"):
            choose(pictures + pictures[:1])
    with pytest.raises(ValueError, match="share is 1"):
        hold_out(pictures, 1)
    assert hold_out(pictures[:1]) == (pictures[:1], [])


# Augmentation


def test_augmentation_depends_on_seed_id_and_epoch():
    pictures = from_arrays(GREY, LABELS, "m")
    warp = Warp(shift=0.2, degrees=20, scale=0.2, mirror=True)

    def draw(index, epoch, warp=warp, pictures=pictures):
        return Images(pictures, make_model(), augment=warp).example(index, epoch).input

    assert torch.equal(draw(1, 3), draw(1, 3)) and not torch.equal(draw(1, 3), draw(1, 4))
    assert torch.equal(draw(1, 3), draw(4, 3, pictures=pictures[::-1]))
    assert not torch.equal(draw(1, 3), draw(1, 3, Warp(**{**vars(warp), "seed": 1})))
    repeating = Warp(shift=0.2, draws=2)
    assert torch.equal(draw(0, 0, repeating), draw(0, 2, repeating))
    assert not torch.equal(draw(0, 0, repeating), draw(0, 1, repeating))
    plain = Images(pictures, make_model())
    assert torch.equal(draw(0, None), plain.example(0).input)
    assert torch.equal(draw(0, 5, Warp()), plain.example(0).input)


# Without a download


def test_glyphs_are_the_same_every_time():
    made = glyphs(40)
    assert [p.label for p in made] == [*CLASSES, *CLASSES[:6]]
    assert all(p.source.shape == (32, 32) and p.source.dtype == np.uint8 for p in made)
    again, other = glyphs(25), glyphs(25, seed=1)
    assert all(np.array_equal(a.source, b.source) for a, b in zip(made, again, strict=False))
    assert not any(np.array_equal(a.source, b.source) for a, b in zip(made, other, strict=False))
    assert not np.array_equal(made[0].source, made[34].source)
    assert glyphs(3, "AB", size=20)[2].source.shape == (20, 20) and glyphs(0) == []


def test_a_strange_glyph_is_named():
    with pytest.raises(ValueError, match=r"classes 'aO' hold \['O', 'a'\]; choose from 0123"):
        glyphs(2, "aO")


def test_glyphs_can_be_told_apart():
    """The mean image of each class already finds a good part, and not all, of other images."""
    x, y = (np.stack([f(p) for p in glyphs(1000, "0123456789")]) for f in (pixels_of, label_of))
    means = np.stack([x[:500][y[:500] == c].mean(0) for c in "0123456789"])
    nearest = (x[500:] @ means.T - (means**2).sum(1) / 2).argmax(1)
    assert 0.3 < (nearest == y[500:].astype(int)).mean() < 0.9


def pixels_of(picture):
    x = picture.source.astype(np.float64).ravel()
    return (x - x.mean()) / x.std()


def label_of(picture):
    return picture.label


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    made = digits(8)
    assert [p.label for p in made] == [str(label) for label in y]
    for picture, flat in zip(made[:20], x, strict=False):
        assert np.abs(picture.source.ravel() / 255 - flat / 16).max() < 0.003


def test_a_small_network_learns_digits():
    train, test = hold_out(digits(8), 0.2)
    model = make_model("0123456789", widths=(32, 64, 64))
    quick = Fit(steps=60, lr=1e-2, precision="no", threads=1, dry_run=False)
    fit(model, {"images": Stream(Images(train, model), batch=64)}, quick, show=False)
    figures = evaluate(model, {"images": Images(test, model)}, batch=500).tasks()["kind"]
    assert figures["n"] == len(test) > 300 and figures["accuracy"] > 0.9


# On real data


@pytest.mark.skipif("MTL_DATA" not in os.environ, reason="MTL_DATA names no folder of real data")
def test_mnist_is_read():
    pictures = read_npz(Path(os.environ["MTL_DATA"], "mnist.npz"))
    counts = [sum(p.label == label for p in pictures) for label in CLASSES[:10]]
    assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # LeCun's
    data = Images(pictures[:4], make_model(CLASSES[:10], channels=3, size=32))
    example = data.example(0)
    assert example.input.shape == (3, 32, 32)
    assert example.labels["label"].item() == int(pictures[0].label)
    assert isinstance(pictures[0], Picture) and example.id == "mnist.npz:0"
