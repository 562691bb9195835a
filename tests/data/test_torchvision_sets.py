"""The data sets of torchvision by name, from tiny copies in the layouts that it reads."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from mtl.data.pixels import read_map, read_pixels
from mtl.data.torchvision import read_torchvision

RNG = np.random.default_rng(0)
DIGITS = RNG.integers(0, 256, (5, 28, 28), np.uint8)


@pytest.fixture
def mnist(tmp_path):
    """Files of the IDX format, five pictures to train on and two to test."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 5), ("t10k", 2)):
        images, labels = DIGITS[:count], np.arange(7, 7 + count, dtype=np.uint8) % 10
        shape = b"".join(size.to_bytes(4, "big") for size in images.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + shape + images.tobytes())
        size = count.to_bytes(4, "big")
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + size + labels.tobytes())
    return tmp_path


@pytest.fixture
def voc(tmp_path):
    """A picture with a palette map of its pixels."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("a\n")
    Image.new("RGB", (6, 4), "red").save(root / "JPEGImages/a.jpg")
    parts = Image.fromarray(np.array([[0, 20, 255, 0, 0, 1]] * 4, np.uint8), "P")
    parts.putpalette(range(256))
    parts.save(root / "SegmentationClass/a.png")
    return tmp_path


def test_pictures_and_classes_come_by_name(mnist):
    train, test = read_torchvision("MNIST", mnist), read_torchvision("MNIST", mnist, "test")
    assert [p.label for p in train] == ["7", "8", "9", "0", "1"]
    assert [p.id for p in test] == ["MNIST:test:0", "MNIST:test:1"]
    for picture, pixels in zip(train, DIGITS, strict=True):
        assert np.array_equal(read_pixels(picture.source)[0], pixels)
    worker = pickle.loads(pickle.dumps(train[2]))
    assert torch.equal(read_pixels(worker.source), read_pixels(train[2].source))


def test_the_label_and_the_names_can_be_chosen(mnist):
    named = read_torchvision("MNIST", mnist, label="digit", names=list("abcdefghij"))
    assert [p.known() for p in named[:2]] == [{"digit": "h"}, {"digit": "i"}]
    with pytest.raises(ValueError, match="MNIST:train:0: label 7 is out of range; give 0 to 1"):
        read_torchvision("MNIST", mnist, names=["a", "b"])
    assert read_torchvision("MNIST", mnist, names=())[0].label == "7"


def test_a_set_without_parts_has_its_own_classes(tmp_path):
    for name in ("River", "Sea"):
        (tmp_path / "eurosat" / "2750" / name).mkdir(parents=True)
        Image.new("RGB", (3, 3)).save(tmp_path / "eurosat" / "2750" / name / "x.jpg")
    assert [p.label for p in read_torchvision("EuroSAT", tmp_path, "all")] == ["River", "Sea"]
    with pytest.raises(ValueError, match="EuroSAT has no part 'train'; it has: all"):
        read_torchvision("EuroSAT", tmp_path)


def test_made_up_pictures_lie_nowhere(tmp_path):
    found = read_torchvision("FakeData", tmp_path, "all", size=3, image_size=(3, 8, 8))
    assert [p.id for p in found] == [f"FakeData:all:{n}" for n in range(3)]
    assert read_pixels(found[0].source).shape == (3, 8, 8) and found[0].label.isdecimal()


def test_maps_are_labels_too(voc):
    (picture,) = read_torchvision("VOCSegmentation", voc, "val", label="parts")
    assert picture.label == "" and read_pixels(picture.source).shape == (3, 4, 6)
    assert read_map(picture.known()["parts"])[3].tolist() == [0, 20, 255, 0, 0, 1]


def test_minus_one_is_no_label(tmp_path, monkeypatch):
    from torchvision.datasets import EuroSAT, VisionDataset

    class Some(VisionDataset):
        def __init__(self, root, targets=(2, -1)):
            self.given = targets

        def __len__(self):
            return len(self.given)

        def __getitem__(self, index):
            return Image.new("L", (2, 2)), self.given[index]

    monkeypatch.setattr("torchvision.datasets.EuroSAT", Some)
    assert issubclass(EuroSAT, VisionDataset)
    assert [p.known() for p in read_torchvision("EuroSAT", tmp_path, "all")] == [{"label": "2"}, {}]
    tensors = read_torchvision("EuroSAT", tmp_path, "all", targets=[torch.tensor(1), np.int64(0)])
    assert [p.label for p in tensors] == ["1", "0"]
    assert read_torchvision("EuroSAT", tmp_path, "all", targets=[]) == []
    for wrong, name in ((torch.zeros(40), "Tensor"), ({"a": 1}, "dict"), (1.5, "float")):
        with pytest.raises(ValueError, match=f"EuroSAT:all:0: its target is {name}, neither a"):
            read_torchvision("EuroSAT", tmp_path, "all", targets=[wrong])
    with pytest.raises(ValueError, match=r"label -2 is out of range; give 0, 1, \.\.\."):
        read_torchvision("EuroSAT", tmp_path, "all", targets=[-2])


def test_what_is_not_there_is_named(tmp_path, mnist):
    for name in ("MNIST", "CIFAR10", "USPS", "VOCSegmentation", "Omniglot"):
        with pytest.raises(ValueError, match=rf"nowhere holds no {name}.*download=True gets it"):
            read_torchvision(name, tmp_path / "nowhere")
    for name in ("MNITS", "vision", "VOCSegmentation.x"):
        with pytest.raises(ValueError, match=f"torchvision.datasets has no '{name}'"):
            read_torchvision(name, tmp_path)
    with pytest.raises(ValueError, match="MNIST has no part 'dev'; it has: train, test"):
        read_torchvision("MNIST", mnist, "dev")
    with pytest.raises(ValueError, match="Unknown value 'dev' for argument split"):
        read_torchvision("STL10", tmp_path, "dev")
    with pytest.raises(ValueError, match=r"EMNIST in .*split"):
        read_torchvision("EMNIST", tmp_path)
    with pytest.raises(ValueError, match=r"MNIST in .*'colour'"):
        read_torchvision("MNIST", mnist, colour=True)
    (mnist / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\0" * 3)
    with pytest.raises(ValueError, match=r"MNIST in .*invalid literal"):
        read_torchvision("MNIST", mnist)


def test_a_damaged_picture_is_named_when_it_is_read(voc):
    (picture,) = read_torchvision("VOCSegmentation", voc, "val", label="parts")
    (voc / "VOCdevkit/VOC2012/JPEGImages/a.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(ValueError, match="the image is damaged or not an image"):
        read_pixels(picture.source)
