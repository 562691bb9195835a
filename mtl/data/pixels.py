"""pixels: pictures, and maps of a number per pixel, as tensors: from files, bytes, arrays and data sets."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")  # modes of Pillow's of one channel
Source = Path | bytes | NDArray[Any] | Callable[[], Any]
"""A file, its bytes, an array, or what gives one of these or a picture of Pillow's when it is called."""


def read_pixels(source: Source) -> Tensor:
    """Give uint8 pixels (1, H, W) of a grey and (3, H, W) of a colour image.

    A photograph is turned upright, palettes become colours, transparency is dropped, and of 16 bits the
    upper 8 stay. Raises ValueError for a file that is missing, damaged, no image, or of floats.
    """
    found = _opened(source, _bytes)
    pixels = found[..., None] if found.ndim == 2 else found
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(
            f"{_where(source)}pixels are {found.dtype} {found.shape}; give uint8 (H, W) or (H, W, 3)"
        )
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def channels(source: Source) -> int:
    """Tell whether `read_pixels` gives 1 or 3 channels; of files only the head is read. Raises as it does.

    >>> channels(np.zeros((4, 4), np.uint8))
    1
    """
    found = _opened(source, lambda image: np.array(1 if image.mode in GREY else 3))
    return int(found) if found.ndim == 0 else 1 if found.ndim == 2 else found.shape[2]


def read_map(source: Source) -> Tensor:
    """Give a map (H, W) as float32: the numbers of a palette or grey picture, an array or an .npy file.

    Raises ValueError for a file that is missing or damaged, and for more than one number per pixel.

    >>> read_map(np.array([[0, 255]], np.uint8)).tolist()
    [[0.0, 255.0]]
    """
    values = _opened(source, np.array)
    if values.ndim != 2 or values.dtype.kind not in "buif":
        raise ValueError(
            f"{_where(source)}a map is {values.dtype} {values.shape}; give one number per pixel, "
            "(H, W), such as a grey or palette PNG"
        )
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


class Fitted:
    """A map of a picture, read and fitted when it is looked at: numpy takes it for its array."""

    def __init__(self, source: Source, fit: Callable[[Tensor], Tensor], name: str) -> None:
        self.source, self.fit, self.name = source, fit, name

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        try:
            return np.asarray(self.fit(read_map(self.source)).numpy(), dtype)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error


def is_map(label: Any) -> bool:
    """Say whether a raw label is a map: a file, what gives one when called, or an array (H, W)."""
    if isinstance(label, np.ndarray | Tensor):
        return label.ndim == 2
    return isinstance(label, Path) or callable(label)


def _where(source: Any) -> str:
    return f"{source}: " if isinstance(source, Path) else ""


def _opened(source: Any, convert: Callable[[Any], NDArray[Any]]) -> NDArray[Any]:
    """Give an array as it is, or `convert` an image."""
    from PIL import Image

    name = source if isinstance(source, Path) else "the image"
    try:
        given = source() if callable(source) else source
        if isinstance(given, Path) and given.suffix == ".npy":
            # Mapped: a header that claims more than the file holds then takes no memory.
            return np.array(np.load(given, mmap_mode="r", allow_pickle=False))
        if isinstance(given, Path | bytes):
            with Image.open(BytesIO(given) if isinstance(given, bytes) else given) as image:
                return convert(image)
        if isinstance(given, Image.Image):
            with given:
                return convert(given)
        return np.asarray(given)
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename or name} does not exist; correct the path") from error
    except Exception as error:  # Pillow's decoders raise almost anything for damaged bytes
        raise ValueError(f"{name} is damaged or not an image: {error}") from error


def _bytes(image: Any) -> NDArray[np.uint8]:
    """Give (H, W) or (H, W, 3) of a picture of Pillow's."""
    from PIL import ImageOps

    if image.mode == "F":
        raise ValueError("its pixels are floats of unknown range; save it with 8 or 16 bits")
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        return (np.asarray(upright) >> 8).astype(np.uint8)
    return np.array(upright.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
