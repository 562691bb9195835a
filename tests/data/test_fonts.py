import numpy as np
import pytest

from mtl.data.fonts import FONTS, letters


def test_letters_differ_and_every_font_draws_them_as_their_label():
    sans, serif = letters(FONTS[:1]), letters(["DejaVuSerif"])
    assert len({p.source.tobytes() for p in sans}) == len(sans) == len({p.label for p in sans})
    assert {p.id for p in sans} == {f"DejaVuSans/{p.label}" for p in sans}
    assert {p.label for p in serif} < {p.label for p in sans}
    known = {p.label: p.source for p in sans}
    assert {"A", "z", "Ж", "Ω"} <= set(known) and not {"5", "é", "\u0391"} & set(known)
    same = np.mean([np.array_equal(p.source, known[p.label]) for p in serif])
    assert same < 0.05


def test_size_and_unknown_fonts():
    assert letters(["STIXGeneral"], size=12)[0].source.shape == (12, 12)
    with pytest.raises(ValueError, match="brings no font 'Comic'; it has DejaVuSans, "):
        letters(["Comic"])
