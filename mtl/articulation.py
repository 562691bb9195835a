"""articulation: how phones are made, as vectors. Mortensen et al. 2016, PanPhon.

Its 24 features are -1, 0 or 1: syllabic, voiced, nasal, labial, high, back, round, long, ... Four more are
ours: what parts words, tones, and how high a tone begins and ends. PanPhon (extra `phones`) is not imported,
which would bring in pandas: its table is read.
"""

import csv
import functools
import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mtl.phones import WORD, is_tone

FEATURES = 24
VALUES = {"+": 1.0, "-": -1.0, "0": 0.0}
_ALSO = {"ε": "ɛ", "g": "ɡ"}  # Greek and Latin letters that stand for those of IPA
_LETTERS = "˩˨˧˦˥"
_HIGHEST = 5  # of Chao's tone numbers


def articulation(phones: Sequence[str]) -> list[list[float]]:
    """Give the vectors (N, 28) of phones, as `mtl.phones.phones` cuts them.

    A phone that the table lacks is taken for the one without its last mark. Raises ValueError that names
    all phones without any vector, ImportError without PanPhon.

    >>> [(p, b) for p, b in zip(*articulation(["p", "b"])) if p != b]  # they differ in one: voiced
    [(-1.0, 1.0)]
    """
    found = {phone: _vector(phone) for phone in phones}
    if unknown := [phone for phone, vector in found.items() if not vector]:
        raise ValueError(
            f"no articulation of {', '.join(map(repr, unknown))} is known: write IPA, or drop what has it"
        )
    return [list(found[phone]) for phone in phones]


def distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Say how much two articulations differ: the sum over the features, where a sign lost counts 1.

    >>> distance(*articulation(["p", "b"]))
    2.0
    """
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


def nearest(phones: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Give for each phone the known one that is made most alike, itself where it is known.

    Raises what `articulation` raises, and ValueError where nothing is known.

    >>> nearest(["p", "β"], ["a", "p", "v"])
    {'p': 'p', 'β': 'v'}
    """
    if not known:
        raise ValueError("no phone is known: there is none to be the nearest")
    targets = articulation(known)
    found = {}
    for phone, vector in zip(phones, articulation(phones), strict=True):
        place = min(range(len(known)), key=lambda index: distance(vector, targets[index]))
        found[phone] = phone if phone in known else known[place]
    return found


@functools.cache
def _vector(phone: str) -> tuple[float, ...]:
    """Give a phone's vector; none where it is unknown."""
    if phone == WORD:
        return (*(0.0,) * FEATURES, 1.0, 0.0, 0.0, 0.0)
    if phone and all(map(is_tone, phone)):
        return (*(0.0,) * FEATURES, 0.0, 1.0, _height(phone[0]), _height(phone[-1]))
    known, plain = _table(), unicodedata.normalize("NFD", phone)
    plain = "".join(_ALSO.get(char, char) for char in plain)
    for last in range(len(plain), 0, -1):
        if plain[:last] in known:
            return (*known[plain[:last]], 0.0, 0.0, 0.0, 0.0)
    return _vector(plain[1:]) if len(plain) > 1 else ()  # a mark stands in front


def _height(tone: str) -> float:
    """Say how high a tone is, from -1 to 1."""
    level = _LETTERS.find(tone) + 1 or min(unicodedata.digit(tone, 3), _HIGHEST)
    return (level - 3) / 2


@functools.cache
def _table() -> dict[str, tuple[float, ...]]:
    package = find_spec("panphon")
    if package is None or package.origin is None:
        raise ImportError("articulations of phones need PanPhon: pip install 'mtl[phones]'")
    path = Path(package.origin).parent / "data" / "ipa_all.csv"
    with path.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    return {
        unicodedata.normalize("NFD", name): tuple(VALUES[value] for value in values)
        for name, *values in rows
    }
