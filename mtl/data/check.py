"""check: every defect of a manifest and its files, found before training does."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mtl.data.audio import AudioError, audio_seconds, read_audio, read_frames
from mtl.data.manifest import Defect, Utterance, parse_manifest
from mtl.text import TextRules, dropped_signs, normalise, symbols

MAX_SYMBOLS_PER_SECOND = 40  # fast speech has about 20; above this text and sound do not match
DURATION_TOLERANCE = 0.05


class Language(NamedTuple):
    """What a manifest holds of one language.

    `symbols` are those of its normalised texts; `dropped` counts the signs that are spoken, such as %, and
    are lost by normalising.
    """

    utterances: int
    hours: float
    speakers: int
    symbols: list[str]
    dropped: dict[str, int]


def check_manifest(path: str | Path, hz: int = 16000, decode: bool = True) -> list[Defect]:
    """Every defect of every line, in the order of the lines; an empty list means good data.

    `decode=False` reads headers only: quick, but truncated and NaN sound go unseen.
    Raises `ManifestError` only if the manifest is missing or empty. Nothing is written.

    Kinds of defect: `json` `form` `id` (the lines themselves), `audio` `features` (missing,
    unreadable, truncated, empty, NaN), `duration` (more than 5 % off), `text` (empty), `speed`
    (more than 40 symbols per second), `language` (none given), `duplicate` (same text and sound).
    """
    return list(find_defects(path, hz, decode))


def find_defects(path: str | Path, hz: int = 16000, decode: bool = True) -> Iterator[Defect]:
    """As `check_manifest`, one defect at a time, for progress bars and large corpora."""
    items = list(parse_manifest(path))
    shared = Counter(u.audio for u in items if isinstance(u, Utterance))
    first: dict[tuple[str, str], str] = {}
    for item in items:
        if isinstance(item, Defect):
            yield item
            continue
        yield from _of_text(item)
        try:
            yield from _of_duration(item, alone=shared[item.audio] == 1)
            sound = _fingerprint(item, hz, decode)
        except AudioError as error:
            kind = "audio" if item.audio else "features"
            yield Defect(item.where, item.id, kind, str(error))
            continue
        earlier = first.setdefault((item.text, sound), item.where)
        if earlier != item.where:
            message = f"has the text and the sound of {earlier}; remove one of the two"
            yield Defect(item.where, item.id, "duplicate", message)


def summary(path: str | Path, rules: TextRules | None = None) -> dict[str, Language]:
    """Utterances, hours, speakers and symbols of each language; malformed lines are left out."""
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for item in parse_manifest(path):
        if isinstance(item, Utterance):
            groups[item.lang].append(item)
    rules = rules or TextRules()
    return {
        lang: Language(
            utterances=len(group),
            hours=sum(u.seconds for u in group) / 3600,
            speakers=len({u.speaker for u in group}),
            symbols=symbols(normalise(u.text, rules) for u in group),
            dropped=dict(dropped_signs((u.text for u in group), rules).most_common()),
        )
        for lang, group in sorted(groups.items())
    }


def _of_text(item: Utterance) -> Iterator[Defect]:
    if item.lang == "und":
        yield Defect(item.where, item.id, "language", "has no language; add lang, such as 'en'")
    text = normalise(item.text, TextRules())
    if not text and item.label is None and item.phonemes is None:
        message = f"text {item.text!r} is empty once normalised; transcribe it or leave it out"
        yield Defect(item.where, item.id, "text", message)
    speed = len(text) / item.seconds
    if speed > MAX_SYMBOLS_PER_SECOND:
        message = (
            f"{len(text)} symbols in {item.seconds:.3g} s are {speed:.0f} per second; "
            "the text is not that of the sound, or duration is wrong"
        )
        yield Defect(item.where, item.id, "speed", message)


def _of_duration(item: Utterance, alone: bool) -> Iterator[Defect]:
    if item.audio is None:
        return
    length = audio_seconds(item.audio)
    end = item.offset + item.seconds
    slack = max(DURATION_TOLERANCE * length, 0.01)  # manifests round to hundredths
    # Where lines share a file each is a cut of it, and only passing its end is wrong.
    too_short = alone and item.offset == 0 and end < length - slack
    if end > length + slack or too_short:
        message = f"ends at {end:.3f} s, {item.audio} at {length:.3f} s; correct duration or offset"
        yield Defect(item.where, item.id, "duration", message)


def _fingerprint(item: Utterance, hz: int, decode: bool) -> str:
    """Equal for equal sound: by content when decoding, else by place."""
    if not decode:
        if item.features is not None and not os.path.isfile(item.features):
            raise AudioError(f"{item.features}: no such file; correct feature_path")
        return f"{item.audio} {item.offset} {item.seconds} {item.features} {item.key}"
    digest = hashlib.blake2b(digest_size=16)
    if item.features is not None:
        digest.update(read_frames(item.features, item.key).tobytes())
    if item.audio is not None:
        # From the start, the whole file: a cut would not show that the file is truncated.
        seconds = item.seconds if item.offset else None
        digest.update(read_audio(item.audio, hz, item.offset, seconds).tobytes())
    return digest.hexdigest()
