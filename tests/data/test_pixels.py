"""Pictures and maps: from files, bytes, arrays and what is called; every mode; what cannot be read."""

import io
import zlib
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from mtl.data.pixels import Fitted, channels, is_map, read_map, read_pixels

CHESS = np.kron([[0, 255], [255, 0]], np.ones((4, 4))).astype(np.uint8)
NUMBERS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def palette(indices):
    image = Image.fromarray(indices, "P")
    image.putpalette([number * 7 % 256 for number in range(768)])
    return image


def given(source):
    return source


MODES = {
    "1": 1,
    "L": 1,
    "LA": 1,
    "I;16": 1,
    "P": 3,
    "RGB": 3,
    "RGBA": 3,
    "CMYK": 3,
    "YCbCr": 3,
    "PA": 3,
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_bytes(mode):
    if mode == "I;16":
        image = Image.fromarray(CHESS.astype(np.uint16) * 257)
    elif mode == "PA":
        image = Image.fromarray(CHESS).convert("P").convert("PA")
    else:
        image = Image.fromarray(CHESS).convert("RGB").convert(mode)
    read = read_pixels(partial(given, image))
    assert read.dtype == torch.uint8 and len(read) == MODES[mode]
    assert all(np.array_equal(channel, CHESS) for channel in read.numpy())


@pytest.mark.parametrize("kind", ["file", "bytes", "array", "called"])
def test_a_picture_may_lie_anywhere(tmp_path, kind):
    data = encoded(Image.fromarray(NUMBERS))
    (tmp_path / "x.png").write_bytes(data)
    source = {"file": tmp_path / "x.png", "bytes": data, "array": NUMBERS}
    source["called"] = partial(given, data)
    assert torch.equal(read_pixels(source[kind])[0], torch.tensor(NUMBERS))
    assert torch.equal(read_map(source[kind]), torch.tensor(NUMBERS).float())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "the image is damaged or not an image"),
        (b"no image", "the image is damaged or not an image"),
        (encoded(Image.fromarray(CHESS))[:60], "the image is damaged or not an image"),
        (encoded(Image.fromarray(CHESS / 255.0), "TIFF"), "floats of unknown range"),
        (np.zeros((2, 2, 4), np.uint8), r"pixels are uint8 \(2, 2, 4\); give uint8"),
        (np.zeros((2, 2)), r"pixels are float64 \(2, 2\); give uint8"),
        (partial(given, None), r"pixels are object \(\); give uint8"),
    ],
)
def test_what_is_no_picture_is_named(source, message):
    with pytest.raises(ValueError, match=message):
        read_pixels(source)


def test_missing_files_are_named(tmp_path):
    for read in (read_pixels, read_map):
        with pytest.raises(ValueError, match=r"gone\.png does not exist; correct the path"):
            read(tmp_path / "gone.png")

    def load():
        return Image.open(tmp_path / "gone.png")

    with pytest.raises(ValueError, match=r"gone\.png does not exist"):
        read_pixels(load)


def test_a_map_keeps_its_numbers(tmp_path):
    numbers = np.array([[0.5, np.nan], [-3.0, 70000.0]])
    np.save(tmp_path / "x.npy", numbers)
    for source in (tmp_path / "x.npy", numbers, torch.tensor(numbers)):
        assert np.array_equal(read_map(source), numbers.astype(np.float32), equal_nan=True)
    assert np.array_equal(read_map(encoded(palette(NUMBERS))), NUMBERS)
    deep = NUMBERS.astype(np.uint16) * 1000
    assert np.array_equal(read_map(encoded(Image.fromarray(deep))), deep)
    assert read_map(CHESS > 0).unique().tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"a map is uint8 \(8, 8, 3\); give one number per pixel"):
        read_map(encoded(Image.fromarray(CHESS).convert("RGB")))
    Image.fromarray(CHESS).convert("RGB").save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb\.png: a map is uint8 \(8, 8, 3\)"):
        read_map(tmp_path / "rgb.png")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"bad\.npy is damaged"):
        read_map(tmp_path / "bad.npy")


@pytest.mark.parametrize("read", [read_pixels, read_map, channels])
def test_a_header_of_a_thousand_million_pixels_takes_no_memory(read, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    data = bytearray((tmp_path / "x.png").read_bytes())
    data[16:24] = (40_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.png is damaged or .* \(1600000000 pixels\) exceeds"):
        read(tmp_path / "x.png")


def test_a_fitted_map_is_read_when_it_is_looked_at(tmp_path):
    np.save(tmp_path / "x.npy", NUMBERS)
    fitted = Fitted(tmp_path / "x.npy", lambda values: values[:2], "a.png: part")
    assert np.array_equal(np.array(fitted, dtype=np.float32), NUMBERS[:2])
    (tmp_path / "x.npy").unlink()
    with pytest.raises(ValueError, match=r"a\.png: part: .*x\.npy does not exist"):
        np.asarray(fitted)


def test_maps_are_told_from_other_labels(tmp_path):
    maps = [tmp_path, NUMBERS, torch.zeros(2, 2), partial(given, NUMBERS)]
    others = ["a.png", 3, 1.5, ["a"], [1.0, 2.0], np.zeros(3), torch.tensor(2)]
    assert [is_map(label) for label in maps] == [True] * 4
    assert not any(map(is_map, others))
