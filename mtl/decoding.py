"""Decoding: the beam searches of a model, by the languages that it writes."""

import logging
from dataclasses import replace

from mtl.decode.beam import Beam, Search
from mtl.decode.lexicon import HotWordError
from mtl.head import Head
from mtl.languages import SPEECH, writers
from mtl.model import Model

FILES = ("lm", "lexicon")
log = logging.getLogger(__name__)


def beams(model: Model, search: Search, lang: str = "", stream: str = SPEECH) -> dict[str, Beam]:
    """Give a beam search for each task that writes, or for that of `lang` alone.

    The files of `search`, `lm` and `lexicon`, are one for all, or one for each language, as in
    `nl=nl.arpa,cy=cy.arpa`; languages without one do without, and so do those that cannot spell a hot word,
    which is logged. Raises ValueError for files of languages that the model does not write, for one file
    where it writes several, for hot words that none of them can spell, and what `Beam` raises.
    """
    every = writers(model, stream)
    known = _asked(every, lang)
    found, lost = dict[str, Beam](), dict[str, dict[str, str]]()
    for name, task in known.items():
        lm, lexicon = (
            _file(getattr(search, kind), kind, name, list(known), list(every)) for kind in FILES
        )
        own = replace(search, lm=lm, lexicon=lexicon)
        found[task], lost[name] = _beam(model.head(task), own)
    _report(search.hotwords, lost)
    return found


def check_files(model: Model, search: Search, lang: str, stream: str = SPEECH) -> None:
    """Raise ValueError where `search` names files of languages, but none of `lang`: they would lie idle."""
    known = _asked(writers(model, stream), lang)
    for kind in FILES:
        given = getattr(search, kind)
        if "=" in given and not known.keys() & _by_language(given, kind).keys():
            langs = ", ".join(known)
            raise ValueError(f"{kind} {given}: has no file for {langs}, the language asked for")


def _asked(every: dict[str, str], lang: str) -> dict[str, str]:
    """Give the languages asked for, each with its task."""
    if lang and "text" not in every:
        return {lang: every[lang]} if lang in every else {}
    return every


def _beam(head: Head, search: Search) -> tuple[Beam, dict[str, str]]:
    """Build a search, and give the hot words that it does without, with why."""
    try:
        return Beam(head, search), {}
    except HotWordError as error:
        rest = tuple(word for word in search.hotwords if word not in error.reasons)
        return Beam(head, replace(search, hotwords=rest)), error.reasons


def _report(hotwords: tuple[str, ...], lost: dict[str, dict[str, str]]) -> None:
    """Log which languages do without which hot words; raise ValueError where all do without one."""
    for word in hotwords:
        why = [reasons[word] for reasons in lost.values() if word in reasons]
        if why and len(why) == len(lost):
            langs = ", ".join(lost)
            raise ValueError(
                f"hotwords (--hotwords): {word!r} can be spelled in none of {langs}: {why[0]}"
            )
    for lang, reasons in lost.items():
        if reasons:
            some = ", ".join(list(reasons)[:5])
            log.warning(
                "%s does without %d of %d hot words, which it cannot spell, such as %s",
                *(lang, len(reasons), len(hotwords), some),
            )


def _file(given: str, kind: str, lang: str, known: list[str], every: list[str]) -> str:
    """Read "FILE" or "nl=FILE,cy=FILE": the file of a language, "" where it has none."""
    if "=" not in given:
        if given and len(known) > 1:
            raise ValueError(
                f"{kind} {given}: the model writes {', '.join(known)}; say whose: {lang}={given}"
            )
        return given
    files = _by_language(given, kind)
    if strange := [name for name in files if name not in every]:
        langs = ", ".join(every)
        raise ValueError(f"{kind} {given}: the model does not write {strange[0]!r}, but {langs}")
    return files.get(lang, "")


def _by_language(given: str, kind: str) -> dict[str, str]:
    """Read "nl=FILE,cy=FILE". Raises ValueError for a language without a file, or with two."""
    files = dict[str, str]()
    for part in given.split(","):
        name, _, file = (piece.strip() for piece in part.partition("="))
        if not name or not file:
            raise ValueError(f"{kind} {given}: {part!r} names no file; write LANG=FILE,...")
        if name in files:
            raise ValueError(f"{kind} {given}: names two files for {name}; give one")
        files[name] = file
    return files
