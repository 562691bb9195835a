import zipfile

import numpy as np
import pytest

from mtl.data import archives, omniglot
from mtl.data.attributes import attributes
from mtl.data.audio import read_frames
from mtl.data.pictures import read_npz
from mtl.data.pixels import read_map


def bomb(path, name="a.npy"):
    """Write 16 MB of zeros in 16 kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(1 << 24))
    return path


@pytest.fixture(autouse=True)
def strict(monkeypatch):
    """Call bombs what is a gigabyte in earnest."""
    monkeypatch.setattr(archives, "LARGEST", 1 << 21)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return bomb(tmp_path_factory.mktemp("bomb") / "images_background_small1.zip")


READERS = {
    "frames": lambda path: read_frames(path, "a"),
    "npz": read_npz,
    "attributes": lambda path: attributes(path, ["a"]),
}


@pytest.mark.parametrize("name", READERS)
def test_a_decompression_bomb_is_refused(name, packed, tmp_path):
    path = tmp_path / "b.npz"
    path.hardlink_to(packed)
    with pytest.raises(ValueError, match=r"b\.npz.* MB would unpack to 0.0168 GB.*bomb"):
        READERS[name](path)


def test_a_bomb_of_drawings_is_refused(packed):
    with pytest.raises(ValueError, match=r"small1\.zip is damaged.* would unpack to"):
        omniglot.read_background(packed.parent)


def test_what_packs_well_and_is_small_is_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros((3000, 80), np.float32))
    assert read_frames(tmp_path / "a.npz").shape == (3000, 80)
    with archives.open_npz(tmp_path / "a.npz") as arrays:
        assert arrays["a"].shape == (3000, 80)


@pytest.mark.parametrize("shape", [(10**9, 10**9), (10**5, 10**5), (-1, 4)])
def test_a_header_that_claims_more_than_there_is_takes_no_memory(shape, tmp_path):
    path = tmp_path / "m.npy"
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
    for read in (read_map, read_frames):
        with pytest.raises(ValueError, match=r"m\.npy"):
            read(path)
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.write(path, "x_train.npy")
        archive.write(path, "y_train.npy")
    with pytest.raises(ValueError, match=r"m\.npz is damaged"):
        read_npz(tmp_path / "m.npz")
    with pytest.raises(ValueError, match=r"m\.npz: cannot be read"):
        read_frames(tmp_path / "m.npz", "x_train")
