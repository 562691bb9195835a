"""Folders of classes that lie deeper; what else is read is tested with the images that come of it."""

import numpy as np
import pytest
from PIL import Image

from mtl.data.pictures import Picture, coloured, read_folder
from mtl.data.pixels import channels, read_pixels


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / name)
    return root


def found(pictures):
    return [(picture.id, picture.label) for picture in pictures]


def test_depth_says_which_folders_are_the_classes(tmp_path):
    root = write(tmp_path, "greek/beta/2.png", "greek/beta/1.png", "latin/a/x/3.png")
    assert found(read_folder(root)) == [
        ("greek/beta/1.png", "greek"),
        ("greek/beta/2.png", "greek"),
        ("latin/a/x/3.png", "latin"),
    ]
    assert found(read_folder(root, 2)) == [
        ("greek/beta/1.png", "greek/beta"),
        ("greek/beta/2.png", "greek/beta"),
        ("latin/a/x/3.png", "latin/a"),
    ]


def test_equal_names_in_two_folders_are_two_classes(tmp_path):
    root = write(tmp_path, "greek/a/1.png", "latin/a/1.png")
    assert found(read_folder(root, 2)) == [
        ("greek/a/1.png", "greek/a"),
        ("latin/a/1.png", "latin/a"),
    ]


def test_what_is_hidden_and_loose_files_are_passed_over(tmp_path):
    root = write(tmp_path, "a/b/1.png", "a/b/.2.png", "a/.c/1.png", ".d/e/1.png", "a/loose.png")
    (root / "list.txt").write_text("no folder")
    assert found(read_folder(root, 2)) == [("a/b/1.png", "a/b")]


def test_folders_that_are_not_so_deep_are_refused(tmp_path):
    root = write(tmp_path, "cat/1.png", "dog/1.png")
    with pytest.raises(ValueError, match="holds no folders; put the images of each class into one"):
        read_folder(root, 2)
    (root / "dog" / "poodle").mkdir()
    with pytest.raises(ValueError, match=r"dog/poodle holds no image \(\.png"):
        read_folder(root, 2)


# Colours


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_channels_are_those_that_the_pixels_have(mode, tmp_path):
    image = Image.new(mode, (4, 4))
    path = tmp_path / f"a.{'tif' if mode == 'CMYK' else 'png'}"
    image.save(path)
    for source in (path, path.read_bytes(), lambda: image.copy()):
        assert channels(source) == len(read_pixels(source))
    assert channels(read_pixels(path).permute(1, 2, 0).numpy()) == channels(path)


def test_one_coloured_picture_makes_all_of_them_coloured(tmp_path):
    broken, grey = tmp_path / "broken.png", np.zeros((4, 4), np.uint8)
    broken.write_text("no picture")
    bright = np.zeros((4, 4, 3), np.uint8)
    made = [Picture(str(i), "a", source) for i, source in enumerate((broken, grey, bright))]
    assert [coloured(made), coloured(made[:2])] == [3, 1]
    with pytest.raises(ValueError, match=r"no picture can be read: .*broken.png is damaged"):
        coloured(made[:1])
    with pytest.raises(ValueError, match="there is none"):
        coloured([])
