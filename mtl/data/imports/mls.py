"""mls: Multilingual LibriSpeech, a folder mls_LANGUAGE with flac or opus; --subset 9hr, 1hr, 1hr/0, 10hr."""

from collections.abc import Iterator
from pathlib import Path

from mtl.data.imports import Ask, Found, Skip, lines

OPTIONS = ("split", "subset")
LANGS = {
    "dutch": "nl",
    "english": "en",
    "french": "fr",
    "german": "de",
    "italian": "it",
    "polish": "pl",
    "portuguese": "pt",
    "spanish": "es",
}


def read(ask: Ask) -> Iterator[Found | Skip]:
    """Read `<split>/transcripts.txt` ("train" unless asked); a subset is one of limited_supervision/.

    The language comes from the folder's name. Raises ValueError for another folder, split or subset.
    """
    folder = Path(ask.source, ask.split or "train")
    table = folder / "transcripts.txt"
    if not table.is_file():
        raise ValueError(
            f"{table}: no such file; name a folder mls_LANGUAGE, --split train|dev|test"
        )
    words = Path(ask.source).resolve().name.lower().split("_")
    lang = next((LANGS[word] for word in words if word in LANGS), None)
    handles = _handles(folder, ask.subset) if ask.subset else None
    for number, line in lines(table):
        name, tab, text = line.partition("\t")
        where = f"{folder.name}/{table.name}:{number}"
        if handles is not None:
            if name not in handles:
                continue
            del handles[name]
        parts = name.split("_")
        if not tab or len(parts) != 3:
            yield Skip(where, "columns", f"{line[:40]!r}: wanted speaker_book_number, tab, text")
            continue
        place = folder / "audio" / parts[0] / parts[1]
        audio = f"{name}.opus" if (place / f"{name}.opus").is_file() else f"{name}.flac"
        yield Found(where, audio, place, text=text, lang=lang, speaker=parts[0], id=name)
    for name, where in (handles or {}).items():
        yield Skip(where, "missing", f"{name} is not in {table.name}; copy that file again")


def _handles(folder: Path, subset: str) -> dict[str, str]:
    """Give the ids of a subset, each with its place; 10hr is 9hr and the six of 1hr."""
    root = folder / "limited_supervision"
    files = sorted((root if subset == "10hr" else root / subset).rglob("handles.txt"))
    if not files:
        has = ", ".join(sorted(str(f.parent.relative_to(root)) for f in root.rglob("handles.txt")))
        raise ValueError(f"{root} holds no {subset!r}; --subset can be: {has or '(nothing there)'}")
    return {
        name.strip(): f"{file.relative_to(folder)}:{number}"
        for file in files
        for number, name in lines(file)
    }
