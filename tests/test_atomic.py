import errno
import os

import pytest

from mtl.atomic import DiskFull, atomic_folder, atomic_text


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_other_errors_while_saving_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), atomic_folder(tmp_path / "model"):
        raise RuntimeError("shapes differ")
    with pytest.raises(PermissionError), atomic_folder(tmp_path / "model"):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    with atomic_folder(tmp_path / "model") as folder:
        (folder / "config.json").write_text("old")
    atomic_text(tmp_path / "metrics.json", "old")
    with pytest.raises(KeyError), atomic_folder(tmp_path / "model") as folder:
        (folder / "config.json").write_text("new")
        raise KeyError
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(DiskFull, match=r"metrics\.json"):
        atomic_text(tmp_path / "metrics.json", "new")
    assert (tmp_path / "model/config.json").read_text() == "old"
    assert (tmp_path / "metrics.json").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["metrics.json", "model"]


def write(target, *names):
    with atomic_folder(target) as folder:
        for name in names:
            (folder / name).write_text(" ".join(names))


def test_a_second_write_takes_the_place_of_the_first(tmp_path):
    write(tmp_path / "model", "a")
    write(tmp_path / "model", "a", "b")
    assert os.listdir(tmp_path) == ["model"]
    assert [(tmp_path / "model" / name).read_text() for name in "ab"] == ["a b", "a b"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("years of work")
    with pytest.raises(
        FileExistsError, match=r"thesis holds other files, such as chapter\.txt: choose"
    ):
        write(tmp_path / "thesis", "config.json")
    assert os.listdir(tmp_path) == ["thesis"]
    assert os.listdir(tmp_path / "thesis") == ["chapter.txt"]
