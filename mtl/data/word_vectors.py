"""word_vectors: vectors of class names, from a text file as GloVe, word2vec and fastText write it."""

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def word_vectors(path: Path, classes: Sequence[str]) -> NDArray[np.float32]:
    """Give each class's vector (C, A): its own, in any case, or the mean of those of its words.

    A line is a word and its numbers; a first line of two numbers, as word2vec and fastText have it, is
    passed over; the file may be packed (.gz). Words of a name are parted by white space, `_` or `-`; the
    first of several lines counts. Raises ValueError that lists the classes that cannot be given one, and the
    words that lack, and for files in another form, such as binary ones.
    """
    forms = {name: _forms(name) for name in classes}
    wanted = {word for whole, parts in forms.values() for word in (*whole, *parts)}
    wanted |= {word.lower() for word in wanted}
    found = _read(path, wanted)
    rows, missing = [], []
    for name, (whole, parts) in forms.items():
        own = next((found[key] for key in (*whole, *map(str.lower, whole)) if key in found), None)
        keys = {part: part if part in found else part.lower() for part in parts}
        if own is None and (lost := [part for part, key in keys.items() if key not in found]):
            missing.append(f"{name!r} (no {', '.join(map(repr, lost))})")
        elif own is None:
            rows.append(np.mean([found[keys[part]] for part in parts], axis=0))
        else:
            rows.append(own)
    if missing:
        raise ValueError(f"{path} has no vector of {'; '.join(missing)}: rename or drop the class")
    return np.array(rows, dtype=np.float32)


def _forms(name: str) -> tuple[list[str], list[str]]:
    """Give the ways to write a name as one word, and its words."""
    parts = [part for part in re.split(r"[\s_-]+", name) if part]
    if not parts:
        raise ValueError(f"class {name!r} holds no word")
    return list(dict.fromkeys([name.strip(), "_".join(parts), "-".join(parts)])), parts


def _read(path: Path, wanted: set[str]) -> dict[str, NDArray[np.float32]]:
    """Read the vectors of the wanted words."""
    found: dict[str, NDArray[np.float32]] = {}
    width = 0
    for number, line in _lines(path):
        cells = line.split(" ")
        if number == 1 and len(cells) == 2:
            if not all(cell.isdecimal() for cell in cells):
                raise ValueError(f"{path}:1: {line!r:.40} is no word and its numbers")
            width = int(cells[1])
            continue
        width = width or len(cells) - 1
        word = " ".join(cells[:-width])  # GloVe has words with spaces
        if word not in wanted or word in found:
            continue
        try:
            vector = np.array(cells[-width:], dtype=np.float32)
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {word!r}: {error}") from error
        if not np.isfinite(vector).all():
            raise ValueError(f"{path}:{number}: {word!r} has NaN or infinity")
        found[word] = vector
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give number and text of the lines that hold any; a file has millions, of which few are wanted."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="\n") as file:
        try:
            for number, line in enumerate(file, 1):
                if text := line.rstrip():
                    yield number, text
        except (UnicodeDecodeError, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{path} is no text in UTF-8 ({error}): of binary word vectors write the text form, such as "
                "gensim's save_word2vec_format(..., binary=False)"
            ) from error
