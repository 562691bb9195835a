"""Joined: what one task writes of a recording, from what it writes of its pieces."""

import math
from typing import Any

import torch
from torch import Tensor

from mtl.decode.align import SPACES, Span, Word, align, greedy, placed, words
from mtl.decode.segment import Segment, joint
from mtl.head import Head, Prediction, Scores
from mtl.heads.phoneme import BREAK, Phoneme
from mtl.predict import Decoder


class Timed:
    """A decoder whose predictions are spans, in seconds from the start of the scores.

    They are of what `decoder` writes (default: the head, greedily); `hz` score frames are a second.
    """

    def __init__(self, head: Head, hz: float, decoder: Decoder | None = None) -> None:
        self._head, self._hz, self._decoder = head, hz, decoder

    def __call__(self, scores: Scores) -> list[Prediction]:
        """Decode. Raises ValueError where a decoder writes what the head cannot spell."""
        said = (self._decoder or self._head.predict)(scores)
        frames = [scores.x.shape[1]] * len(said)
        lengths = frames if scores.lengths is None else scores.lengths.tolist()
        rows = zip(scores.x, lengths, said, strict=True)
        return [self._spans(row[:length], prediction) for row, length, prediction in rows]

    def _spans(self, scores: Tensor, said: Prediction) -> Prediction:
        found = greedy(scores) if self._decoder is None else self._forced(scores, said.value)
        return Prediction(placed(found, self._hz), said.confidence)

    def _forced(self, scores: Tensor, text: str) -> list[Span]:
        if not text.strip():
            return []
        try:
            return align(scores, self._head.encode(text))
        except ValueError as error:
            raise ValueError(f"no times for {text!r}, which a decoder wrote: {error}") from error


class Line:
    """What a task writes of a recording; `words` where they are wanted, `space` stands between them."""

    def __init__(self, head: Any, timed: bool = False) -> None:
        spaced = any(symbol.startswith(SPACES) for symbol in getattr(head, "symbols", [" "]))
        self.space = f" {BREAK} " if isinstance(head, Phoneme) else " " * spaced
        self.words: list[Word] = []
        self._head, self._timed = head, timed
        self._texts: list[str] = []
        self._spans: list[Span] = []  # of the end, which the next piece may overlap
        self._whole: Prediction | None = None
        self._logs, self._count = 0.0, 0

    def add(self, segment: Segment | None, said: Prediction) -> None:
        """Take what the next piece says, None being the whole: a text, or spans in seconds from its start."""
        if said.confidence > 0:
            self._logs += math.log(said.confidence) * len(said.value)
            self._count += len(said.value)
        if not isinstance(said.value, str):
            self._join(segment or Segment(0.0, 0.0), said.value)
        elif segment is None:
            self._whole = said
        else:
            self._texts.append(said.value)

    def said(self) -> Prediction:
        """Give all that was written, with the geometric mean of its symbols' confidences."""
        if self._whole is not None:
            return self._whole
        self._write(len(self._spans))
        text = self.space.join(text for text in self._texts if text)
        return Prediction(text, math.exp(self._logs / self._count) if self._count else 0.0)

    def _join(self, segment: Segment, said: list[Span]) -> None:
        spans = placed(said, 1.0, segment.offset)
        if not segment.overlap:
            self._write(len(self._spans))
            self._spans = spans
            return
        left, right = _marks(self._spans), _marks(spans)
        kept, first = joint(left, right, segment.offset, segment.offset + segment.overlap)
        self._spans = self._spans[:kept]
        names = [self._head.symbols[span.symbol - 1] for span in self._spans]
        opening = [index for index, name in enumerate(names) if name.startswith(SPACES)]
        self._write(opening[-1] if opening else 0)  # not the last word, which may go on
        self._spans += spans[first:]

    def _write(self, count: int) -> None:
        """Turn the first spans into text, and words."""
        done, self._spans = self._spans[:count], self._spans[count:]
        if not done:
            return
        ids = torch.tensor([span.symbol for span in done], dtype=torch.long)
        self._texts.append(" ".join(self._head.decode(ids).split()))
        if self._timed:
            self.words += words(done, self._head)


def _marks(spans: list[Span]) -> list[tuple[int, float]]:
    return [(span.symbol, (span.start + span.end) / 2) for span in spans]
