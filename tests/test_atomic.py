import errno
import os
from pathlib import Path

import pytest

from mtl.atomic import DiskFull, append_text, atomic_file, atomic_folder, atomic_text, restore


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


def killed_between_the_renames(target, monkeypatch):
    """Replace `target` as a process does that dies before the new folder takes its name."""

    def die(self, target):
        if ".old." in str(target):
            return rename(self, target)
        raise KeyboardInterrupt

    rename = Path.replace
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pathlib.Path.replace", die)
        write(target, "a", "b")
    assert not target.exists()


def test_a_writer_killed_between_two_renames_loses_nothing(tmp_path, monkeypatch):
    target = tmp_path / "model[1]"
    write(target, "a")
    killed_between_the_renames(target, monkeypatch)
    restore(target)
    assert (target / "a").read_text() == "a"
    assert os.listdir(tmp_path) == ["model[1]"]
    killed_between_the_renames(target, monkeypatch)
    with pytest.raises(FileExistsError, match="other files, such as a"):
        write(target, "b")
    write(target, "a", "c")
    assert sorted(os.listdir(target)) == ["a", "c"]
    assert os.listdir(tmp_path) == ["model[1]"]


def test_only_what_is_missing_is_restored_and_of_that_the_newest(tmp_path):
    target = tmp_path / "model"
    for age, name in enumerate(["new", "old"]):
        left = tmp_path / f".model.old.{name}"
        write(left, name)
        os.utime(left, (1000 - age, 1000 - age))
    (tmp_path / ".model.old.empty").mkdir()
    restore(target)
    assert os.listdir(target) == ["new"]
    restore(target)
    assert os.listdir(target) == ["new"]
    write(target, "new")
    assert os.listdir(tmp_path) == ["model"], "a model deleted later must not come back"


def test_text_is_appended(tmp_path, monkeypatch):
    append_text(tmp_path / "log", "a\n")
    append_text(tmp_path / "log", "b\n")
    assert (tmp_path / "log").read_text() == "a\nb\n"
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(DiskFull, match="log"):
        append_text(tmp_path / "log", "c")


def test_a_file_that_another_library_writes(tmp_path):
    with atomic_file(tmp_path / "new/a") as path:
        path.write_bytes(b"old")
    with pytest.raises(KeyError), atomic_file(tmp_path / "new/a") as path:
        path.write_bytes(b"new")
        raise KeyError
    assert (tmp_path / "new/a").read_bytes() == b"old"
    assert os.listdir(tmp_path / "new") == ["a"]
    assert (tmp_path / "new/a").stat().st_mode & 0o777 == 0o644
