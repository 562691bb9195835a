"""Imports: the formats that `mtl data import` reads, one file each, and what several of them need.

A format's file has `read(ask)`, which yields a `Found` for each utterance and a `Skip` for each that must
be left out, and `OPTIONS`: the fields of `Ask` that it reads. The first line of its docstring is its help.
Whether the audio is there and good is looked at by `mtl.data.importing`, for all formats alike.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

FIELDS = ("audio", "text", "lang", "speaker", "id", "label")
LEVELS = ("lang", "speaker", "label", "-")

# By suffix, lower case: what libsndfile reads, and what ffmpeg has to convert first.
_READABLE = "wav flac ogg oga opus mp3 aiff aif aifc au snd sph w64 rf64 caf"
_FOREIGN = "m4a m4b mp4 aac wma webm amr 3gp mkv mka mov ac3 ape ra wv"
READABLE, FOREIGN = ({f".{name}" for name in names.split()} for names in (_READABLE, _FOREIGN))


@dataclass(frozen=True)
class Ask:
    """What to import: a folder, file or hub id, and choices that not every format reads.

    `columns` names the source's column for a field of `FIELDS`, `folders` what the levels of folders above
    an audio file mean, from the top, each one of `LEVELS`.
    """

    source: str
    split: str = ""
    subset: str = ""
    root: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


class Sound(NamedTuple):
    """An audio file that the source holds as bytes, and a name for the file to write."""

    name: str
    data: bytes


class Found(NamedTuple):
    """An utterance as the source describes it, its values still unchecked.

    `where` is its place for messages; a relative `audio` starts at `folder`; `offset` and `seconds` are
    numbers or their spelling, None where the source gives none, and count samples of the file where
    `samples` is set; `channel` (from 0) is set where one channel of the file, not their mean, is meant.
    """

    where: str
    audio: str | Sound
    folder: Path = Path()
    text: object = ""
    lang: object = None
    speaker: object = None
    id: str | None = None
    label: object = None
    offset: object = None
    seconds: object = None
    samples: bool = False
    channel: int | None = None


class Skip(NamedTuple):
    """An utterance that is left out: its place, a word to count by, and what is wrong, with the remedy."""

    where: str
    kind: str
    message: str


class Unusable(ValueError):
    """What makes a `Skip` of an utterance: `kind` is the word to count by."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""Give (number, line) of a text file in UTF-8, blank lines left out; only "\n" ends a line.

    Raises ValueError for a file that is missing or in another encoding.
    """
    if path.is_dir():
        held = ", ".join(sorted(f.name for f in path.iterdir() if f.is_file())[:5]) or "none"
        raise ValueError(f"{path}: is a folder; name a file of it: {held}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                remedy = "find out its encoding and convert it, such as iconv -f latin1 -t utf-8"
                raise ValueError(f"{path}:{number}: is not UTF-8; {remedy}") from error
            if line.strip():
                yield number, line.rstrip("\r\n")


def column(ask: Ask, name: str, usual: Collection[str], there: Collection[str]) -> str | None:
    """Give the source's column for the field `name`: the one asked for, else the first usual one.

    Raises ValueError where the one asked for is not there.

    >>> column(Ask("x"), "text", ("sentence", "text"), ["id", "text"])
    'text'
    """
    wanted = ask.columns.get(name)
    if wanted is None:
        return next((usually for usually in usual if usually in there), None)
    if wanted not in there:
        has = ", ".join(map(str, there))
        raise ValueError(f"{ask.source}: has no column {wanted!r} for {name}; it has: {has}")
    return wanted
