"""boxes: pictures of signs cut to the box around their ink, so that margins tell no data sets apart."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mtl.data.pictures import Picture
from mtl.data.pixels import read_pixels

INK = 0.25  # of the brightest pixel: what is brighter is ink


def boxed(pictures: Sequence[Picture], size: int) -> list[Picture]:
    """Cut signs to their ink, and bring them to size x size, shapes kept: grey pictures, white on black.

    Labels and ids stay. Pictures with a bright edge are taken for black on white, and turned over; one
    without ink becomes black.

    >>> from mtl.data.digits import digits
    >>> boxed(digits()[:1], 20)[0].source.shape
    (20, 20)
    """
    return [
        replace(picture, source=_boxed(read_pixels(picture.source), size)) for picture in pictures
    ]


def pixels(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    """Give grey pictures of one size as numbers from 0 to 1: (N, H, W).

    Raises ValueError for pictures of several sizes.
    """
    arrays = [read_pixels(picture.source).float().mean(0).numpy() / 255 for picture in pictures]
    if sizes := sorted(
        {array.shape for array in arrays[:1] + arrays if array.shape != arrays[0].shape}
    ):
        raise ValueError(
            f"pictures of {arrays[0].shape} and {sizes[0]} pixels; bring them to one size"
        )
    return np.stack(arrays).astype(np.float64)


def _boxed(picture: Tensor, size: int) -> NDArray[np.uint8]:
    grey = picture.float().mean(0)
    edge = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if edge.median() > 127:
        grey = 255 - grey
    ink = grey > INK * grey.max()
    rows, columns = (ink.any(axis).nonzero().flatten() for axis in (1, 0))
    if not len(rows):
        return np.zeros((size, size), np.uint8)
    cut = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = cut.shape
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    square = F.pad(cut, (left, side - width - left, top, side - height - top))[None, None]
    how = {"mode": "bilinear", "antialias": True, "align_corners": False}
    fitted = F.interpolate(square, (size, size), **how)[0, 0]  # type: ignore[arg-type]
    whole: NDArray[np.uint8] = fitted.round().clamp(0, 255).to(torch.uint8).numpy()
    return whole
