"""Memory: examples of earlier tasks that are stored to be learnt from again, and the bytes they take."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtl.data.audio import audio_seconds, read_frames
from mtl.data.manifest import Utterance
from mtl.data.pixels import read_pixels


def stored(items: Sequence[Any], room: int, seed: int) -> list[Any]:
    """Choose pictures or utterances by chance until their bytes fill `room`; one at least.

    >>> from mtl.data.digits import digits
    >>> len(stored(digits(8), room=640, seed=0))  # of 64 bytes each
    10
    """
    chosen, used = list[Any](), 0
    for item in random.Random(seed).sample(list(items), len(items)):
        used += item_bytes(item)
        if chosen and used > room:
            break
        chosen.append(item)
    return chosen


def item_bytes(item: Any) -> int:
    """Count the bytes of a picture or utterance as it lies on the disk, or in memory where it does not.

    Of a file that holds more than an utterance its part of the time counts.
    """
    if isinstance(item, Utterance):
        if item.audio is None:
            return int(read_frames(item.features or Path(), item.key).nbytes)
        share = min(1.0, item.seconds / max(audio_seconds(item.audio), 1e-3))
        return round(item.audio.stat().st_size * share)
    if isinstance(item.source, str | Path):
        return Path(item.source).stat().st_size
    return len(item.source) if isinstance(item.source, bytes) else read_pixels(item.source).numel()
