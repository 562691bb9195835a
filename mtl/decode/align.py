"""Align: when each symbol and word is said, by the best path through CTC scores.

A symbol of CTC is a spike of a frame or two, blanks around it: it marks where the network was sure, mostly
near the middle or the end of the sound. Words therefore last from their first spike to the end of their last.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mtl.model import Model

BLANK = 0
SPACES = (
    " ",
    "\u2581",
)  # the second, of sentencepiece, opens a word: it stands in front of a piece
_PROBED_SECONDS = 1000  # long enough that rounding to whole frames is lost in it


class AlignError(ValueError):
    """A label and scores that no path joins; the message says why."""


class Span(NamedTuple):
    """Where `symbol` is said: from score frame `start` to `end` (not included), or in seconds once `placed`.

    `confidence` (0 to 1) is the geometric mean of its probabilities there.
    """

    symbol: int
    start: float
    end: float
    confidence: float


class Word(NamedTuple):
    """A word, or a symbol, with where it starts and ends in seconds, and how sure it is (0 to 1)."""

    text: str
    start: float
    end: float
    confidence: float

    def record(self) -> dict[str, str | float]:
        """Give it as a JSON object, to the millisecond."""
        times = {"start": round(self.start, 3), "end": round(self.end, 3)}
        return {"word": self.text, **times, "confidence": round(self.confidence, 4)}


class Spelling(Protocol):
    """What is asked of a head: the names of its symbols from 1 on, and how numbers become a text."""

    symbols: list[str]

    def decode(self, ids: Tensor) -> str:
        """Turn symbol numbers (U,) into a text."""


def align(scores: Tensor, label: Tensor) -> list[Span]:
    """Find the most probable path that spells `label` (U,): a span for each of its symbols, in order.

    `scores` are the log-probabilities (T, V) of one example, without padding, blank being 0. Raises
    `AlignError` for a label that holds blanks or unknown symbols, or that these frames cannot spell.

    >>> wanted = torch.tensor([0, 1, 1, 0, 2])
    >>> spans = align(torch.eye(3)[wanted].mul(9).log_softmax(-1), torch.tensor([1, 2]))
    >>> [(span.symbol, span.start, span.end) for span in spans]
    [(1, 1, 3), (2, 4, 5)]
    """
    _check(scores, label)
    if not len(label):
        return []
    from torchaudio.functional import forced_align  # here, as `import mtl` should stay quick

    path, logs = forced_align(scores.detach().float().cpu()[None], label.cpu().int()[None])
    spans = _spans(path[0], logs[0])
    if [span.symbol for span in spans] != label.tolist() or not logs.isfinite().all():
        raise AlignError("the scores give every path through this label a probability of 0")
    return spans


def greedy(scores: Tensor) -> list[Span]:
    """Give the spans of what greedy decoding writes: the best symbol of each frame, repeats merged.

    >>> greedy(torch.eye(3)[torch.tensor([1, 1, 0, 1])].log())
    [Span(symbol=1, start=0, end=2, confidence=1.0), Span(symbol=1, start=3, end=4, confidence=1.0)]
    """
    logs, path = scores.detach().float().cpu().max(-1)
    return _spans(path, logs)


def placed(spans: Iterable[Span], hz: float, offset: float = 0.0) -> list[Span]:
    """Turn frames, `hz` a second, into seconds, `offset` of them in front.

    >>> placed([Span(7, 2, 3, 1.0)], 25.0, offset=10.0)
    [Span(symbol=7, start=10.08, end=10.12, confidence=1.0)]
    """
    return [
        span._replace(start=offset + span.start / hz, end=offset + span.end / hz) for span in spans
    ]


def words(spans: Iterable[Span], head: Spelling) -> list[Word]:
    """Group placed spans into words, parted by spaces; symbols that are never written are left out.

    >>> from mtl.heads.ctc import CTC
    >>> spans = [Span(2, 0, 1, 1.0), Span(3, 2, 4, 0.25), Span(1, 5, 6, 1.0), Span(2, 8, 9, 1.0)]
    >>> words(spans, CTC([" ", "a", "b"]))
    [Word(text='ab', start=0, end=4, confidence=0.5), Word(text='a', start=8, end=9, confidence=1.0)]
    """
    groups: list[list[Span]] = [[]]
    for span in spans:
        name = head.symbols[span.symbol - 1]
        if name.startswith(SPACES):
            groups.append([])
        if name not in SPACES:
            groups[-1].append(span)
    return _written(groups, head)


def symbols(spans: Iterable[Span], head: Spelling) -> list[Word]:
    """Give each symbol that is written, characters or phones, as `words` gives words; no spaces."""
    return _written([[span] for span in spans if head.symbols[span.symbol - 1] not in SPACES], head)


def frames_per_second(model: Model, task: str) -> float:
    """Count the score frames of a task in a second of sound."""
    prepared = model.stem(model.tasks[task].stream).frames_per_second
    lengths = torch.tensor([round(prepared * _PROBED_SECONDS * times) for times in (1, 2)])
    one, two = model.frames(task, lengths).tolist()
    return float(two - one) / _PROBED_SECONDS


def geometric_mean(confidences: Iterable[float]) -> float:
    """Give the geometric mean; 0 of nothing, as silence is nothing to be sure of.

    >>> geometric_mean([0.5, 0.125]), geometric_mean([])
    (0.25, 0.0)
    """
    found = list(confidences)
    if not found or min(found) <= 0:
        return 0.0
    return math.exp(sum(map(math.log, found)) / len(found))


def _check(scores: Tensor, label: Tensor) -> None:
    if scores.dim() != 2 or label.dim() != 1:
        shapes = f"scores of shape {tuple(scores.shape)}, a label of {tuple(label.shape)}"
        raise AlignError(f"{shapes}: give one example, (T, V) and (U,)")
    frames, symbols = scores.shape
    if odd := sorted({x for x in label.tolist() if not BLANK < x < symbols}):
        raise AlignError(f"the label holds {odd}; these scores know symbols 1 to {symbols - 1}")
    needs = len(label) + int((label[1:] == label[:-1]).sum())
    if needs > frames:
        raise AlignError(f"{needs} symbols (with repeats) but {frames} frames: too short for CTC")
    if scores.isnan().any():
        raise AlignError("the scores hold NaN")


def _spans(path: Tensor, logs: Tensor) -> list[Span]:
    """Cut a path (T,) into runs of one symbol; blanks are dropped."""
    changes = (path[1:] != path[:-1]).nonzero()[:, 0] + 1
    borders = [0, *changes.tolist(), len(path)]
    return [
        Span(int(path[start]), start, end, math.exp(float(logs[start:end].mean())))
        for start, end in pairwise(borders)
        if start < end and path[start] != BLANK
    ]


def _written(groups: Iterable[Sequence[Span]], head: Spelling) -> list[Word]:
    """Write each group that shows in a text."""
    found = []
    for group in groups:
        text = head.decode(torch.tensor([span.symbol for span in group], dtype=torch.long)).strip()
        if text:
            sure = geometric_mean(span.confidence for span in group)
            found.append(Word(text, group[0].start, group[-1].end, sure))
    return found
