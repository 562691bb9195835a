"""Segment: cut a long recording at its pauses, in constant memory, and join what had to be cut within speech.

Speech is what stands out of the noise around it. The level of each 20 ms is measured in bands of an octave,
as few noises fill all of them, and compared with the noise floor of the band: the 10th percentile of the 5 s
before and the 5 s after. What counts is the mean over the bands: sound begins BEGINS dB above the floors and
lasts while LASTS dB above them (hysteresis), so the doubtful counts as speech: hearing noise costs time,
missing speech costs words. Silence of 0.4 s and more is left out but for 0.15 s on either side; in shorter
pauses nothing is lost. Speech without a pause becomes chunks that overlap, and `joint` says where in
the overlap to go from one to the next.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FRAME = 0.02  # seconds
GROUP = 50  # frames that share a floor: a second
REACH = 5  # groups on either side that the floor is taken from
PERCENTILE = 10
QUIETEST = -80.0  # dB, near which digital silence stands, and less is not told apart
BANDS = (100, 300, 600, 1200, 2400, 4000)  # Hz, from each to the next
BEGINS, LASTS = 4.5, 3.0  # dB above the floor
PAUSE = 0.3  # seconds without speech between which a recording can be cut
SILENCE = 0.4  # seconds without speech that are left out
EDGE = 0.15  # seconds kept around speech
SAME = 0.12  # seconds by which two chunks may place one symbol differently

Array = NDArray[np.float32]
Stretch = tuple[float, float]
Mark = tuple[int, float]  # a symbol and when it is said, in seconds


class Segment(NamedTuple):
    """A part of a recording, in seconds; the first `overlap` of them end the segment before as well."""

    offset: float
    seconds: float
    overlap: float = 0.0


def segments(
    blocks: Iterable[Array], hz: int, seconds: float, most: float = 30.0, overlap: float = 3.0
) -> Iterator[Segment]:
    """Cut a recording of `seconds` into segments of at most `most` that hold its speech, in order.

    `blocks` are its samples (N,) at `hz`, in parts of any length. `overlap` is lowered to a quarter of
    `most` where it is more. Raises ValueError for a `most` below a second.

    >>> hum = np.sin(np.arange(16000 * 9)).astype(np.float32) * np.repeat([0, 1, 0], 16000 * 3)
    >>> [tuple(round(x, 1) for x in found) for found in segments([hum], 16000, 9.0)]
    [(2.8, 3.3, 0.0)]
    """
    if not most >= 1:
        raise ValueError(f"segments of {most} s; give at least 1")
    size = max(round(hz * FRAME), 1)
    loud = _loud(_grouped(_levels(blocks, size, hz)))
    heard = _padded(_stretches(loud, size / hz), seconds)
    return _packed(heard, most, min(overlap, most / 4))


def joint(left: Sequence[Mark], right: Sequence[Mark], start: float, end: float) -> tuple[int, int]:
    """Say where two chunks that both heard `start` to `end` are joined: keep left[:i] and right[j:].

    It is the middle of the longest run of symbols that both heard there at the same time, so that no symbol
    of it is lost or doubled; where they agree on nothing, each gives its half of the time.

    >>> joint([(7, 1.0), (8, 2.0), (9, 2.6)], [(5, 2.0), (8, 2.1), (7, 3.0)], 1.5, 3.0)
    (2, 2)
    """
    runs: dict[tuple[int, int], int] = {}
    for i, (symbol, when) in enumerate(left):
        if not start <= when <= end:
            continue
        for j, (other, then) in enumerate(right):
            if symbol == other and abs(when - then) <= SAME:
                runs[i, j] = runs.get((i - 1, j - 1), 0) + 1
    middle = (start + end) / 2
    if not runs:
        return sum(when < middle for _, when in left), sum(when < middle for _, when in right)
    i, j = max(runs, key=lambda pair: (runs[pair], -abs(left[pair[0]][1] - middle)))
    back = runs[i, j] // 2
    return i - back + 1, j - back + 1


def _levels(blocks: Iterable[Array], size: int, hz: int) -> Iterator[Array]:
    """Measure the bands of whole windows of two frames, a frame apart: dB (windows, bands)."""
    filters, rest = _filters(size, hz), np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        count = len(rest) // size - 1
        if count > 0:
            yield _decibels(rest[: (count + 1) * size], size, filters)
            rest = rest[count * size :]


def _decibels(samples: Array, size: int, filters: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(samples, 2 * size)[::size]
    spectra = np.fft.rfft(windows * np.hanning(2 * size).astype(np.float32))
    power = np.square(np.abs(spectra)) @ filters / size
    return np.asarray(10 * np.log10(power + 10 ** (QUIETEST / 10)), np.float32)


def _filters(size: int, hz: int) -> Array:
    """Give the mean over the frequencies of each band: (frequencies, bands)."""
    frequencies = np.fft.rfftfreq(2 * size, 1 / hz)
    inside = [(low <= frequencies) & (frequencies < high) for low, high in pairwise(BANDS)]
    kept = [band / band.sum() for band in inside if band.any()]
    return np.stack(kept, 1).astype(np.float32)


def _grouped(levels: Iterable[Array]) -> Iterator[Array]:
    """Regroup levels to seconds; the last may be shorter."""
    rest = None
    for found in levels:
        rest = found if rest is None else np.concatenate([rest, found])
        while len(rest) >= GROUP:
            yield rest[:GROUP]
            rest = rest[GROUP:]
    if rest is not None and len(rest):
        yield rest


def _loud(groups: Iterable[Array]) -> Iterator[bool]:
    """Tell for each frame whether it stands out of the floor of the seconds around it."""
    near: deque[Array] = deque(maxlen=2 * REACH + 1)
    loud = False
    for group in _followed(groups, REACH):
        near.append(group)
        if len(near) <= REACH:
            continue
        floor = np.percentile(np.concatenate(near), PERCENTILE, axis=0)
        above = (near[len(near) - 1 - REACH] - floor).clip(min=0).mean(1)
        for level in above.tolist():
            loud = level > (LASTS if loud else BEGINS)
            yield loud


def _followed(groups: Iterable[Array], count: int) -> Iterator[Array]:
    """Give groups, and empty ones behind the last."""
    group = None
    for group in groups:
        yield group
    if group is not None:
        yield from [group[:0]] * count


def _stretches(loud: Iterable[bool], frame: float) -> Iterator[Stretch]:
    """Give where speech starts and ends, in seconds; pauses below PAUSE are part of it."""
    start = end = -1
    for index, on in enumerate(loud):
        if on:
            if start >= 0 and (index - end) * frame >= PAUSE:
                yield start * frame, end * frame
                start = -1
            start, end = (index if start < 0 else start), index + 2  # a window is two frames
    if start >= 0:
        yield start * frame, end * frame


def _padded(stretches: Iterable[Stretch], seconds: float) -> Iterator[Stretch]:
    """Widen stretches by EDGE, or to the middle of the pause where that is nearer."""
    near: deque[Stretch] = deque([(0.0, -2 * EDGE)], maxlen=3)
    for after in chain(stretches, [(seconds + 2 * EDGE, 0.0)]):
        near.append(after)
        if len(near) == 3:
            (_, before), (start, end), (then, _) = near
            first = start - min(EDGE, (start - before) / 2)
            yield max(first, 0.0), min(end + min(EDGE, (then - end) / 2), seconds)


def _packed(stretches: Iterable[Stretch], most: float, overlap: float) -> Iterator[Segment]:
    """Gather stretches until silence or `most` parts them."""
    first = last = -1.0
    for start, end in stretches:
        if first >= 0 and (start - last >= SILENCE - 2 * EDGE or end - first > most):
            yield from _chunks(first, last, most, overlap)
            first = -1.0
        first, last = (start if first < 0 else first), end
    if first >= 0:
        yield from _chunks(first, last, most, overlap)


def _chunks(start: float, end: float, most: float, overlap: float) -> Iterator[Segment]:
    """Cut what is longer than `most` into equal chunks that overlap."""
    length = end - start
    if length <= most:
        yield Segment(start, length)
        return
    count = math.ceil((length - overlap) / (most - overlap))
    each = (length + (count - 1) * overlap) / count
    for index in range(count):
        yield Segment(start + index * (each - overlap), each, overlap if index else 0.0)
