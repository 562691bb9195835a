"""Varied: small problems that are more or less alike, of pictures and of speech, to transfer between."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtl.data.digits import CLASSES, blended, digits, glyphs
from mtl.data.fonts import letters
from mtl.data.images import hold_out
from mtl.data.manifest import Utterance, read_manifest
from mtl.data.pictures import Picture
from mtl.data.synthetic import make_words
from mtl.gallery import read_galleries
from mtl.problem import Pictures, Recordings

SHUFFLED = "shuffled"  # a source whose labels mean nothing
SCRIPTS = ("GREEK", "CYRILLIC", "ARMENIAN")
LANGUAGES = ("de", "en", "es", "fr", "it", "nl")
WOMEN = {"f1", "f2", "f4", "f5", "aunty", "linda", "belinda", "anika", "Alicia"}
Problems = Mapping[str, Pictures | Recordings]


def pictured(small: bool = False) -> dict[str, Pictures]:
    """Give problems of signs: handwritten, drawn, over coloured patches, and letters of several scripts."""
    count = 6 if small else 60
    found = {"handwritten": Pictures(*hold_out(digits()[: 200 if small else None], 0.5))}
    half = len(CLASSES) // 2 + 5  # the digits are 10 of all
    parts = {"drawn": CLASSES[:10], "capitals-1": CLASSES[10:half], "capitals-2": CLASSES[half:]}
    for seed, (name, signs) in enumerate(parts.items()):
        found[name] = Pictures(*hold_out(glyphs(count * len(signs), signs, seed), 0.4))
    over = found["drawn"]
    found["patched"] = Pictures(blended(over.train, 1), blended(over.test, 2))
    drawn = letters()
    for script in SCRIPTS:
        own = [p for p in drawn if unicodedata.name(p.label).startswith(f"{script} CAPITAL")]
        found[script.lower()] = Pictures(*hold_out(_whole(own), 0.4))
    return found


def spoken(small: bool = False) -> dict[str, Recordings]:
    """Give problems of digits said in several languages, and of English ones said by women and by men.

    Raises ImportError without `mtl[corpus]`.
    """
    found = {}
    for lang in LANGUAGES[:2] if small else LANGUAGES:
        made = make_words(lang, range(10), 2 if small else 30, dev=0, test=1 if small else 20)
        train, test = (_said(read_manifest(made[part])) for part in ("train", "test"))
        found[lang] = Recordings(train, test)
    said = [*found["en"].train]
    for name, own in (("en-women", True), ("en-men", False)) if not small else ():
        train, test = _by_voice([u for u in said if (u.speaker in WOMEN) == own])
        found[name] = Recordings(train, test)
    return found


def given(data: Sequence[Path], deep: Sequence[str] = ()) -> dict[str, Pictures]:
    """Read .npz files and folders of classes, a problem each. Raises ValueError as `read_galleries` does."""
    found = {}
    for gallery in read_galleries(data, deep=deep):
        train, test = list(gallery.train), list(gallery.test)
        found[gallery.name] = Pictures(*((train, test) if test else hold_out(train, 0.4)))
    return found


def shuffled(problem: Pictures, seed: int = 0) -> Pictures:
    """Give all training pictures a class by chance.

    >>> from mtl.data.digits import digits
    >>> some = Pictures(digits()[:20], digits()[20:30])
    >>> sorted(p.label for p in shuffled(some).train) == sorted(p.label for p in some.train)
    True
    """
    order = np.random.default_rng(seed).permutation(len(problem.train))
    labels = [problem.train[place].label for place in order]
    mixed = [replace(p, label=label) for p, label in zip(problem.train, labels, strict=True)]
    return Pictures(mixed, problem.test)


def _whole(pictures: Sequence[Picture]) -> list[Picture]:
    """Keep the classes of which there are 6 pictures at least."""
    labels = [picture.label for picture in pictures]
    return [picture for picture in pictures if labels.count(picture.label) >= 6]


def _said(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Let classes count, and no texts."""
    return [replace(u, text="", label=str(u.label)) for u in utterances]


def _by_voice(said: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Hold out every third voice."""
    held = set(sorted({u.speaker for u in said})[::3])
    return [u for u in said if u.speaker not in held], [u for u in said if u.speaker in held]
