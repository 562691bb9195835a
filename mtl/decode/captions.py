"""Captions: words with times as subtitles (SRT, WebVTT) and as CTM."""

from collections.abc import Iterable, Sequence
from html import escape
from textwrap import fill
from typing import NamedTuple

LETTERS = 84  # of a cue, at most: two lines
WIDTH = 42  # letters of a line
SECONDS = 6.0  # that a cue lasts, at most
GAP = 0.7  # seconds without a word that end a cue
SHOWN = 1.0  # seconds that a cue is shown, at least, if the next leaves them

Timed = tuple[str, float, float, float]  # a word, where it starts and ends, its confidence


class Cue(NamedTuple):
    """A text that is shown from `start` to `end`, in seconds."""

    start: float
    end: float
    text: str


def cues(words: Sequence[Timed], space: str = " ") -> list[Cue]:
    """Gather words into cues of two short lines, which end at pauses; `space` stands between words.

    >>> cues([("good", 1.0, 1.2, 1.0), ("day", 1.3, 1.4, 1.0), ("yes", 2.3, 2.4, 1.0)])
    [Cue(start=1.0, end=2.0, text='good day'), Cue(start=2.3, end=3.3, text='yes')]
    """
    found: list[Cue] = []
    for text, start, end, _ in words:
        if found and _continues(found[-1], text, start, end):
            found[-1] = Cue(found[-1].start, end, f"{found[-1].text}{space}{text}")
        else:
            found.append(Cue(start, end, text))
    starts = [*(cue.start for cue in found[1:]), float("inf")]
    return [
        cue._replace(end=max(cue.end, min(cue.start + SHOWN, start)))
        for cue, start in zip(found, starts, strict=False)
    ]


def srt(found: Iterable[Cue]) -> str:
    """Write cues as SubRip.

    >>> print(srt([Cue(1.0, 3661.5, "good day")]), end="")
    1
    00:00:01,000 --> 01:01:01,500
    good day
    """
    return "\n".join(
        f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n{fill(cue.text, WIDTH)}\n"
        for number, cue in enumerate(found, 1)
    )


def vtt(found: Iterable[Cue]) -> str:
    """Write cues as WebVTT.

    >>> print(vtt([Cue(1.0, 2.5, "a < b")]), end="")
    WEBVTT
    <BLANKLINE>
    00:00:01.000 --> 00:00:02.500
    a &lt; b
    """
    blocks = [
        f"{clock(cue.start)} --> {clock(cue.end)}\n{escape(fill(cue.text, WIDTH), quote=False)}\n"
        for cue in found
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def ctm(name: str, words: Iterable[Timed]) -> str:
    """Write words as NIST's CTM: name, channel, start, length, word, confidence; no spaces within any.

    >>> print(ctm("my voice", [("good", 1.0, 1.25, 0.5)]), end="")
    my_voice 1 1.000 0.250 good 0.5000
    """
    name = "_".join(name.split())
    return "".join(
        f"{name} 1 {start:.3f} {end - start:.3f} {''.join(text.split())} {sure:.4f}\n"
        for text, start, end, sure in words
    )


def clock(seconds: float, point: str = ".") -> str:
    """Write seconds as hours, minutes, seconds and thousandths.

    >>> clock(59.9996)
    '00:01:00.000'
    """
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"


def _continues(cue: Cue, text: str, start: float, end: float) -> bool:
    """Say whether a word belongs to the cue before it."""
    short = len(cue.text) + 1 + len(text) <= LETTERS
    return short and start - cue.end < GAP and end - cue.start <= SECONDS
