"""manifest: utterances as JSON lines, a superset of NeMo's format."""

import json
import logging
import os
import random
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from mtl.atomic import atomic_file
from mtl.data.audio import AudioError, audio_seconds, read_frames

log = logging.getLogger(__name__)

FRAMES_PER_SECOND = 100  # of precomputed features, where a line gives no duration

_WORDS = ("audio_filepath", "feature_path", "feature_key", "text", "phonemes", "lang")
_POSITIVE = ("duration", "num_frames")
_FIELDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_WORDS, (str,)),
    **dict.fromkeys(("id", "speaker", "label"), (str, int)),
    **dict.fromkeys(("duration", "offset", "weight"), (int, float)),
    "num_frames": (int,),
}
_SHOWN = 10  # defects in one error message


class ManifestError(ValueError):
    """A manifest that cannot be used; the message lists file:line, defect and remedy."""


class Defect(NamedTuple):
    """What is wrong with one line: `where` is file:line, `kind` a word to group by."""

    where: str
    id: str
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One line of a manifest: a stretch of sound, or precomputed frames, and what is known of it.

    `seconds` is its length and `offset` its start in the file, in seconds. At least one of
    `audio` and `features` is set; `key` names the array in a .npz of features.
    """

    id: str
    text: str
    lang: str
    speaker: str
    seconds: float
    audio: Path | None
    offset: float
    features: Path | None
    key: str | None
    label: str | int | None
    phonemes: str | None
    weight: float
    line: int
    manifest: Path

    @property
    def where(self) -> str:
        """Its place for messages, such as `train.jsonl:12`."""
        return f"{self.manifest.name}:{self.line}"


def read_manifest(path: str | Path) -> list[Utterance]:
    """The utterances of a manifest, in its order.

    Each line is a JSON object with `audio_filepath`, or `feature_path` and/or `feature_key` (an
    array in the .npz named like the manifest), paths being relative to the manifest. Optional:
    `duration` (else the header's), `text`, `lang` ("und"), `speaker` ("unknown"), `id` (else from
    the file's name), `offset`, `label`, `phonemes`, `weight`.

    A manifest is trusted as a command's arguments are: its paths may be absolute or lead elsewhere, where
    files are read as sound or arrays and never written or run.

    Raises `ManifestError` naming the first ten defects. Whether the files exist and hold good
    sound is not looked at here: see `mtl.data.check`.
    """
    utterances: list[Utterance] = []
    defects: list[Defect] = []
    for item in parse_manifest(path):
        if isinstance(item, Defect):
            defects.append(item)
        else:
            utterances.append(item)
    if defects:
        shown = [f"  {defect}" for defect in defects[:_SHOWN]]
        if len(defects) > _SHOWN:
            shown.append(f"  ... and {len(defects) - _SHOWN} more")
        raise ManifestError("\n".join([f"{path}: {len(defects)} defect(s)", *shown]))
    return utterances


def parse_manifest(path: str | Path) -> Iterator[Utterance | Defect]:
    """One `Defect` for each thing wrong with the form of a line, and the `Utterance` if there is one.

    Raises `ManifestError` only for a manifest that is missing or has no lines.
    """
    path = Path(path)
    folder = path.parent  # once: each call makes a new Path
    lines: dict[str, int] = {}  # id -> where it was first seen
    measured = 0
    for line, record in _records(path):
        where = f"{path.name}:{line}"
        if isinstance(record, str):
            yield Defect(where, "", "json", record)
            continue
        problems = _problems(record)
        if problems:
            yield from (Defect(where, str(record.get("id", "")), "form", p) for p in problems)
            continue
        name = _name(record, line, lines)
        first = lines.setdefault(name, line)
        if first != line:
            message = f"id {name!r} is that of line {first} too; make ids unique, or drop them"
            yield Defect(where, name, "id", message)
        measured += record.get("duration") is None
        try:
            yield _utterance(record, name, line, path, folder)
        except AudioError as error:
            yield Defect(where, name, "audio", str(error))
    if measured:
        log.info("%s: %d lines without duration, taken from the files", path, measured)


def write_manifest(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows` as JSON lines: the whole file or, if anything fails, nothing.

    Paths may be `Path` objects. Raises ValueError for NaN, which is not JSON, and `mtl.atomic.DiskFull`.
    """
    with atomic_file(Path(path)) as new, new.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False, default=os.fspath))
            file.write("\n")


def hold_out(
    utterances: Sequence[Utterance], share: float = 0.1, seed: int = 0, speakers: bool = True
) -> tuple[list[Utterance], list[Utterance]]:
    """Split into (train, dev), about `share` of each language in dev, and log how.

    A language with three speakers or more gives whole speakers, so that dev measures new voices,
    unless `speakers` is False; another gives single utterances. A language with one utterance keeps
    it in train. A speaker counts per language. The choice depends on `seed`, ids and speakers, not
    on the order.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; wanted a fraction between 0 and 1, such as 0.1")
    langs: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        langs[utterance.lang].append(utterance)
    held: set[tuple[Path, int]] = set()
    for lang, group in sorted(langs.items()):
        voices = {u.speaker for u in group}
        by_speaker = speakers and len(voices) >= 3
        units: dict[str, list[Utterance]] = defaultdict(list)
        for u in group:
            units[u.speaker if by_speaker else f"{u.id} {u.manifest}"].append(u)
        chosen = _choose({k: len(v) for k, v in units.items()}, share, f"{seed} {lang}")
        held.update((u.manifest, u.line) for name in chosen for u in units[name])
        count = sum(len(units[name]) for name in chosen)
        what = f"{len(chosen)} of {len(units)} speakers" if by_speaker else "single utterances"
        log.info("held out of %s: %d of %d utterances (%s)", lang, count, len(group), what)
    train = [u for u in utterances if (u.manifest, u.line) not in held]
    return train, [u for u in utterances if (u.manifest, u.line) in held]


def _choose(sizes: Mapping[str, int], share: float, seed: str) -> list[str]:
    if len(sizes) < 2:
        return []
    names = sorted(sizes)
    random.Random(seed).shuffle(names)
    target = share * sum(sizes.values())
    chosen: list[str] = []
    held = 0
    for name in names:
        # One speaker who said nearly everything must not end up in dev.
        if held < target and held + sizes[name] <= 1.5 * target:
            chosen.append(name)
            held += sizes[name]
    return chosen or [min(names, key=sizes.__getitem__)]


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line number, object or what is wrong with the line), blank lines left out."""
    if not path.is_file():
        raise ManifestError(f"{path}: no such manifest; wanted a file of JSON lines")
    empty = True
    with path.open("rb") as file:
        if b"\0" in file.peek(1024)[:1024]:
            raise ManifestError(f"{path}: is no text; wanted a file of JSON lines, in UTF-8")
        for number, raw in enumerate(file, start=1):
            if not raw.strip():
                continue
            empty = False
            try:
                record = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                yield number, f"not JSON in UTF-8 ({error}); wanted one object per line"
                continue
            if isinstance(record, dict):
                yield number, record
            else:
                kind = type(record).__name__
                yield number, f"a JSON {kind}, wanted an object such as {{...}} per line"
    if empty:
        raise ManifestError(f"{path}: has no lines; wanted one JSON object per utterance")


def _problems(record: Mapping[str, Any]) -> list[str]:
    problems = []
    for field, value in record.items():
        types = _FIELDS.get(field)
        if types is None or value is None:
            continue
        if type(value) not in types:  # not isinstance: True is no number
            wanted = " or ".join(t.__name__ for t in types)
            problems.append(f"{field} is {value!r}; wanted {wanted}")
        # Bounded above, so NaN, infinity and integers past the floats are refused alike.
        elif float in types and not 0 <= value <= 1e9:
            problems.append(f"{field} is {value}; wanted a number from 0")
        elif field in _POSITIVE and value <= 0:
            problems.append(f"{field} is {value}; wanted a number above 0")
    sources = [record.get(f) for f in ("audio_filepath", "feature_path", "feature_key")]
    if not any(sources):
        problems.append("names no sound; give audio_filepath, feature_path or feature_key")
    for source in sources[:2]:
        if isinstance(source, str) and "://" in source:
            message = f"{source} is a network address; download it and name the local file"
            problems.append(message)
    return problems


def _name(record: Mapping[str, Any], line: int, taken: Container[str]) -> str:
    """The id given, or one from the file's name, kept apart from earlier ones by the line."""
    if record.get("id") is not None:
        return str(record["id"])
    name: str = record.get("feature_key") or ""
    source = record.get("audio_filepath") or (not name and record["feature_path"])
    if source:  # os.path: on 100,000 lines Path.stem alone takes half a second
        name = os.path.splitext(os.path.basename(source))[0]
    if record.get("offset"):
        name = f"{name}@{record['offset']:g}"
    return f"{name}#{line}" if name in taken else name


def _utterance(
    record: dict[str, Any], name: str, line: int, manifest: Path, folder: Path
) -> Utterance:
    get: Callable[[str], Any] = record.get
    key = get("feature_key") or None
    features = manifest.with_suffix(".npz") if key else None
    if get("feature_path"):
        features = folder / get("feature_path")
    audio = folder / get("audio_filepath") if get("audio_filepath") else None
    offset = float(get("offset") or 0.0)
    seconds = get("duration")
    if seconds is None:
        seconds = _measured(audio, features, key, get("num_frames")) - offset
        if seconds <= 0:
            raise AudioError(f"{audio or features}: offset {offset} s is past its end; correct it")
    return Utterance(
        id=name,
        text=get("text") or "",
        lang=get("lang") or "und",
        speaker=normalize("NFC", str("unknown" if (who := get("speaker")) in (None, "") else who)),
        seconds=float(seconds),
        audio=audio,
        offset=offset,
        features=features,
        key=key,
        label=get("label"),
        phonemes=get("phonemes"),
        weight=1.0 if get("weight") is None else float(get("weight")),
        line=line,
        manifest=manifest,
    )


def _measured(
    audio: Path | None, features: Path | None, key: str | None, frames: int | None
) -> float:
    if audio is not None:
        return audio_seconds(audio)
    assert features is not None  # a line names one or the other
    return (frames or len(read_frames(features, key))) / FRAMES_PER_SECOND
