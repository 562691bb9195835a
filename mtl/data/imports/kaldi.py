"""kaldi: a Kaldi data directory: wav.scp, text, and where there are segments, utt2spk, utt2lang, utt2dur."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mtl.data.imports import Ask, Found, Skip, Unusable, lines

OPTIONS = ("root",)
_Table = dict[str, tuple[str, str]]  # key -> (file:line, the rest of the line)
_COPIES = {"cat": set[str](), "flac": {"-c", "-d", "-s", "-cd", "-dc", "-cds", "-dcs"}}


def read(ask: Ask) -> Iterator[Found | Skip]:
    """Read the utterances of `segments`, or of wav.scp where there is none.

    Paths in wav.scp start at `root` (default: the directory). No command in it is ever run: `cat FILE |`
    and `flac -c -d -s FILE |` stand for the file, others are skipped. Raises ValueError for a directory
    without wav.scp, or an id that stands twice in a file.
    """
    source = Path(ask.source)
    if not (source / "wav.scp").is_file():
        raise ValueError(f"{source}: holds no wav.scp; name a Kaldi data directory")
    files = ("wav.scp", "text", "utt2spk", "utt2lang", "utt2dur", "segments")
    sounds, texts, speakers, langs, lengths, segments = (_table(source / name) for name in files)
    for utterance, (where, rest) in (segments or sounds).items():
        recording, times = utterance, _Times(None, lengths.get(utterance, ("", None))[1], None)
        try:
            if segments:
                recording, times = _segment(rest)
            if recording not in sounds:
                raise Unusable("missing", f"recording {recording!r} is not in wav.scp; add it")
            audio = _audio(sounds[recording][1], recording)
        except Unusable as error:
            yield Skip(where, error.kind, f"{utterance}: {error}")
            continue
        yield Found(
            where,
            audio,
            ask.root or source,
            text=texts.get(utterance, ("", ""))[1],
            lang=langs.get(utterance, ("", None))[1],
            speaker=speakers.get(utterance, ("", None))[1],
            id=utterance,
            offset=times.offset,
            seconds=times.seconds,
            channel=times.channel,
        )
    for utterance, (where, _) in texts.items():
        if utterance not in (segments or sounds):
            file = "segments" if segments else "wav.scp"
            yield Skip(where, "missing", f"{utterance} is not in {file}: run fix_data_dir.sh")


def _table(path: Path) -> _Table:
    table: _Table = {}
    for number, line in lines(path) if path.is_file() else ():
        key, *rest = line.split(maxsplit=1)
        where = f"{path.name}:{number}"
        if key in table:
            raise ValueError(
                f"{path}:{number}: {key!r} stands at {table[key][0]} too: run fix_data_dir.sh"
            )
        table[key] = (where, rest[0].strip() if rest else "")
    return table


class _Times(NamedTuple):
    offset: float | None
    seconds: float | str | None
    channel: int | None


def _segment(rest: str) -> tuple[str, _Times]:
    """Read "recording start end [channel]"; an end below 0 is that of the file."""
    try:
        recording, start, end, *channel = rest.split()
        offset, stop = float(start), float(end)
        number = int(channel[0]) if channel else None
    except ValueError:
        wanted = "recording, start and end in seconds"
        raise Unusable("columns", f"segment {rest!r}; wanted {wanted}") from None
    return recording, _Times(offset, None if stop < 0 else stop - offset, number)


def _audio(entry: str, recording: str) -> str:
    """Give the file that an entry of wav.scp stands for."""
    if re.search(r"\.ark:\d+$", entry):
        raise Unusable(
            "archive", f"{entry} lies in an archive; wav-copy it to files, and name those"
        )
    if not entry.endswith("|"):
        return entry
    command = entry.removesuffix("|").strip()
    try:
        program, *words = shlex.split(command)
    except ValueError:
        program, words = "", []
    names = [word for word in words if not word.startswith("-")]
    copies = _COPIES.get(Path(program).name)
    if copies is not None and len(names) == 1 and set(words) - copies == set(names):
        return names[0]
    raise Unusable(
        "pipe",
        f"wav.scp names a command, and no command is run here; run it once yourself and name the "
        f"file in wav.scp: {command} > {shlex.quote(recording)}.wav",
    )
