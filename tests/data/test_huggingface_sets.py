"""Pictures of Hugging Face data sets: saved ones and folders, with classes, lists, numbers and maps."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from mtl.data.huggingface import read_hf
from mtl.data.pixels import read_map, read_pixels

datasets = pytest.importorskip("datasets", reason="heavy: pip install 'mtl[data]'")

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 6, 6), np.uint8)
MAP = np.arange(36, dtype=np.uint8).reshape(6, 6)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture
def saved(tmp_path):
    """Every kind of label, some missing."""
    names = datasets.ClassLabel(names=["cat", "dog"])
    features = datasets.Features(
        {
            "img": datasets.Image(),
            "label": names,
            "marks": datasets.Sequence(names),
            "age": datasets.Value("float32"),
            "parts": datasets.Image(),
            "depth": datasets.Array2D((6, 6), "float32"),
            "shelf": datasets.Value("int64"),
        }
    )
    rows = {
        "img": [png(pixels) for pixels in PIXELS],
        "label": [1, 0, None],
        "marks": [[0, 1], [], None],
        "age": [1.5, None, 3.0],
        "parts": [png(MAP), None, png(MAP)],
        "depth": [MAP.astype(float).tolist()] * 3,
        "shelf": [4, 5, 6],
    }
    data = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": data, "test": data.select([1])}).save_to_disk(tmp_path / "d")
    return tmp_path / "d"


def test_labels_of_every_kind(saved):
    columns = {name: name for name in ("label", "marks", "age", "parts", "depth")}
    found = read_hf(saved, image="img", label=columns)
    assert [p.id for p in found] == ["train:0", "train:1", "train:2"]
    for picture, pixels in zip(found, PIXELS, strict=True):
        assert np.array_equal(read_pixels(picture.source)[0], pixels)
    known = [picture.known() for picture in found]
    assert [labels.get("label") for labels in known] == ["dog", "cat", None]
    assert [labels.get("marks") for labels in known] == [["cat", "dog"], [], None]
    assert [labels.get("age") for labels in known] == [1.5, None, 3.0]
    assert [("parts" in labels) for labels in known] == [True, False, True]
    for name in ("parts", "depth"):
        assert torch.equal(read_map(known[0][name]), torch.tensor(MAP).float())


def test_usual_columns_are_found(saved):
    (picture,) = read_hf(saved, "test", image="img")
    assert picture.id == "test:0" and picture.known() == {"label": "cat"}
    assert [p.label for p in read_hf(saved, image="img", label="shelf")] == ["4", "5", "6"]
    assert read_hf(saved, image="img", label={"place": "shelf"})[0].known() == {"place": 4}
    only = read_hf(saved, label={"x": "parts"})  # the only picture that is left
    assert np.array_equal(read_pixels(only[0].source)[0], PIXELS[0])


def test_a_folder_of_classes_and_one_with_metadata(tmp_path):
    for place, label in enumerate(("cat", "dog")):
        (tmp_path / "classes/train" / label).mkdir(parents=True)
        Image.fromarray(PIXELS[place]).save(tmp_path / "classes/train" / label / "x.png")
    found = read_hf(tmp_path / "classes")
    assert sorted(p.label for p in found) == ["cat", "dog"]
    read = {p.label: read_pixels(p.source)[0].numpy() for p in found}
    assert np.array_equal(read["cat"], PIXELS[0]) and np.array_equal(read["dog"], PIXELS[1])
    (tmp_path / "meta").mkdir()
    Image.fromarray(PIXELS[2]).save(tmp_path / "meta/x.png")
    row = {"file_name": "x.png", "weight": 2.5}
    (tmp_path / "meta/metadata.jsonl").write_text(json.dumps(row) + "\n")
    assert read_hf(tmp_path / "meta", label={"weight": "weight"})[0].known() == {"weight": 2.5}


def test_what_is_not_there_is_named(saved, tmp_path):
    with pytest.raises(ValueError, match="no split 'dev'; --split can be: train, test"):
        read_hf(saved, "dev")
    with pytest.raises(ValueError, match="test: has no splits, so it is train, not 'test'; ask"):
        read_hf(saved / "test", "test", image="img")
    assert [p.id for p in read_hf(saved / "test", image="img")] == ["train:0"]
    with pytest.raises(ValueError, match=r"d: which column is the picture\? give image=.*img"):
        read_hf(saved)
    with pytest.raises(ValueError, match="d: has no column 'photo'; it has: img, label"):
        read_hf(saved, image="photo")
    with pytest.raises(ValueError, match="d: has no column 'kind'; it has: img, label"):
        read_hf(saved, image="img", label="kind")
    with pytest.raises(ValueError, match="d: column 'age' holds no pictures"):
        read_hf(saved, image="age")


def test_a_damaged_picture_is_named_when_it_is_read(tmp_path):
    held = [{"bytes": b"no image", "path": None}, {"bytes": None, "path": str(tmp_path / "x.png")}]
    (tmp_path / "x.png").touch()
    rows = {"image": [*held, None]}
    data = datasets.Dataset.from_dict(rows, features=datasets.Features(image=datasets.Image()))
    data.save_to_disk(tmp_path / "d")
    (tmp_path / "x.png").unlink()
    found = read_hf(tmp_path / "d")
    assert [p.known() for p in found] == [{}, {}, {}]
    for picture, message in zip(
        found, ("is damaged", r"x\.png does not exist", "neither a path nor bytes"), strict=True
    ):
        with pytest.raises(ValueError, match=message):
            read_pixels(picture.source)
