"""omniglot: drawings and runs as they are published, packed and unpacked."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtl.data.omniglot import read_background, read_runs


def png(seed):
    """A drawing as published: 105 x 105, one bit, black on white, a line whose place is the seed."""
    image = Image.new("1", (105, 105), 1)
    image.paste(0, (0, 4 * seed, 105, 4 * seed + 5))
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def files():
    made = {}
    for place, (alphabet, character) in enumerate(
        [("Greek", "character01"), ("Greek", "character02")]
    ):
        for turn in (1, 2):
            name = f"images_background_small1/{alphabet}/{character}/{place}_{turn:02d}.png"
            made[name] = png(2 * place + turn)
    runs = {}
    for run in ("run01", "run02"):
        pairs = [("item01", "class02"), ("item02", "class01")]
        lines = [f"{run}/test/{t}.png {run}/training/{c}.png\n" for t, c in pairs]
        runs[f"{run}/class_labels.txt"] = "".join(lines).encode()
        for place, (test, example) in enumerate(pairs):
            runs[f"{run}/test/{test}.png"] = png(10 + place)
            runs[f"{run}/training/{example}.png"] = png(10 + place)
    return {"images_background_small1": made, "all_runs": runs}


def pack(files, folder):
    for name, content in files.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as file:
            for path, data in content.items():
                file.writestr(path, data)
            file.writestr("__MACOSX/._x.png", b"no picture")
    return folder


def unpack(files, folder):
    for name, content in files.items():
        for path, data in content.items():
            place = folder / name / path.removeprefix(f"{name}/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    return folder


@pytest.mark.parametrize("store", [pack, unpack])
def test_drawings_are_white_on_black_by_alphabet_and_character(store, files, tmp_path):
    found = read_background(store(files, tmp_path), "small1", size=21)
    assert [p.label for p in found] == ["Greek/character01"] * 2 + ["Greek/character02"] * 2
    assert len({p.id for p in found}) == 4
    for seed, picture in enumerate(found, 1):
        ink = picture.source.astype(float).sum(1)
        centre = (ink * (np.arange(21) + 0.5)).sum() / ink.sum() * 5
        assert picture.source.shape == (21, 21) and abs(centre - (4 * seed + 2.5)) < 1


@pytest.mark.parametrize("store", [pack, unpack])
def test_runs_pair_pictures_with_the_example_of_their_class(store, files, tmp_path):
    first, second = read_runs(store(files, tmp_path))
    assert (first.name, second.name) == ("run01", "run02")
    known = {picture.label: picture.source for picture in first.support}
    assert len(known) == 2 and len(first.tests) == 2
    for test in first.tests:
        assert np.array_equal(known[test.label], test.source)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"no images_background_small2.zip, and no folder images_b"
    ):
        read_background(tmp_path, "small2")


@pytest.mark.skipif("MTL_DATA" not in os.environ, reason="MTL_DATA names no folder of real data")
def test_the_published_files():
    folder = Path(os.environ["MTL_DATA"]) / "omniglot"
    runs = read_runs(folder)
    assert len(runs) == 20
    assert all(
        (len(r.support), len(r.tests), len({t.label for t in r.tests})) == (20, 20, 20)
        for r in runs
    )
    assert len({p.label for p in read_background(folder, "small1", 8)}) == 136
