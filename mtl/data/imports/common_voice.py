"""common_voice: Mozilla Common Voice, the folder of a language or of several: SPLIT.tsv and clips/."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mtl.data.imports import Ask, Found, Skip, lines

OPTIONS = ("split",)


def read(ask: Ask) -> Iterator[Found | Skip]:
    """Read `<split>.tsv` ("train" unless asked) of one language folder, or of all in a folder.

    Raises ValueError for a folder that is none of Common Voice, or has no such split.
    """
    source, split = Path(ask.source), ask.split or "train"
    folders = [source] if (source / "clips").is_dir() else []
    folders = folders or sorted(clips.parent for clips in source.glob("*/clips"))
    if not folders:
        raise ValueError(
            f"{source}: holds no clips/; name the folder of a language, such as cv-corpus-17.0/nl"
        )
    for folder in folders:
        yield from _language(folder, split)


def _language(folder: Path, split: str) -> Iterator[Found | Skip]:
    table = folder / f"{split}.tsv"
    if not table.is_file():
        has = ", ".join(sorted(path.stem for path in folder.glob("*.tsv")))
        raise ValueError(f"{table}: no such file; --split can be: {has or '(no .tsv is there)'}")
    rows = lines(table)
    names = next(rows, (1, ""))[1].split("\t")
    if not {"path", "sentence"} <= set(names):
        raise ValueError(f"{table}:1: has columns {', '.join(names)}; wanted path and sentence")
    for number, line in rows:
        yield _item(f"{folder.name}/{table.name}:{number}", line, names, folder)


def _item(where: str, line: str, names: Sequence[str], folder: Path) -> Found | Skip:
    # Quotes are part of the sentence, and so may tabs be: the csv module would join or cut rows.
    cells = line.split("\t")
    place, more = names.index("sentence"), len(cells) - len(names)
    if more > 0:
        cells[place : place + more + 1] = ["\t".join(cells[place : place + more + 1])]
    row = dict(zip(names, cells, strict=False))
    votes = [row.get(name) or "0" for name in ("up_votes", "down_votes")]
    if more < 0 or not all(vote.isdecimal() for vote in votes):
        has = f"{len(names) + more} columns for {len(names)} names"
        return Skip(where, "columns", f"{has}: the row is cut or broken; copy the file again")
    if not row["path"]:
        return Skip(where, "missing", "names no clip; copy the file again")
    clip = Path(row["path"])  # the first releases leave the suffix out
    return Found(
        where,
        str(clip if clip.suffix else clip.with_suffix(".mp3")),
        folder / "clips",
        text=row["sentence"],
        lang=row.get("locale", folder.name),
        speaker=row.get("client_id"),
        id=clip.stem,
    )
