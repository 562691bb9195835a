"""folder: audio files with a .txt beside each, or listed in a file: name TAB or | text (LJSpeech)."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtl.data.imports import FOREIGN, READABLE, Ask, Found, Skip, lines

OPTIONS = ("root", "columns", "folders")
TABLES = ("metadata.csv", "metadata.tsv", "metadata.txt", "transcripts.txt", "transcripts.tsv")
BESIDE = "*.trans.txt"  # LibriSpeech: in each folder, of its files


def read(ask: Ask) -> Iterator[Found | Skip]:
    """Read a transcript file, or a folder that holds one (`TABLES`, `BESIDE`), else `x.txt` beside `x.wav`.

    A transcript file names audio files below `root` (default: its folder), with or without folder and
    suffix; `columns` gives numbers from 1, text being the second column (the third of LJSpeech's three).
    `folders` says what the folders between `root` and a file mean. Hidden files are left out.
    Raises ValueError where there is no audio, or a column is none.
    """
    source = Path(ask.source)
    if not source.exists():
        raise ValueError(f"{source}: no such folder or transcript file")
    if source.is_file() and _is_no_text(source):
        raise ValueError(f"{source}: is neither a folder nor a text file that lists audio files")
    tables = [source]
    if source.is_dir():
        tables = [source / name for name in TABLES if (source / name).is_file()]
        tables += [path for path in _files(source) if path.match(BESIDE)]
    root = ask.root or (source if source.is_dir() else source.parent)
    library = _Library(root, ask)
    if not library.files:
        raise ValueError(f"{root}: holds no audio files; --root names the folder that does")
    if not tables and ask.columns:
        given = ",".join(f"{name}={there}" for name, there in ask.columns.items())
        some = ", ".join(TABLES)
        raise ValueError(
            f"--columns {given}: {source} holds no transcript file that has columns ({some}); texts "
            "come from the .txt beside each audio file: leave it out, or name a transcript file instead"
        )
    if not tables:
        yield from _beside(library)
        return
    for table in tables:
        yield from _listed(table, library)
    if source.is_dir():  # a file may list a part; a folder is meant whole
        for path in library.files:
            if path not in library.used:
                yield library.found(path, library.name(path))


class _Library:
    """The audio files below a folder, found by path or bare name, with or without suffix."""

    def __init__(self, root: Path, ask: Ask) -> None:
        self.root, self.ask = root, ask
        every = _files(root)
        self.texts = [path for path in every if path.suffix == ".txt"]
        paths = [path for path in every if path.suffix.lower() in READABLE | FOREIGN]
        readable = {path.with_suffix("") for path in paths if path.suffix.lower() in READABLE}
        # A file in a foreign format that was converted beside itself is there twice.
        self.files = {
            path: None
            for path in paths
            if path.suffix.lower() in READABLE or path.with_suffix("") not in readable
        }
        self.used = set[Path]()
        self._by_path: dict[Path, list[Path]] = defaultdict(list)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.files:
            self._by_path[path.with_suffix("")].append(path)
            self._by_name[path.stem].append(path)

    def name(self, path: Path) -> str:
        """Give a file's path below the root, for messages."""
        return path.relative_to(self.root).as_posix()

    def find(self, name: str, base: Path) -> list[Path]:
        """Give the files that a transcript file in `base` may mean."""
        path = base / name
        if path in self.files:
            return [path]
        bare = path.with_suffix("") if path.suffix.lower() in READABLE | FOREIGN else path
        return self._by_path.get(bare) or self._by_name.get(bare.name, [])

    def found(self, path: Path, where: str, text: str = "", **known: str) -> Found | Skip:
        """Give the utterance that a file is, with what its folders say."""
        self.used.add(path)
        name, meant = self.name(path), self.ask.folders
        above = name.split("/")[:-1]
        if len(above) < len(meant):
            message = (
                f"{name} lies below {len(above)} folders; --folders {'/'.join(meant)} names more"
            )
            return Skip(where, "folders", message)
        levels: dict[str, Any] = {
            level: part for level, part in zip(meant, above, strict=False) if level != "-"
        }
        bare = Path(name).with_suffix("").as_posix()
        return Found(where, name, self.root, text=text, id=bare)._replace(**levels | known)


def _is_no_text(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() in READABLE | FOREIGN or b"\0" in file.read(1024)


def _files(root: Path) -> list[Path]:
    """List the files below a folder, also behind links to folders, each folder once."""
    seen, found = set[str](), list[Path]()
    for folder, folders, names in os.walk(root, onerror=_fail, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        found += (Path(folder, name) for name in names if not name.startswith("."))
    return sorted(found)


def _fail(error: OSError) -> None:
    raise error  # os.walk would leave out a folder that cannot be read


def _beside(library: _Library) -> Iterator[Found | Skip]:
    for path in library.files:
        file = path.with_suffix(".txt")
        try:
            text = " ".join(line for _, line in lines(file)) if file.is_file() else ""
        except ValueError as error:
            yield Skip(library.name(path), "text", str(error))
            continue
        yield library.found(path, library.name(path), text)
    stems = {path.with_suffix("") for path in library.files}
    for file in library.texts:
        if file.with_suffix("") not in stems:
            yield Skip(library.name(file), "missing", "no audio file of that name lies beside it")


def _listed(table: Path, library: _Library) -> Iterator[Found | Skip]:
    base = table.parent if table.match(BESIDE) else library.root
    mark, places = None, dict[str, int]()
    for number, line in lines(table):
        where = f"{table.name}:{number}"
        if not places:
            mark = next((sign for sign in "\t|" if sign in line), None)
            places = _places(library.ask, line.split(mark, -1 if mark else 1), mark)
        cells = line.split(mark, -1 if mark else 1)
        if len(cells) < max(places.values()):
            signs = {"\t": "tabs", "|": "|"}.get(mark or "", "white space")
            wanted = f"wanted {max(places.values())} columns with {signs} between"
            yield Skip(where, "columns", f"{line[:60]!r}: {wanted}")
            continue
        known = {field: cells[place - 1].strip() for field, place in places.items()}
        name = known.pop("audio")
        paths = library.find(name, base)
        if len(paths) == 1:
            yield library.found(paths[0], where, **known)
        elif paths:
            some = " and ".join(library.name(path) for path in paths[:2])
            yield Skip(where, "ambiguous", f"{name!r} may be {some}; name the folder too")
        else:
            yield Skip(where, "missing", f"no audio file {name!r} below {base}; see --root")


def _places(ask: Ask, cells: Sequence[str], mark: str | None) -> dict[str, int]:
    """Give the number of each field's column, from 1."""
    for name, place in ask.columns.items():
        if not place.isdecimal() or not 1 <= int(place) <= len(cells):
            raise ValueError(
                f"column {name}={place}: {ask.source} has columns 1 to {len(cells)}; give a number"
            )
    chosen = {name: int(place) for name, place in ask.columns.items()}
    normalised = mark == "|" and len(cells) == 3 and 3 not in chosen.values()
    return {"audio": 1, "text": 3 if normalised else 2} | chosen
