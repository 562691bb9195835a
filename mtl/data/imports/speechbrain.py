"""speechbrain: a SpeechBrain manifest, CSV (ID, wav, spk_id, wrd, ...) or JSON; --root is {data_root}."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtl.data.imports import Ask, Found, Skip, column, lines

OPTIONS = ("root", "columns")
_USUAL = {
    "audio": ("wav", "audio", "file_path", "path", "file"),
    "text": ("wrd", "words", "text", "transcript", "transcription", "sentence", "char"),
    "speaker": ("spk_id", "speaker", "spk", "speaker_id"),
    "lang": ("lang", "locale", "language"),
    "label": ("label", "command"),
}
_PLACEHOLDER = re.compile(r"\{(\w+)\}|\$(\w+)")


def read(ask: Ask) -> Iterator[Found | Skip]:
    """Read a .csv or .json manifest; `{data_root}`, or whatever the placeholder is called, is `root`.

    Other relative paths start at `root` too (default: the manifest's folder). `start` and `stop` are
    samples, or seconds where they have a decimal point. Raises ValueError for another file, a column
    that is not there, or a placeholder without `root`.
    """
    path = Path(ask.source)
    if path.suffix not in (".csv", ".json") or not path.is_file():
        raise ValueError(f"{path}: wanted a .csv or .json manifest of SpeechBrain")
    for where, name, record in _csv(path) if path.suffix == ".csv" else _json(path):
        if isinstance(record, Mapping):
            yield _item(where, name, record, ask)
        else:
            yield Skip(where, "columns", f"{name}: {record}")


_Records = Iterator[tuple[str, str, Mapping[str, Any] | str]]  # (where, id, record or defect)


def _csv(path: Path) -> _Records:
    rows = csv.DictReader((f"{line}\n" for _, line in lines(path)), skipinitialspace=True)
    try:
        if "ID" not in (rows.fieldnames or []):
            raise ValueError(f"{path}: its first line names no column ID; wanted SpeechBrain's CSV")
        for row in rows:
            where, name = f"{path.name}:{rows.line_num}", str(row.get("ID"))
            whole = None not in row and None not in row.values()
            yield where, name, row if whole else "has more or fewer cells than the first line"
    except csv.Error as error:
        raise ValueError(f"{path}:{rows.line_num}: is not CSV ({error})") from error


def _json(path: Path) -> _Records:
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(
            f"{path}: holds a JSON {type(found).__name__}; wanted {{id: {{...}}, ...}}"
        )
    for name, record in found.items():
        is_record = isinstance(record, dict)
        yield f"{path.name} {name}", name, record if is_record else f"is {record!r:.40}"


def _item(where: str, name: str, record: Mapping[str, Any], ask: Ask) -> Found | Skip:
    has = {key: column(ask, key, usual, record.keys()) for key, usual in _USUAL.items()}
    value = {key: record[there] for key, there in has.items() if there is not None}
    audio, cut = value.get("audio"), dict(record)
    if isinstance(audio, Mapping):  # {"file": ..., "start": ..., "stop": ...}
        cut = dict(audio)
        audio = cut.get("file")
    if not isinstance(audio, str) or not audio:
        return Skip(where, "missing", f"{name}: names no audio file, but {audio!r:.40}")
    text = value.get("text", "")
    if isinstance(text, list) and all(isinstance(word, str) for word in text):
        text = " ".join(text)
    start, stop = (cut.get(name) or None for name in ("start", "stop"))
    seconds = record.get("duration", record.get("length"))
    samples = (start is not None or stop is not None) and "." not in f"{start}{stop}"
    try:
        if stop is not None:
            seconds = float(stop) - float(start or 0)
        elif start is not None:
            seconds = None
    except (TypeError, ValueError):
        return Skip(where, "times", f"{name}: start {start!r}, stop {stop!r}; wanted numbers")
    channel = str(record.get("channel", ""))
    return Found(
        where,
        _replaced(audio, ask),
        ask.root or Path(ask.source).parent,
        text=text,
        lang=value.get("lang"),
        speaker=value.get("speaker"),
        id=name,
        label=value.get("label"),
        offset=start,
        seconds=seconds,
        samples=samples,
        channel=int(channel) if channel.isdecimal() else None,
    )


def _replaced(audio: str, ask: Ask) -> str:
    def put(match: re.Match[str]) -> str:
        if ask.root is None:
            raise ValueError(f"{ask.source}: {audio}: give --root DIR, what {match[0]} stands for")
        return str(ask.root.absolute())

    return _PLACEHOLDER.sub(put, audio)
