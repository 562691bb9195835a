"""Long: what is said in recordings of any length, and when, heard piece by piece in constant memory.

A recording longer than a chunk is cut at its pauses (`mtl.decode.segment`); where chunks overlap, as speech
had no pause, they are joined by where their symbols lie. The language is told once for all of a recording,
by what its pieces sound like, weighed by their length and confidence.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mtl.batch import Example
from mtl.decode.align import Word, frames_per_second
from mtl.decode.segment import Segment, segments
from mtl.head import Prediction
from mtl.heads.ctc import CTC
from mtl.joined import Line, Timed
from mtl.languages import SPEECH, Choice, Transcript
from mtl.members import LANG
from mtl.model import Model
from mtl.polyglot import number
from mtl.predict import Decoder, predict
from mtl.pseudo import SILENCE

CHUNK = 30.0  # seconds
OVERLAP = 3.0  # seconds that chunks share where speech has no pause
AHEAD = 4  # batches whose pieces are sorted by length


class Sound(Protocol):
    """A recording, `seconds` long, whose samples come in blocks at `hz`."""

    hz: int
    seconds: float

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Give all samples (N,), in order."""


class Sounds(Protocol):
    """Recordings, as `mtl.load.Inputs`: `lengths` in seconds, `seconds` what each costs whole."""

    ids: list[str]
    lengths: list[float]
    seconds: NDArray[np.float64]

    def opened(self, index: int) -> AbstractContextManager[Sound] | None:
        """Open a recording; None where it has no samples to cut. Raises ValueError."""

    def example(self, index: int) -> Example:
        """Prepare a whole recording. Raises ValueError."""

    def cut(self, index: int, offset: float, seconds: float) -> Example:
        """Prepare a part of one. Raises ValueError."""


class Told(NamedTuple):
    """What was said in a recording, `words` where they were asked for, or the `problem` with it.

    `space` stands between its words: nothing in languages that are written without.
    """

    id: str
    seconds: float
    transcript: Transcript | None = None
    words: Sequence[Word] = ()
    space: str = " "
    problem: str = ""


def transcribe(
    model: Model,
    sounds: Sounds,
    choice: Choice,
    *,
    stream: str = SPEECH,
    chunk: float = CHUNK,
    batch: float = 60.0,
    decoders: Mapping[str, Decoder] | None = None,
    timed: bool = False,
) -> Iterator[Told]:
    """Say what is said in each recording, in order, and where `timed` when.

    `chunk` is the longest piece, in seconds, that is heard at once; `batch` the seconds that run at once.
    Raises ValueError for a chunk below a second, or times from a head that is not CTC.
    """
    if not chunk >= 1:
        raise ValueError(f"chunk is {chunk}; give the seconds of a piece, at least 1")
    ears = _Ears(model, stream, choice, dict(decoders or {}), timed)
    chunk = min(chunk, ears.fixed or chunk)
    queue: deque[_Recording] = deque()
    group: list[_Piece] = []
    for index in range(len(sounds.ids)):
        queue.append(_Recording(sounds, index, ears))
        for piece in queue[-1].plan(chunk):
            if group and _full(group, piece, AHEAD * batch):
                ears.hear(sounds, group, batch)
                group = []
                while not queue[0].left:
                    yield queue.popleft().told()
            group.append(piece)
    ears.hear(sounds, group, batch)
    for recording in queue:
        yield recording.told()


class _Piece(NamedTuple):
    recording: "_Recording"
    segment: Segment | None  # None: the whole
    seconds: float


def _full(group: Sequence[_Piece], piece: _Piece, most: float) -> bool:
    """Say whether a piece must wait for the next group; parts and whole recordings do not mix."""
    mixed = (group[0].segment is None) != (piece.segment is None)
    return mixed or sum(each.seconds for each in group) + piece.seconds > most


class _Ears:
    """A model, and how it is asked about pieces."""

    def __init__(
        self, model: Model, stream: str, choice: Choice, decoders: dict[str, Decoder], timed: bool
    ) -> None:
        self.model, self.stream, self.choice, self.timed = model, stream, choice, timed
        self.fixed = model.stem(stream).fixed_seconds
        self.writers = [task for task in choice.tasks() if task != choice.detector]
        odd = [task for task in self.writers if not isinstance(model.head(task), CTC)]
        if timed and odd:
            kind = type(model.head(odd[0])).__name__
            raise ValueError(f"task {odd[0]!r} gives no times: its head is {kind}, not CTC")
        self.overlap = 0.0 if odd else OVERLAP
        self._decoders, self._timed = decoders, dict(decoders)
        for task in () if odd else self.writers:
            rate = frames_per_second(model, task)
            self._timed[task] = Timed(model.head(task), rate, decoders.get(task))

    def hear(self, sounds: Sounds, group: Sequence[_Piece], batch: float) -> None:
        """Hand what the model says of pieces to their recordings, in order."""
        if not group:
            return
        spans = self.timed or group[0].segment is not None
        answers = predict(
            self.model,
            _Pieces(sounds, group, number(self.model, self.choice)),
            self.stream,
            tasks=self.choice.tasks(),
            batch=batch,
            decoders=self._timed if spans else self._decoders,
        )
        for piece, answer in zip(group, answers, strict=True):
            piece.recording.add(piece, answer.predictions, answer.problem)


class _Pieces:
    """Pieces as a data set without labels."""

    def __init__(self, sounds: Sounds, pieces: Sequence[_Piece], lang: int) -> None:
        self._sounds, self._pieces, self._lang = sounds, pieces, lang
        self.ids = [sounds.ids[piece.recording.index] for piece in pieces]
        self.seconds = np.array([piece.seconds for piece in pieces])

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> list[str]:
        """Nothing is known of them."""
        return [""] * len(self)

    def labels(self, index: int) -> Mapping[str, Any]:
        """Give none."""
        return {}

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Read and prepare a piece."""
        recording, segment, _ = self._pieces[index]
        if segment is None:
            found = self._sounds.example(recording.index)
        else:
            found = self._sounds.cut(recording.index, segment.offset, segment.seconds)
        return found._replace(groups={**found.groups, LANG: self._lang})


class _Recording:
    """A recording, how many of its pieces are `left` to hear, and what the others said."""

    def __init__(self, sounds: Sounds, index: int, ears: _Ears) -> None:
        self.index, self.left = index, 0
        self._sounds, self._ears, self._problem = sounds, ears, ""
        self._lines = {task: Line(ears.model.head(task), ears.timed) for task in ears.writers}
        self._votes: dict[str, float] = {}

    def plan(self, chunk: float) -> list[_Piece]:
        """Cut it into pieces; none where it is silent or cannot be read."""
        try:
            found = self._cut(chunk)
        except ValueError as error:
            self._problem, found = str(error), []
        self.left = len(found)
        whole, fixed = float(self._sounds.seconds[self.index]), self._ears.fixed
        return [_Piece(self, x, whole if x is None else fixed or x.seconds) for x in found]

    def _cut(self, chunk: float) -> Sequence[Segment | None]:
        opened = self._sounds.opened(self.index)
        if opened is None:
            return [None]
        with opened as sound:
            if self._sounds.lengths[self.index] <= chunk:  # of silence, heads would write something
                loud = any(np.mean(np.square(block)) > SILENCE**2 for block in sound.blocks())
                return [None] if loud else []
            heard = sound.blocks(), sound.hz, sound.seconds
            return list(segments(*heard, most=chunk, overlap=self._ears.overlap))

    def add(self, piece: _Piece, said: Mapping[str, Prediction], problem: str) -> None:
        """Take what the model says of the next piece."""
        self.left -= 1
        self._problem = self._problem or problem
        if problem:
            return
        if self._ears.choice.detector is not None:
            lang, sure = said[self._ears.choice.detector]
            self._votes[lang] = self._votes.get(lang, 0.0) + sure * piece.seconds
        for task, line in self._lines.items():
            line.add(piece.segment, said[task])

    def told(self) -> Told:
        """Say what was said in all of it."""
        name, seconds = self._sounds.ids[self.index], self._sounds.lengths[self.index]
        if self._problem:
            return Told(name, seconds, problem=self._problem)
        choice = self._ears.choice
        said = {task: line.said() for task, line in self._lines.items()}
        if choice.detector is not None:
            if not self._votes:  # silence, which is in no language
                texts = {name: said[task] for name, task in choice.writers.items()}
                return Told(name, seconds, Transcript("", choice.lang, 0.0, texts))
            lang = max(self._votes, key=lambda name: self._votes[name])
            said[choice.detector] = Prediction(lang, self._votes[lang] / sum(self._votes.values()))
        try:
            found = choice.transcript(said)
        except ValueError as error:
            return Told(name, seconds, problem=f"{name}: {error}")
        line = self._lines[choice.writers.get(found.lang) or choice.writers["text"]]
        return Told(name, seconds, found, line.words, line.space)
