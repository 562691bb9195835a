"""Lexicon: the words that a search may write, and the symbols that spell them."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mtl.text import SymbolError

HOMOPHONES = 6  # that flashlight keeps
RESERVED = ("<s>", "</s>", "<unk>")  # that lexicons of other programs list, and no one says
T = TypeVar("T")
log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """A word: its name to the language model, how it is written, and a spelling in symbol numbers."""

    name: str
    text: str
    spelling: tuple[int, ...]
    given: bool = False  # by the lexicon, not by the head


class HotWordError(SymbolError):
    """Hot words that a head cannot spell; `reasons` gives all of them, each with why."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        word, why = next(iter(reasons.items()))
        super().__init__(f"hot word {word!r}: {why}")
        self.reasons = dict(reasons)


def spell_all(hotwords: Iterable[str], spell: Callable[[str], T]) -> list[T]:
    """Let `spell` spell each hot word. Raises HotWordError for all at which it raises ValueError."""
    found, reasons = [], dict[str, str]()
    for hot in hotwords:
        try:
            found.append(spell(hot))
        except ValueError as error:
            missing = error.missing if isinstance(error, SymbolError) else ()
            names = ", ".join(map(repr, missing))
            reasons[hot] = f"the head has no symbol for {names}" if names else str(error)
    if reasons:
        raise HotWordError(reasons)
    return found


def spell(words: Iterable[str], head: Any, source: str) -> list[Entry]:
    """Let a head spell words by its own rules; those that it cannot are left out, counted and logged.

    `source` says where the words are from. Raises ValueError where none is left.

    >>> from mtl.heads.ctc import CTC
    >>> spell(["A", "bad"], CTC(["a", "b"]), "the example")
    [Entry(name='A', text='a', spelling=(1,), given=False)]
    """
    entries, lost = [], []
    for word in words:
        try:
            text = head.reference(word)
            entries.append(Entry(word, text, tuple(head.encode(word).tolist())))
        except ValueError:  # symbols outside the vocabulary, or none left of the word
            lost.append(word)
    if not entries:
        raise ValueError(
            f"{source}: the head can spell none of its {len(lost)} words; {_has(head)}"
        )
    if lost:
        some = ", ".join(lost[:5])
        log.warning(
            "%s: the head cannot spell %d of %d words, which are left out, such as %s",
            *(source, len(lost), len(lost) + len(entries), some),
        )
    return entries


def lexicon(
    path: str, words: Sequence[str], hotwords: Sequence[str], head: Any
) -> tuple[list[Entry], list[str]]:
    """Make the lexicon of a search: of a file or, without one, of a language model's words; and of hot words.

    Gives the hot words as the lexicon writes them, too. Raises ValueError where no word is spelled,
    HotWordError for hot words that nothing spells.
    """
    if not path and "cer" not in head.metrics:
        raise ValueError("a head that writes no letters needs a lexicon, which spells words for it")
    entries = read_lexicon(path, head) if path else spell(words, head, "the language model")
    known = {entry.text for entry in entries}

    def join(hot: str) -> str:
        """Write a hot word as the lexicon does, which it joins."""
        parts = hot.split() if known.issuperset(hot.split()) else head.reference(hot).split()
        for part in parts:
            if part not in known and any(entry.given for entry in entries):
                raise ValueError(f"{path} has no line that spells {part!r}")
            if part not in known:
                entries.extend(spell([part], head, repr(part)))
                known.add(part)
        return " ".join(parts)

    texts = spell_all(hotwords, join)
    return _limited(entries), [text for text in texts if text]


def read_lexicon(path: str | Path, head: Any) -> list[Entry]:
    """Read a lexicon: a line for each word, with its symbols behind it where it is not spelled as written.

    A word may have several lines; among symbols `|` is the space, unless the head has it. Raises ValueError
    naming the line of a symbol that the head does not have, and where the file holds no word to spell.
    """
    path = Path(path)
    index = {symbol: number for number, symbol in enumerate(head.symbols, 1)}
    if " " in index:
        index.setdefault("|", index[" "])
    entries: list[Entry] = []
    plain: dict[str, None] = {}
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            word, *symbols = line.split() or [""]
            if word in RESERVED:
                continue
            if unknown := [symbol for symbol in symbols if symbol not in index]:
                raise ValueError(
                    f"{path}:{number}: {word!r} is spelled with {unknown[0]!r}; {_has(head)}"
                )
            if symbols:
                entries.append(Entry(word, word, tuple(index[s] for s in symbols), True))
            elif word:
                plain[word] = None
    if not plain and not entries:
        raise ValueError(f"{path}: holds no words; write one on each line")
    if plain:
        entries += spell(plain, head, str(path))
    return list(dict.fromkeys(entries))


def _limited(entries: Sequence[Entry]) -> list[Entry]:
    """Leave out, and log, words of which the decoder cannot tell more apart by one spelling."""
    spelled = Counter[tuple[int, ...]]()
    kept = []
    for entry in entries:
        spelled[entry.spelling] += 1
        if spelled[entry.spelling] <= HOMOPHONES:
            kept.append(entry)
    if lost := len(entries) - len(kept):
        log.warning("%d words are left out: more than %d are spelled alike", lost, HOMOPHONES)
    return kept


def _has(head: Any) -> str:
    some = ", ".join(repr(symbol) for symbol in head.symbols[:40])
    return f"the head has: {some}" + ", ..." * (len(head.symbols) > 40)
