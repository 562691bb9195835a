"""Naming: any name of a speaker as a file name, and back, on every file system."""

import hashlib
import json
import os
import re
from os import PathLike
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote

SUFFIX = ".safetensors"
LONGEST = 100  # characters of a file's name without the suffix; some systems take 140
KEPT = 60  # of these, what a longer one keeps of the name, before its hash
HASHED = "~"  # before the hash; in no other file name, since it is encoded
SHOWN = 10  # names in an error
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)")  # devices of Windows


def as_name(name: str) -> str:
    """Give a speaker's name as it is stored, composed (NFC). Raises ValueError for an empty one."""
    if not name:
        raise ValueError("the name of a speaker is empty; give at least one character")
    return normalize("NFC", name)


def file_name(name: str) -> str:
    r"""Give the name of a speaker's file, another one for every speaker.

    Small letters, digits, `-`, `_` and inner dots stand for themselves, all else is percent-encoded: capitals
    too, since `Anna` and `anna` are one file on some systems. A long one ends in a hash.

    >>> file_name("anna"), file_name("Anna"), file_name("a/b")
    ('anna.safetensors', '%41nna.safetensors', 'a%2Fb.safetensors')
    """
    name = as_name(name)
    stem = re.sub(r"[^a-z0-9_.-]|^\.|\.$", lambda found: _encoded(found[0]), name)
    if RESERVED.match(stem):
        stem = _encoded(stem[0]) + stem[1:]
    if len(stem) > LONGEST:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        stem = f"{stem[:KEPT]}{HASHED}{digest}"
    return stem + SUFFIX


def _encoded(text: str) -> str:
    """Percent-encode every byte, also of what `urllib.parse.quote` would leave."""
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def name_of(path: Path, noted: str | None) -> str:
    """Give whose file it is: whom it notes, unless the file was renamed since, which renames the speaker."""
    stem = path.name.removesuffix(SUFFIX)
    try:
        decoded = unquote(stem, errors="surrogatepass")
    except UnicodeDecodeError:  # a name that nobody encoded
        decoded = stem
    fits = (name for name in (noted, decoded) if name and file_name(name) == path.name)
    return next(fits, normalize("NFC", stem))


def names(folder: str | PathLike[str]) -> list[str]:
    """List whose deltas a folder holds, nobody's where there is no such folder."""
    return sorted(files(folder))


def files(folder: str | PathLike[str]) -> dict[str, Path]:
    """Give the files of deltas in a folder by the speaker's name."""
    found: dict[str, Path] = {}
    for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
        if path.name.startswith("."):
            continue
        name = name_of(path, _noted(path) if HASHED in path.name else None)
        if name not in found or path.name == file_name(name):
            found[name] = path
    return found


def find(folder: str | PathLike[str], name: str) -> Path:
    """Give the file of a speaker's delta. Raises FileNotFoundError, listing who is there."""
    name = as_name(name)
    path = Path(folder, file_name(name))
    if path.parent.is_dir() and path.name in os.listdir(path.parent):  # to the letter
        return path
    there = files(folder)
    if name not in there:
        known = sorted(there)
        more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
        listed = ", ".join(known[:SHOWN]) or "none"
        raise FileNotFoundError(f"no delta {name!r} in {folder}; it has: {listed}{more}")
    return there[name]


def _noted(path: Path) -> str | None:
    """Read the name from the file, whose own name holds a hash; None where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = json.loads((file.metadata() or {}).get("mtl", "{}")).get("name")
    except (SafetensorError, OSError, ValueError):
        return None
    return found if isinstance(found, str) else None
