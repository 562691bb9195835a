"""Folders of classes that lie deeper; what else is read is tested with the images that come of it."""

import numpy as np
import pytest
from PIL import Image

from mtl.data.pictures import read_folder


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
