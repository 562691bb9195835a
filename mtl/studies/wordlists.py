"""Wordlists: words to hear in training and words not to, said by synthetic voices or by people."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtl.data import espeak
from mtl.data.manifest import Utterance, read_manifest
from mtl.data.render import spoken_code
from mtl.data.synthetic import languages, make_corpus, make_words
from mtl.data.words import WORDS
from mtl.text import TextRules, normalise

NUMBERS = 200  # 0 to 199, the words of a language's lexicon


class Heard(NamedTuple):
    """Utterances to learn from, by what they are; words, of which some are `unheard`; and tests of those."""

    train: Mapping[str, Sequence[Utterance]]
    words: Sequence[str]
    unheard: Sequence[str]
    tests: Sequence[Utterance]


def read_words(path: Path | None) -> list[str]:
    """Read a file of words, one a line, or give the embedded ones. Raises ValueError for fewer than two."""
    if path is None:
        return list(WORDS)
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    words = [normalise(line, TextRules()) for line in lines]
    found = list(dict.fromkeys(filter(None, words)))
    if len(found) < 2:
        raise ValueError(f"{path}: {len(found)} words; write two or more, one on each line")
    return found


def choose(words: Sequence[str], count: int, seed: int) -> list[str]:
    """Choose `count` words to be unheard, always the same for a seed; ValueError for all, or none."""
    if not 0 < count < len(words):
        raise ValueError(f"{count} unheard of {len(words)} words; give 1 to {len(words) - 1}")
    order = np.random.default_rng(seed).permutation(len(words))[:count]
    return sorted(words[index] for index in order.tolist())


def synthetic(
    words: Sequence[str], unheard: Sequence[str], lang: str, takes: int, sentences: int
) -> Heard:
    """Let synthetic voices say each heard word `takes` times, and sentences; others say the unheard twice.

    Cached, and raises, as `mtl.data.synthetic` does.
    """
    heard = [word for word in words if word not in set(unheard)]
    said = read_manifest(make_words(lang, heard, takes, dev=0, test=0)["train"])
    if sentences:
        said += read_manifest(make_corpus({lang: sentences}, dev=0, test=0)["train"])
    tests = read_manifest(make_words(lang, unheard, 0, dev=0, test=2)["test"])
    return Heard({"synthetic": said}, words, unheard, [_named(test) for test in tests])


def recorded(path: Path, lang: str, unheard: int, seed: int, takes: int, sentences: int) -> Heard:
    """Read recordings of single words: those of heard words to learn from beside synthetic voices.

    Tests are recordings of unheard words. Raises ValueError where there are too few words in the language.
    """
    found = [_named(u) for u in read_manifest(path) if u.lang == lang]
    words = sorted({str(utterance.label) for utterance in found})
    chosen = choose(words, unheard, seed)
    made = synthetic(words, chosen, lang, takes, sentences).train["synthetic"]
    real = in_ipa([u for u in found if u.label not in chosen])
    tests = [u for u in found if u.label in chosen]
    return Heard({"synthetic": made, "synthetic and real": [*made, *real]}, words, chosen, tests)


def numbered(langs: Sequence[str], sentences: int, small: bool = False) -> dict[str, Heard]:
    """Let synthetic voices say sentences of each language and, others, the numbers 0 to 199.

    Raises ValueError for a language that cannot be spoken.
    """
    corpus = make_corpus(dict.fromkeys(langs, sentences), dev=0, test=0)["train"]
    said = read_manifest(corpus)
    found = {}
    for lang in langs:
        path = make_words(lang, range(8 if small else NUMBERS), 0, dev=0, test=1)["test"]
        tests = [replace(u, label=u.text) for u in read_manifest(path)]
        words = list(dict.fromkeys(str(test.label) for test in tests))
        train = [utterance for utterance in said if utterance.lang == lang]
        found[lang] = Heard({"synthetic": train}, words, words, tests)
    return found


def counted(path: Path, langs: Sequence[str], sentences: int) -> dict[str, Heard]:
    """Read recordings of a few words in many languages; none of `langs` takes all there are.

    Synthetic voices say sentences of those languages that they can. Raises ValueError for a language
    without recordings, or that espeak-ng does not know.
    """
    said = [_named(utterance) for utterance in read_manifest(path)]
    known = sorted({utterance.lang for utterance in said})
    if lost := [lang for lang in langs if lang not in known]:
        raise ValueError(f"{path}: no recording in {lost[0]!r}; it has: {', '.join(known)}")
    chosen = list(langs or known)
    for lang in chosen:
        espeak.check("language", spoken_code(lang), espeak.languages())
    spoken = [lang for lang in chosen if lang in languages()]
    made = read_manifest(make_corpus(dict.fromkeys(spoken, sentences), dev=0, test=0)["train"])
    found = {}
    for lang in chosen:
        real = [utterance for utterance in said if utterance.lang == lang]
        words = sorted({str(utterance.label) for utterance in real})
        train = [utterance for utterance in made if utterance.lang == lang]
        found[lang] = Heard({"synthetic and real": [*train, *in_ipa(real)]}, words, words, real)
    return found


def deal(langs: Sequence[str], turns: int) -> list[tuple[str, ...]]:
    """Deal languages into turns in which they are left out; 0 leaves out one at a time.

    Raises ValueError where a turn would leave no other to learn from.

    >>> deal(["de", "en", "nl"], 2)
    [('de', 'nl'), ('en',)]
    """
    count = turns or len(langs)
    if not 2 <= count <= len(langs):
        raise ValueError(f"{turns} folds of {len(langs)} languages: give 2 to {len(langs)}, or 0")
    return [tuple(langs[turn::count]) for turn in range(count)]


def in_ipa(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Let espeak-ng (extra `corpus`) pronounce what has no phonemes yet."""
    return [
        u if u.phonemes else replace(u, phonemes=espeak.ipa(u.text, spoken_code(u.lang)))
        for u in utterances
    ]


def _named(utterance: Utterance) -> Utterance:
    """Let the text be the label."""
    return replace(utterance, label=normalise(utterance.text, TextRules()))
