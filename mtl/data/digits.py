"""digits: images without a download: drawn glyphs, scikit-learn's digits, and pictures over colours."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mtl.data.images import Picture, from_arrays, read_pixels

# Without O and I, which are 0 and 1 to anybody who sees a single glyph.
CLASSES = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
DRAWN = 64  # pixels a side at which glyphs are drawn, before they are bent and made small
PENS = (0, 2, 4)  # widths of an extra stroke around the glyph, in drawn pixels
AT_ONCE = 1000  # images, which bounds the memory


def digits(size: int = 32) -> list[Picture]:
    """Give scikit-learn's 1797 handwritten digits of 8x8 pixels, enlarged to `size`: white on black.

    >>> len(digits()), digits(16)[0].source.shape
    (1797, (16, 16))
    """
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    small = torch.from_numpy(x).float().view(-1, 1, 8, 8) / 16
    large = F.interpolate(small, (size, size), mode="bicubic", align_corners=False)
    return from_arrays(_bytes(large), y, "digits")


def glyphs(
    count: int = 4000, classes: str = CLASSES, seed: int = 0, size: int = 32
) -> list[Picture]:
    """Draw digits and capitals, warped and bent, thin and thick, in noise: white on black.

    Image i shows class i modulo their number; it depends on `seed`, i, `classes` and `size` alone.
    Raises ValueError for a sign that is not in CLASSES.

    >>> [picture.label for picture in glyphs(3, "AB")]
    ['A', 'B', 'A']
    """
    if strange := sorted(set(classes) - set(CLASSES)) or not classes:
        raise ValueError(f"classes {classes!r} hold {strange}; choose from {CLASSES}")
    pens = torch.stack([_draw(sign) for sign in classes])
    y = np.arange(count) % len(classes)
    # A generator per purpose, read row by row: a larger set begins with the smaller one.
    uniform, bend, noise = (np.random.default_rng([seed, purpose]) for purpose in range(3))
    made = []
    for start in range(0, count, AT_ONCE):
        rows = y[start : start + AT_ONCE]
        n = len(rows)
        draws = uniform.uniform(-1, 1, (n, 9)).astype(np.float32)
        bends = bend.standard_normal((n, 2, 4, 4)).astype(np.float32)
        pen = np.digitize(draws[:, 6], np.linspace(-1, 1, len(PENS) + 1)[1:-1])
        inked = _warp(pens[rows, pen], torch.from_numpy(draws), torch.from_numpy(bends), size)
        contrast = torch.from_numpy(0.75 + 0.25 * draws[:, 7]).view(n, 1, 1, 1)
        level = torch.from_numpy(0.06 + 0.04 * draws[:, 8]).view(n, 1, 1, 1)
        grain = torch.from_numpy(noise.standard_normal((n, 1, size, size)).astype(np.float32))
        made.append(_bytes(inked * contrast + level * grain))
    x = np.concatenate(made) if made else np.zeros((0, size, size), np.uint8)
    return from_arrays(x, [classes[label] for label in y], f"glyphs-{seed}")


def patches(count: int, seed: int = 0, size: int = 32, contrast: float = 0.5) -> Tensor:
    """Make smooth random colours with some grain: (count, 3, size, size) from 0 to `contrast` + 0.1.

    Patch i depends on `seed`, i, `size` and `contrast` alone.

    >>> patches(2, size=8).shape
    torch.Size([2, 3, 8, 8])
    """
    blobs, grain = (np.random.default_rng([seed, purpose]) for purpose in range(2))
    coarse = torch.from_numpy(blobs.random((count, 3, 7, 7), np.float32))
    smooth = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=False)
    return contrast * smooth + 0.1 * torch.from_numpy(
        grain.random((count, 3, size, size), np.float32)
    )


def blended(pictures: Sequence[Picture], seed: int = 0, contrast: float = 0.5) -> list[Picture]:
    """Lay square pictures over coloured patches, as MNIST-M does: |patch - picture| in every channel.

    The digits stay readable, and neither ink nor ground has a colour of its own (Ganin et al. 2016, section
    5.2.4; theirs are cut from photographs). Labels stay; `contrast` is that of `patches`.

    >>> blended(digits(16)[:1])[0].source.shape
    (16, 16, 3)
    """
    made = []
    for start in range(0, len(pictures), AT_ONCE):
        part = pictures[start : start + AT_ONCE]
        ink = torch.stack([read_pixels(picture.source) for picture in part]) / 255
        ground = patches(len(part), seed + start, ink.shape[-1], contrast)
        pixels = (ground - ink).abs().clamp(0, 1).mul(255).round().byte()
        made += list(pixels.permute(0, 2, 3, 1).numpy())
    pairs = zip(pictures, made, strict=True)
    return [replace(p, id=f"{p.id}~{seed}", source=pixels) for p, pixels in pairs]


def _draw(sign: str) -> Tensor:
    """Draw one sign with every pen: (PENS, 1, DRAWN, DRAWN), 0 to 1."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(DRAWN * 0.7)
    drawn = []
    for pen in PENS:
        image = Image.new("L", (DRAWN, DRAWN))
        middle = (DRAWN / 2, DRAWN / 2)
        ImageDraw.Draw(image).text(middle, sign, 255, font, anchor="mm", stroke_width=pen)
        drawn.append(np.asarray(image))
    return torch.from_numpy(np.stack(drawn)[:, None]).float() / 255


def _warp(x: Tensor, draws: Tensor, bends: Tensor, size: int) -> Tensor:
    """Warp x (N, 1, H, W) by draws (N, 6 and more) within -1 to 1 and bends (N, 2, 4, 4)."""
    turn, shear, wide, high, right, down = draws[:, :6].T
    turn, shear = 0.15 * turn, 0.15 * shear
    wide, high = torch.exp(0.2 * wide), torch.exp(0.2 * high)
    across = [wide * turn.cos(), wide * (shear - turn.sin()), 0.12 * right]
    along = [high * turn.sin(), high * turn.cos(), 0.12 * down]
    affine = torch.stack([torch.stack(across, 1), torch.stack(along, 1)], 1)
    grid = F.affine_grid(affine, [len(x), 1, size, size], align_corners=False)
    bent = F.interpolate(bends, (size, size), mode="bicubic", align_corners=True)
    return F.grid_sample(x, grid + 0.04 * bent.permute(0, 2, 3, 1), align_corners=False)


def _bytes(x: Tensor) -> NDArray[np.uint8]:
    """Give x (N, 1, H, W), 0 to 1, as bytes (N, H, W)."""
    whole: NDArray[np.uint8] = x[:, 0].clamp(0, 1).mul(255).round().byte().numpy()
    return whole
