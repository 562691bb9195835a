from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mtl.naming import file_name, find, name_of, names

LONG = "0a" * 64  # as Common Voice names its speakers
NAMES = [
    "anna", "Anna", "ANNA", "a/b", "a\\b", "a%2Fb", "a%2fb", "..", ".anna", "anna.", "a b", " ", "a\nb",
    "a~b", "50%", "Zo\u00eb", "\u5f20\u4f1f" * 20, "con", "con.x", "nul", "\ud800", LONG, LONG + "1",
    LONG.upper(), "x" * 5000,
]  # fmt: skip


def put(folder, name, file=None):
    path = folder / (file or file_name(name))
    save_file({"x": torch.zeros(1)}, path, metadata={"mtl": f'{{"name": "{name}"}}'})
    return path


def test_every_name_has_a_file_of_its_own():
    """Also where capitals do not count, no bytes beyond ASCII, and the file may have 140 bytes."""
    found = [file_name(name) for name in NAMES]
    assert len({file.lower() for file in found}) == len(NAMES)
    for file in found:
        stem = file.removesuffix(".safetensors")
        assert file.isascii() and file.isprintable() and len(file) <= 112
        assert not set(stem) & set('/\\:*?"<>| ') and stem[0] != "." and stem[-1] != "."
        assert stem.split(".")[0] not in ("con", "nul")
    assert found == [file_name(name) for name in NAMES]


def test_plain_names_are_readable():
    for name in ("anna", "p0_1-b.c", "f" * 100):
        assert file_name(name) == f"{name}.safetensors"
    assert file_name(LONG).startswith(LONG[:60])


def test_spellings_are_one_name():
    assert file_name("Zoe\u0308") == file_name("Zo\u00eb")
    with pytest.raises(ValueError, match="name of a speaker is empty"):
        file_name("")


@pytest.mark.parametrize("name", NAMES)
def test_names_come_back(name):
    assert name_of(Path(file_name(name)), noted=name) == name
    if "~" not in file_name(name):
        assert name_of(Path(file_name(name)), noted=None) == name


def test_a_folder_lists_and_finds_true_names(tmp_path):
    paths = {name: put(tmp_path, name) for name in ("anna", "Anna", "a/b", LONG, "Zo\u00eb")}
    (tmp_path / ".half.safetensors").touch()
    assert names(tmp_path) == sorted(paths)
    assert {name: find(tmp_path, name) for name in paths} == paths
    assert find(tmp_path, "Zoe\u0308") == paths["Zo\u00eb"]


def test_a_name_is_no_path(tmp_path):
    (tmp_path / "in").mkdir()
    put(tmp_path, "anna")
    put(tmp_path, "b", "in/b.safetensors")
    for name in ("../anna", "in/b", str(tmp_path / "anna")):
        with pytest.raises(FileNotFoundError, match="no delta "):
            find(tmp_path / "in" if name[0] == "." else tmp_path, name)


def test_files_of_other_names_are_found(tmp_path):
    """Written before names were encoded, or renamed by hand; the encoded one goes first."""
    old = put(tmp_path, "whoever", "Zoe\u0308 K.safetensors")
    odd = put(tmp_path, "whoever", "a%FFb~.safetensors")
    damaged = tmp_path / file_name(LONG)
    damaged.write_bytes(b"no tensors")
    put(tmp_path, "Ben", "Ben.safetensors")
    new = put(tmp_path, "Ben")
    stem = damaged.name.removesuffix(".safetensors")
    assert names(tmp_path) == sorted(["Ben", "Zo\u00eb K", "a%FFb~", stem])
    assert find(tmp_path, "Zo\u00eb K") == old and find(tmp_path, "a%FFb~") == odd
    assert find(tmp_path, "Ben") == new


def test_who_is_there_is_told_briefly(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no delta 'x' in .*; it has: none"):
        find(tmp_path / "nowhere", "x")
    for number in range(12):
        put(tmp_path, f"s{number:02}")
    with pytest.raises(FileNotFoundError, match=r"it has: s00, .*, s09 and 2 more$"):
        find(tmp_path, "x")
