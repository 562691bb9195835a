"""nemo: a NeMo manifest of JSON lines, not tarred; Canary's source_lang and target_lang are understood."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtl.data.imports import Ask, Found, Skip, lines

OPTIONS = ("root", "columns")


def read(ask: Ask) -> Iterator[Found | Skip]:
    """Read the lines of a manifest; paths start at `root` (default: the manifest's folder).

    Raises ValueError for a tarred manifest whose archives are not unpacked at `root`.
    """
    path = Path(ask.source)
    folder = ask.root or path.parent
    for number, line in lines(path):
        where = f"{path.name}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Skip(where, "json", f"is not JSON ({error}); wanted one object per line")
            continue
        if not isinstance(record, dict):
            yield Skip(where, "json", f"a JSON {type(record).__name__}; wanted an object per line")
            continue
        yield _item(where, record, ask, folder)


def _item(where: str, record: dict[str, Any], ask: Ask, folder: Path) -> Found | Skip:
    def value(name: str, usual: str) -> Any:
        return record.get(ask.columns.get(name, usual))

    audio = value("audio", "audio_filepath")
    if not isinstance(audio, str) or not audio:
        return Skip(where, "missing", f"audio_filepath is {audio!r}; wanted the path of one file")
    _refuse_tarred(where, record, folder / audio)
    if record.get("_skipme"):
        return Skip(where, "skipme", "is marked _skipme; take the mark away to import it")
    spoken, written = record.get("source_lang"), record.get("target_lang")
    lang = value("lang", "lang") or written or spoken
    if spoken and lang and spoken != lang:
        return Skip(where, "translation", f"is {spoken} speech with {lang} text, no transcript")
    return Found(
        where,
        audio,
        folder,
        text=value("text", "text"),
        lang=lang,
        speaker=value("speaker", "speaker"),
        id=None if value("id", "id") is None else str(value("id", "id")),
        label=value("label", "label"),
        offset=record.get("offset"),
        seconds=record.get("duration"),
    )


def _refuse_tarred(where: str, record: dict[str, Any], path: Path) -> None:
    if "shard_id" in record and not path.is_file():
        raise ValueError(
            f"{where}: is of a tarred data set; unpack its archives and name that folder: mkdir "
            "audio; for t in audio_*.tar; do tar xf $t -C audio; done; then import with --root audio"
        )
