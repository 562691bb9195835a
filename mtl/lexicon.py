"""lexicon: words and how they are spelled in a head's symbols, for a beam search that writes only words.

A file has a line for each spelling, the word and its symbols with a tab between: `goed<TAB>ɣ u t`. Several
lines may spell one word. A space among the symbols, which IPA of one word may have, is written `|`.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from mtl.atomic import atomic_text
from mtl.data import espeak
from mtl.heads.ctc import CTC
from mtl.heads.phoneme import Phoneme
from mtl.text import SymbolError, TextRules, normalise

Lexicon = dict[str, list[list[str]]]  # word -> spellings -> symbols
SPACE, BREAK = " ", "|"  # the symbol, and how a file has it


class LexiconError(ValueError):
    """A file that is no lexicon; the message names file, line and remedy."""


class Left(NamedTuple):
    """A word that was left out, and why; `where` is file:line if it comes from a file."""

    word: str
    reason: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.where}: " * bool(self.where) + f"{self.word!r}: {self.reason}"


def spell(
    head: CTC, words: Iterable[str], lang: str = "", rules: TextRules | None = None
) -> tuple[Lexicon, list[Left]]:
    """Spell words in the symbols of `head`, and list those that cannot be.

    Words are written by the head's rules. A head of phones has none: there they are written by `rules`, and
    espeak-ng (extra `corpus`) says how the language `lang` pronounces them. No spelling holds what parts it
    from the next word, unless that begins a piece. Raises ValueError where `lang` is needed and missing or
    unknown.

    >>> lexicon, left = spell(CTC(["a", "b"]), ["Ab!", "abc"])
    >>> lexicon, [word.word for word in left]
    ({'ab': [['a', 'b']]}, ['abc'])
    """
    spoken = isinstance(head, Phoneme)
    if spoken and not lang:
        raise ValueError(
            "a head of phones needs the language of the words: give lang, such as 'de'"
        )
    if spoken:
        espeak.check("language", lang, espeak.languages())
    lexicon, left = Lexicon(), list[Left]()
    for given in words:
        word = normalise(given, rules or TextRules()) if spoken else head.reference(given)
        try:
            if not word or SPACE in word:
                raise ValueError(f"the rules make it {word!r}, which is no single word")
            ids = head.encode(espeak.ipa(given, lang) if spoken else word).tolist()
        except ValueError as error:
            lost = error.missing if isinstance(error, SymbolError) else ()
            left.append(Left(given, _lacks(head, lost) if lost else str(error)))
            continue
        _enter(lexicon, word, [head.symbols[index - 1] for index in ids])
    return lexicon, left


def read_lexicon(path: str | Path, head: CTC | None = None) -> tuple[Lexicon, list[Left]]:
    """Read a lexicon; spellings with symbols that `head` lacks are left out and listed.

    Kaldi's form, with a space behind the word, is read as well. Raises LexiconError, naming file and line,
    for a line without a spelling or text that is not UTF-8, FileNotFoundError where there is no file.
    """
    path = Path(path)
    known = None if head is None else set(head.symbols)
    lexicon, left = Lexicon(), list[Left]()
    for where, line in _lines(path):
        word, spelling = _parse(where, line)
        lost = [] if known is None else sorted(set(spelling) - known)
        if lost:
            left.append(Left(word, _lacks(cast(CTC, head), lost), where))
        else:
            _enter(lexicon, word, spelling)
    return lexicon, left


def write_lexicon(path: str | Path, lexicon: Lexicon) -> None:
    """Write a lexicon in the order it has, the whole file or nothing.

    Raises ValueError for what no line can hold.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_lexicon(Path(folder, "nl.txt"), {"goed": [["ɣ", "u", "t"]]})
    ...     read_lexicon(Path(folder, "nl.txt"))
    ({'goed': [['ɣ', 'u', 't']]}, [])
    """
    lines = [_line(word, spelling) for word, found in lexicon.items() for spelling in found]
    atomic_text(Path(path), "".join(f"{line}\n" for line in lines))


def describe_left(left: Sequence[Left], total: int) -> list[str]:
    """Sum up for a person: how many were left out of `total` words or lines, and the first of them."""
    return [f"left out {len(left)} of {total} words, such as {left[0]}"] if left else []


def _lacks(head: CTC, lost: Iterable[str]) -> str:
    names = ", ".join(map(repr, lost))
    return f"the head has {len(head.symbols)} symbols, but not {names}"


def _enter(lexicon: Lexicon, word: str, spelling: list[str]) -> None:
    """Put a spelling in, once."""
    found = lexicon.setdefault(word, [])
    if spelling not in found:
        found.append(spelling)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Give file:line and text of the lines that hold any."""
    for number, raw in enumerate(path.read_bytes().split(b"\n"), 1):
        where = f"{path.name}:{number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            raise LexiconError(f"{where}: not UTF-8 ({error.reason}): convert the file") from error
        if line.strip():
            yield where, line


def _parse(where: str, line: str) -> tuple[str, list[str]]:
    """Part a line into word and symbols."""
    word, _, rest = line.partition("\t") if "\t" in line else line.strip().partition(" ")
    word, spelling = word.strip(), [SPACE if s == BREAK else s for s in rest.split()]
    if not word or not spelling:
        raise LexiconError(f"{where}: {line!r} spells nothing: write WORD, a tab, and its symbols")
    if len(word.split()) > 1:
        raise LexiconError(f"{where}: {word!r} is more than one word: give each a line")
    return word, spelling


def _line(word: str, spelling: Sequence[str]) -> str:
    """Write a line that `_parse` reads as the same word and spelling."""
    line = f"{word}\t{' '.join(BREAK if symbol == SPACE else symbol for symbol in spelling)}"
    if "\n" in line or "\r" in line or BREAK in spelling:
        raise ValueError(f"word {word!r}: no line can hold the symbols {list(spelling)}")
    if _parse(repr(word), line) != (word, list(spelling)):
        raise ValueError(f"word {word!r}: no line can hold the symbols {list(spelling)}")
    return line
