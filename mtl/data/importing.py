"""importing: the utterances of another format as a manifest; what cannot be used is named and counted."""

import importlib
import math
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import soundfile

from mtl.atomic import atomic_file
from mtl.data.audio import AudioError, audio_seconds
from mtl.data.imports import FOREIGN, Ask, Found, Skip, Sound, Unusable
from mtl.data.manifest import write_manifest
from mtl.data.sounds import sounds
from mtl.registry import names
from mtl.text import TextRules, normalise


@dataclass
class Report:
    """What became of an import: utterances kept, skips by kind, and languages that were replaced."""

    kept: int = 0
    skips: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    skipped: Path | None = None
    """the file that names every skip, where there are any: place, kind and reason, with tabs between"""
    written: Path | None = None
    """the folder of the audio that the source holds as bytes"""


class Choices(NamedTuple):
    """What holds for all formats: the language of every utterance, and whether texts may be missing."""

    lang: str = ""
    untranscribed: bool = False


Watch = Callable[[Report, Skip | None], None]
_DEFAULT = Choices()


def import_manifest(
    name: str,
    ask: Ask,
    out: Path,
    choices: Choices = _DEFAULT,
    watch: Watch = lambda report, skip: None,
) -> Report:
    """Write the manifest `out` of what `mtl/data/imports/<name>.py` finds; `watch` is called for each item.

    Paths are relative where audio and manifest lie in one folder tree. Audio that the source holds as bytes
    is written to the folder `<out without suffix>_audio`; no other audio is copied. `<out>.skipped.tsv`
    names what was left out. Everything is written or, if anything fails, nothing but that file.

    Raises ValueError for an unknown format, an option that it does not read, a source that is none of
    the format, or where nothing could be imported; ImportError without its extra.
    """
    read, options = _reader(name, ask)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists() and Path(ask.source).exists() and out.samefile(ask.source):
        raise ValueError(f"{out} is what is imported; give another file to write")
    report = Report()
    with ExitStack() as stack:
        skips = stack.enter_context(_skips(out.with_suffix(".skipped.tsv"), report))
        manifest = stack.enter_context(atomic_file(out))
        keep = stack.enter_context(sounds(out.with_name(f"{out.stem}_audio")))
        make = _Rows(ask, out, choices, keep, report)
        make.rooted = "root" in options

        def rows() -> Iterator[dict[str, Any]]:
            for item in read(ask):
                made = item if isinstance(item, Skip) else make.row(item)
                if isinstance(made, Skip):
                    skips(made)
                    watch(report, made)
                    continue
                report.kept += 1
                yield made
                watch(report, None)

        write_manifest(manifest, rows())
        if not report.kept:
            counts = ", ".join(f"{kind} {count}" for kind, count in report.skips.most_common())
            left = (
                f"skipped: {counts}, see {report.skipped}" if counts else "it holds no utterances"
            )
            raise ValueError(f"{ask.source}: nothing could be imported ({left})")
    return report


def _reader(name: str, ask: Ask) -> tuple[Callable[[Ask], Iterator[Found | Skip]], Sequence[str]]:
    """Give what reads a format, and its options."""
    if name not in names("data.imports"):
        raise ValueError(f"no format {name!r}; there are: {', '.join(names('data.imports'))}")
    module = importlib.import_module(f"mtl.data.imports.{name}")
    for option in fields(ask)[1:]:
        if getattr(ask, option.name) and option.name not in module.OPTIONS:
            has = ", ".join(f"--{known}" for known in module.OPTIONS)
            raise ValueError(f"--{option.name} means nothing to {name}; it reads: {has}")
    return module.read, module.OPTIONS


@contextmanager
def _skips(path: Path, report: Report) -> Iterator[Callable[[Skip], None]]:
    """Give a function that counts a skip and writes it to `path`; the file of an earlier import goes."""
    path.unlink(missing_ok=True)
    with ExitStack() as stack:
        file: list[TextIO] = []

        def skip(found: Skip) -> None:
            if not file:
                file.append(
                    stack.enter_context(path.open("w", encoding="utf-8", errors="backslashreplace"))
                )
            report.skips[found.kind] += 1
            report.skipped = path
            file[0].write("\t".join(" ".join(part.split()) for part in found) + "\n")

        yield skip


class _Rows:
    """Makes lines of a manifest from what an importer found, or skips.

    `rooted` says whether its format takes --root.
    """

    rooted = False

    def __init__(
        self,
        ask: Ask,
        out: Path,
        choices: Choices,
        keep: Callable[[Sound], tuple[Path, Path]],
        report: Report,
    ) -> None:
        self._choices, self._keep, self._report = choices, keep, report
        self._ids = set[str]()
        self._seconds = lru_cache(maxsize=64)(audio_seconds)
        self._real = lru_cache(maxsize=1024)(os.path.realpath)
        self._home = Path(self._real(out.parent))
        source = Path(ask.source)
        trees = [self._home, source if source.is_dir() else source.parent, ask.root or self._home]
        around = [Path(self._real(tree)) for tree in trees]
        # The widest folder of these that holds the manifest: inside it paths may be relative.
        self._tree = min(
            (t for t in around if self._home.is_relative_to(t)), key=lambda t: len(t.parts)
        )

    def row(self, found: Found) -> dict[str, Any] | Skip:
        """Give the line of one utterance."""
        try:
            words = self._words(found)
            now, later = self._audio(found)
            row = {"audio_filepath": self._path(later)} | self._times(found, now) | words
            _refuse_halves(row)
        except (Unusable, AudioError) as error:
            return Skip(found.where, getattr(error, "kind", "audio"), str(error))
        if found.id is not None:
            self._ids.add(found.id)
        said = _word("lang", found.lang)
        if said not in (None, row.get("lang")):
            self._report.replaced[str(said)] += 1
        return row

    def _words(self, found: Found) -> dict[str, Any]:
        """Give the fields that are words: id, text, lang, speaker, label."""
        if found.id is not None and found.id in self._ids:
            raise Unusable(
                "id", f"id {found.id!r} is that of an earlier utterance; keep one of them"
            )
        if not isinstance(found.text, str):
            raise Unusable("text", f"text is {found.text!r:.40}; wanted a string")
        text, label = found.text.strip(), _word("label", found.label)
        if label is None and not self._choices.untranscribed and not normalise(text, TextRules()):
            what = f"text {text!r} holds nothing that is spoken" if text else "has no text"
            raise Unusable("text", f"{what}; transcribe it, or keep it with --untranscribed")
        lang = self._choices.lang or _word("lang", found.lang)
        row = {
            "id": found.id,
            "text": text,
            "lang": None if lang is None else str(lang),
            "speaker": _word("speaker", found.speaker),
            "label": label,
        }
        return {name: value for name, value in row.items() if value is not None}

    def _audio(self, found: Found) -> tuple[Path, Path]:
        """Give the file to read now, and where it will lie."""
        if isinstance(found.audio, Sound):
            now, later = self._keep(found.audio)
            self._report.written = later.parents[1]
        else:
            now = later = self._file(found, found.audio)
        if found.channel is not None and (count := _channels(now)) > 1:
            out = later.with_suffix(f".{found.channel}.flac")
            pan = ["-af", f"pan=mono|c0=c{found.channel}"]
            command = shlex.join(["ffmpeg", "-i", str(later), *pan, str(out)])
            message = f"speech is on channel {found.channel} of {count}, and all would be averaged"
            raise Unusable(
                "channel", f"{later}: {message}; write it alone, and name that: {command}"
            )
        return now, later

    def _file(self, found: Found, audio: str) -> Path:
        """Give the file that a path names, or what the command of an earlier skip made of it."""
        if "://" in audio:
            message = f"{audio} is a network address; download it and name the local file"
            raise Unusable("address", message)
        path = found.folder / os.path.expanduser(audio)
        converted = path.with_suffix(".flac") if path.suffix.lower() in FOREIGN else path
        if os.path.isfile(converted):
            return converted
        if not os.path.isfile(path):
            moved = self.rooted and not Path(audio).is_absolute()
            remedy = "if paths start elsewhere, give --root" if moved else "copy it again"
            raise Unusable("missing", f"{path}: no such file; {remedy}")
        command = shlex.join(["ffmpeg", "-i", str(path), str(converted)])
        raise Unusable("format", f"{path}: cannot be read; convert it, and import again: {command}")

    def _times(self, found: Found, path: Path) -> dict[str, float]:
        """Give offset and duration, in seconds, as far as they lie in the file."""
        length = self._seconds(path)
        unit = soundfile.info(str(path)).samplerate if found.samples else 1
        offset = (_number("offset", found.offset) or 0.0) / unit
        seconds = _number("duration", found.seconds)
        seconds = length - offset if seconds is None else seconds / unit
        if not 0 <= offset < length or round(seconds, 6) <= 0:
            raise Unusable(
                "times",
                f"{path}: is {length:.3f} s long; {seconds:g} s from {offset:g} s is no part of it",
            )
        if offset + seconds > length + max(0.05 * seconds, 0.01):  # as far as read_audio allows
            raise Unusable(
                "times",
                f"{path}: is {length:.3f} s long, too short for {seconds:g} s from {offset:g} s; copy "
                "the file again, or correct the times",
            )
        seconds = min(seconds, length - offset)
        # At 0, what is not clearly shorter is the whole file, however the source rounds.
        if offset == 0 and length - seconds <= max(0.05 * seconds, 0.01):
            seconds = length
        times = {"duration": round(seconds, 6)}
        return {"offset": round(offset, 6)} | times if offset else times

    def _path(self, path: Path) -> str:
        real = Path(self._real(path.parent), path.name)
        inside = real.is_relative_to(self._tree)
        return Path(os.path.relpath(real, self._home) if inside else real).as_posix()


def _word(name: str, value: object) -> str | int | None:
    """Give a word of a row, None where it is empty."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if type(value) is int or isinstance(value, str):
        return value.strip() if isinstance(value, str) else value
    raise Unusable("form", f"{name} is {value!r:.40}; wanted a word")


def _refuse_halves(row: dict[str, Any]) -> None:
    for name, value in row.items():
        if isinstance(value, str) and not value.isprintable():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                message = f"{name} {value!r:.60} is not Unicode, so no file can hold it; correct it"
                raise Unusable("form", message) from error


def _number(name: str, value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Unusable("form", f"{name} is {value!r:.40}; wanted a number of seconds")
    return number


def _channels(path: Path) -> int:
    return int(soundfile.info(str(path)).channels)
