"""fonts: letters of many scripts, drawn in the fonts that matplotlib brings: pictures without a download."""

import functools
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl.data.pictures import Picture, from_arrays

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralItalic",
)
LAST = 0x3000  # code points beyond are signs of East Asia, which these fonts lack
NO_LETTER = "\uffff"  # drawn as what stands for a letter that a font lacks


def letters(fonts: Sequence[str] = FONTS, size: int = 32) -> list[Picture]:
    """Draw all letters of the fonts, white on black, as high as wide: the label is the letter.

    Without digits, accents and letters that look as another does (of Latin A, Greek Alpha and Cyrillic A
    the first stays). The id is `font/letter`. Raises ValueError for a font that matplotlib does not bring.

    >>> sans = letters(["DejaVuSans"], size=16)
    >>> len(sans) > 1000, sans[0].label, sans[0].source.shape
    (True, 'A', (16, 16))
    """
    made = []
    for name in fonts:
        drawn = {letter: _draw(name, letter, size) for letter in _different()}
        lacking = _draw(name, NO_LETTER, size)
        known = {s: x for s, x in drawn.items() if x.any() and not np.array_equal(x, lacking)}
        made += from_arrays(np.stack(list(known.values())), list(known), name)
    return [Picture(f"{p.id.partition(':')[0]}/{p.label}", p.label, p.source) for p in made]


@functools.cache
def _different() -> tuple[str, ...]:
    """List the letters of the first font, one of those that look the same."""
    seen = {_draw(FONTS[0], NO_LETTER, 32).tobytes()}
    found = []
    for code in range(ord("A"), LAST):
        sign = chr(code)
        if unicodedata.category(sign) in ("Lu", "Ll", "Lo") and not unicodedata.decomposition(sign):
            looks = _draw(FONTS[0], sign, 32).tobytes()
            if looks not in seen:
                found.append(sign)
                seen.add(looks)
    return tuple(found)


def _draw(font: str, sign: str, size: int) -> NDArray[np.uint8]:
    """Draw one sign in the middle: (size, size)."""
    from PIL import Image, ImageDraw

    image = Image.new("L", (size, size))
    middle = (size / 2, size / 2)
    ImageDraw.Draw(image).text(middle, sign, 255, _font(font, size), anchor="mm")
    return np.asarray(image)


@functools.cache
def _font(name: str, size: int) -> Any:
    """Open a font. The package is found and not imported, which would take a second."""
    from PIL import ImageFont

    home = find_spec("matplotlib")
    folder = Path(home.origin or "").parent / "mpl-data" / "fonts" / "ttf" if home else Path()
    file = folder / f"{name}.ttf"
    if not file.is_file():
        raise ValueError(f"matplotlib brings no font {name!r}; it has {', '.join(FONTS)}")
    return ImageFont.truetype(file, round(0.7 * size))
