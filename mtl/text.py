"""text: transcripts as symbols. One set of rules for Unicode form, case and punctuation."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal, get_args

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
Case = Literal["lower", "upper", "keep"]
Punctuation = Literal["remove", "keep"]

# Quotes and accents that keyboards give for an apostrophe. The okina U+02BB is a letter: it stays.
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u2032\uff07\u0060\u00b4"), "'")
_SPACING = frozenset("/\\\u2026\u2212")  # slashes, ellipsis and minus part words, as dashes do
_SPOKEN = frozenset("%&@#\u00a7\u2030")  # punctuation to Unicode, words to a speaker
_JOINERS = "\u200c\u200d"  # invisible, yet Persian and Indic spelling needs them inside a word
_STRAY_JOINERS = re.compile(f"(?<!\\S)[{_JOINERS}]+|[{_JOINERS}]+(?!\\S)")


class SymbolError(ValueError):
    """A text holds symbols that a vocabulary lacks; `missing` lists them, where they are known."""

    missing: Sequence[str] = ()


@dataclass(frozen=True)
class TextRules:
    """How transcripts are written; `dataclasses.asdict` of it goes into a model's config.

    `form` is the Unicode form; `keep` lists punctuation that survives its removal.
    Raises ValueError for a choice that does not exist.

    >>> TextRules(case="title")
    Traceback (most recent call last):
    ValueError: case is 'title'; it can be: lower, upper, keep
    """

    form: Form = "NFC"
    case: Case = "lower"
    punctuation: Punctuation = "remove"
    keep: str = "'"

    def __post_init__(self) -> None:
        for name, choices in (("form", Form), ("case", Case), ("punctuation", Punctuation)):
            value, allowed = getattr(self, name), get_args(choices)
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; it can be: {', '.join(allowed)}")


class _Table(dict[int, str]):
    """What each code point becomes, for `str.translate`; filled as characters turn up."""

    def __init__(self, rules: TextRules):
        super().__init__()
        self.rules = rules

    def __missing__(self, code: int) -> str:
        self[code] = becomes = self._becomes(chr(code))
        return becomes

    def _becomes(self, char: str) -> str:
        if char.isspace():
            return " "
        if char in self.rules.keep or char in _JOINERS:
            return char
        kind = unicodedata.category(char)
        # Control and format characters, halves of surrogate pairs, emoji variants: never spoken.
        if kind in ("Cc", "Cf", "Cs") or "\ufe00" <= char <= "\ufe0f":
            return ""
        if self.rules.punctuation == "keep":
            return char
        if kind in ("Pd", "Pc") or char in _SPACING:
            return " "
        return "" if kind[0] in "PS" else char


_table = lru_cache(maxsize=64)(_Table)


def normalise(text: str, rules: TextRules) -> str:
    """`text` written by `rules`; doing it twice changes nothing.

    Typographic apostrophes become ', dashes and slashes a space, other punctuation and signs
    (Unicode P*, S*) vanish unless in `rules.keep`, white space becomes single spaces.

    Lower case is Unicode's, which knows no language. Turkish and Azeri `I` becomes `i`, not `ı`:
    lower such texts yourself first. `İ` becomes a plain `i`, without the loose dot U+0307.

    >>> normalise("  It’s a WELL-known  café… ", TextRules())
    "it's a well known café"
    """
    text = unicodedata.normalize(rules.form, text.translate(_APOSTROPHES))
    if rules.case == "lower":
        text = text.lower().replace("i\u0307", "i")
    elif rules.case == "upper":
        text = text.upper()
    text = _STRAY_JOINERS.sub("", text.translate(_table(rules)))
    # Again: lowering and removal can bring a letter and its accent together.
    return unicodedata.normalize(rules.form, " ".join(text.split()))


def symbols(texts: Iterable[str]) -> list[str]:
    """The distinct characters of `texts`, sorted by code point.

    >>> symbols(["bad", "cab"])
    ['a', 'b', 'c', 'd']
    """
    return sorted(set().union(*texts))


def dropped_signs(texts: Iterable[str], rules: TextRules) -> Counter[str]:
    """Count the signs that speakers say as words and `normalise` drops: currencies, %, +, degrees, ...

    >>> dropped_signs(["it's 5 € + 3 €"], TextRules())
    Counter({'€': 2, '+': 1})
    """
    counts = Counter(char for text in texts for char in text)
    spoken = {"Sc", "Sm", "So"}  # and not Sk, marks such as ^
    return Counter(
        {
            char: count
            for char, count in counts.items()
            if (unicodedata.category(char) in spoken or char in _SPOKEN)
            and not normalise(char, rules)
        }
    )


def encode(text: Sequence[str], index: Mapping[str, int]) -> list[int]:
    """The id of each symbol of a text, which is a string of characters or a list of longer symbols.

    Raises `SymbolError` for those that `index` lacks.

    >>> encode("abba", {"a": 1, "b": 2})
    [1, 2, 2, 1]
    >>> encode("año", {"a": 1, "o": 2})
    Traceback (most recent call last):
    mtl.text.SymbolError: 'año' has symbols outside the vocabulary of 2: 'ñ' (U+00F1); ...
    """
    try:
        return [index[symbol] for symbol in text]
    except KeyError:
        missing = sorted(set(text) - set(index))
    codes = [" ".join(f"U+{ord(char):04X}" for char in symbol) for symbol in missing]
    names = ", ".join(f"{symbol!r} ({code})" for symbol, code in zip(missing, codes, strict=True))
    error = SymbolError(
        f"{''.join(text)!r} has symbols outside the vocabulary of {len(index)}: {names}; "
        "normalise the text with the model's rules, build the vocabulary from these texts too, or "
        "add them: mtl symbols --add"
    )
    error.missing = missing
    raise error


def repeats(ids: Sequence[int]) -> int:
    """How often a symbol follows itself. CTC needs `len(ids) + repeats(ids)` frames.

    >>> repeats([1, 2, 2, 2, 1])
    2
    """
    return sum(a == b for a, b in pairwise(ids))
