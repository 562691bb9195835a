"""Decoding: the beam searches of a model, by the languages that it writes."""

from dataclasses import replace

from mtl.decode.beam import Beam, Search
from mtl.languages import SPEECH, writers
from mtl.model import Model


def beams(model: Model, search: Search, lang: str = "", stream: str = SPEECH) -> dict[str, Beam]:
    """Give a beam search for each task that writes, or for that of `lang` alone.

    The files of `search`, `lm` and `lexicon`, are one for all, or one for each language, as in
    `nl=nl.arpa,cy=cy.arpa`; languages without one do without. Raises ValueError for files of languages that
    the model does not write, for one file where it writes several, and what `Beam` raises.
    """
    known = every = writers(model, stream)
    if lang and "text" not in every:
        known = {lang: every[lang]} if lang in every else {}
    found = {}
    for name, task in known.items():
        lm, lexicon = (
            _file(getattr(search, kind), kind, name, list(known), list(every))
            for kind in ("lm", "lexicon")
        )
        found[task] = Beam(model.head(task), replace(search, lm=lm, lexicon=lexicon))
    return found


def _file(given: str, kind: str, lang: str, known: list[str], every: list[str]) -> str:
    """Read "FILE" or "nl=FILE,cy=FILE": the file of a language, "" where it has none."""
    if "=" not in given:
        if given and len(known) > 1:
            raise ValueError(
                f"{kind} {given}: the model writes {', '.join(known)}; say whose: {lang}={given}"
            )
        return given
    pairs = [part.partition("=") for part in given.split(",")]
    files = {name.strip(): file.strip() for name, _, file in pairs}
    if strange := [name for name in files if name not in every]:
        langs = ", ".join(every)
        raise ValueError(f"{kind} {given}: the model does not write {strange[0]!r}, but {langs}")
    return files.get(lang, "")
