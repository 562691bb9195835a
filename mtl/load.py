"""Load: a saved model as something to call on recordings or images."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.batch import Example
from mtl.data.audio import Recording, audio_seconds, open_audio, read_frames
from mtl.data.pixels import read_pixels
from mtl.data.samples import Samples
from mtl.decode.beam import Search
from mtl.decoding import beams
from mtl.delta import folder_beside, read, wear
from mtl.encoder import Encoder
from mtl.head import Prediction
from mtl.languages import AUTO, Choice, Transcript, choose, writers
from mtl.long import CHUNK, Told, transcribe
from mtl.model import Model
from mtl.naming import find
from mtl.predict import Answer, Decoder, predict

FRAMES = (".npy", ".npz")  # files of precomputed frames
Input = str | PathLike[str] | NDArray[Any] | Tensor


class Label(NamedTuple):
    """The class that the first task of the stream tells, and what every task says."""

    label: Any
    confidence: float
    labels: dict[str, Prediction]


def load(
    source: str | PathLike[str],
    revision: str | None = None,
    device: str | None = None,
    *,
    speaker: str | None = None,
    speakers: str | PathLike[str] | None = None,
    search: Search | None = None,
) -> "Loaded":
    """Load a model by folder or hub id, onto `device` (default: the GPU if there is one).

    With `speaker` it is as `mtl adapt` made it for this person, whose delta lies in the folder `speakers`
    (default: the one beside the model's folder). With `search` it writes by a beam search, see
    `mtl.decoding.beams`. Raises what `Model.from_pretrained` and `mtl.delta.read` and `wear` raise, and
    ValueError for `speakers` without `speaker`.

    >>> import tempfile, mtl
    >>> from mtl.heads.classify import Classify
    >>> from mtl.stems.patches import Patches
    >>> from mtl.trunks.transformer import Transformer
    >>> task = mtl.Task("digit", "images", Classify(["0", "1"]))
    >>> stem = Patches(channels=1, size=8, patch=4, dim=8)
    >>> model = mtl.Model({"images": stem}, Transformer(8, depth=1, heads=2), [task])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save_pretrained(folder)
    ...     classify = mtl.load(folder)
    >>> classify(np.zeros((8, 8), np.uint8)).label in ("0", "1")
    True
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = Model.from_pretrained(source, revision)
    if speaker is None:
        if speakers is not None:
            raise ValueError(f"speakers {str(speakers)!r}: name the speaker as well")
        return Loaded(model.to(device), search=search)
    delta = read(find(speakers or folder_beside(source), speaker))
    numbers = wear(model, [delta])
    return Loaded(model.to(device), numbers[delta.name], search)


class Loaded:
    """A model, in `model`, to call on sounds or images; `speaker` numbers who speaks, 0 is nobody."""

    def __init__(self, model: Model, speaker: int = 0, search: Search | None = None) -> None:
        self.model, self.speaker, self.search = model, speaker, search
        self._built: dict[tuple[str, str], Mapping[str, Decoder]] = {}

    def __call__(
        self,
        given: Input | Sequence[Input],
        hz: int | None = None,
        *,
        lang: str = AUTO,
        stream: str | None = None,
        batch: float = 60.0,
        chunk: float = CHUNK,
    ) -> Any:
        """Give a `Transcript` (or, from a model that writes nothing, a `Label`); a list of them for a list.

        Sounds are files of any rate, or samples (N,) at `hz`, or (N, channels), which are mixed down; images
        are files, arrays (H, W) or (H, W, 3), or tensors (C, H, W), bytes or 0 to 1. `lang` names the
        language, "auto" lets the model tell it. `batch` is the seconds of audio (or images) that run at
        once, `chunk` the longest piece of a sound that is written whole: longer ones are cut at their pauses.
        Raises ValueError for what cannot be read, is no input of this model, or sounds like a language that
        it does not write.
        """
        several = isinstance(given, list | tuple)
        inputs: Any = given if several else [given]
        stream = self._only_stream() if stream is None else stream
        if writers(self.model, stream):
            settings: dict[str, Any] = {"lang": lang, "batch": batch, "chunk": chunk}
            replies: list[Any] = [
                _transcript(told) for told in self.listen(inputs, hz, stream=stream, **settings)
            ]
        else:
            data = Inputs(inputs, self.model.stem(stream), hz, self.speaker)
            replies = [_label(answer) for answer in predict(self.model, data, stream, batch=batch)]
        return replies if several else replies[0]

    def listen(
        self,
        given: Sequence[Input],
        hz: int | None = None,
        *,
        lang: str = AUTO,
        stream: str | None = None,
        timed: bool = False,
        **settings: Any,
    ) -> Iterator[Told]:
        """Give what is said in each sound, or the problem with it, one after the other.

        Where `timed` with the words and their times. `settings` are those of `mtl.long.transcribe`.
        """
        stream = self._only_stream() if stream is None else stream
        data = Inputs(given, self.model.stem(stream), hz, self.speaker)
        choice = choose(self.model, lang, stream)
        if self.search is not None:
            settings.setdefault("decoders", self._beams(choice, stream))
        yield from transcribe(self.model, data, choice, stream=stream, timed=timed, **settings)

    def _beams(self, choice: Choice, stream: str) -> Mapping[str, Decoder]:
        """Give the beam searches for a choice of languages; building one takes longer than a sentence."""
        lang = "" if choice.detector else choice.lang
        if (lang, stream) not in self._built:
            assert self.search is not None
            self._built[lang, stream] = beams(self.model, self.search, lang, stream)
        return self._built[lang, stream]

    def _only_stream(self) -> str:
        """Give the one stream that tasks read."""
        known = [name for name in self.model.streams if self.model.tasks_of(name)]
        if len(known) != 1:
            raise ValueError(f"give stream: this model has tasks on {', '.join(known) or 'none'}")
        return known[0]


class Inputs:
    """Files and arrays as a data set without labels; a file is read when its turn comes.

    `speaker` is the number of who speaks in all of them, as `mtl.delta.wear` gives it; 0 is nobody. Raises
    ValueError for what is no input at all, or a file that does not exist.
    """

    def __init__(
        self, inputs: Sequence[Input], stem: Encoder, hz: int | None = None, speaker: int = 0
    ) -> None:
        if hz is not None and not (isinstance(hz, int | np.integer) and hz > 0):
            raise ValueError(f"hz is {hz!r}; give the sample rate, a whole number such as 16000")
        self._raw = [_checked(item, hz) for item in inputs]
        self.ids = [
            str(x) if isinstance(x, Path) else f"input {i}" for i, x in enumerate(self._raw)
        ]
        self._stem, self._hz, self._speaker = stem, hz, speaker
        self.image = takes_images(stem)
        self.lengths = [self._seconds(raw) for raw in self._raw]
        # what they cost, which is the same for all where all are padded to one length
        self.seconds = np.array([stem.fixed_seconds or length for length in self.lengths])

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> list[str]:
        """Nothing is known of the inputs."""
        return [""] * len(self)

    def labels(self, index: int) -> Mapping[str, Any]:
        """Give none."""
        return {}

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Read and prepare an input."""
        raw = self._raw[index]
        return self._prepared(index, self._pixels(raw) if self.image else self._samples(raw))

    def opened(self, index: int) -> AbstractContextManager[Recording | Samples] | None:
        """Open a sound, to read it in parts; None for images and precomputed frames."""
        raw = self._raw[index]
        return None if self.image or self._has_frames(raw) else self._open(raw)

    def cut(self, index: int, offset: float, seconds: float) -> Example:
        """Read and prepare a part of a sound."""
        with self._open(self._raw[index]) as sound:
            samples = sound.cut(self._stem.hz, offset, seconds)
        return self._prepared(index, torch.from_numpy(samples))

    def _prepared(self, index: int, taken: Tensor) -> Example:
        groups = {"speaker": self._speaker}
        return Example(self._stem.prepare(taken), groups=groups, id=self.ids[index])

    def _seconds(self, raw: Path | Tensor) -> float:
        """Give the length of a sound, by its header alone; an image counts 1."""
        if self.image:
            return 1.0
        if isinstance(raw, Tensor):
            return (max(raw.shape) if self._hz else len(raw)) / (
                self._hz or self._stem.frames_per_second
            )
        if raw.suffix in FRAMES:
            return len(read_frames(raw)) / self._stem.frames_per_second
        return audio_seconds(raw)

    def _pixels(self, raw: Path | Tensor) -> Tensor:
        return read_pixels(raw) if isinstance(raw, Path) else raw

    def _has_frames(self, raw: Path | Tensor) -> bool:
        """Say whether an input is precomputed frames."""
        if isinstance(raw, Path):
            return raw.suffix in FRAMES
        return raw.dim() == 2 and self._hz is None

    def _open(self, raw: Path | Tensor) -> AbstractContextManager[Recording | Samples]:
        return open_audio(raw) if isinstance(raw, Path) else nullcontext(Samples(raw, self._hz))

    def _samples(self, raw: Path | Tensor) -> Tensor:
        """Give samples (N,), or frames (T, D), whose stem looks at their width."""
        if self._has_frames(raw):
            return torch.from_numpy(read_frames(raw)) if isinstance(raw, Path) else raw.float()
        with self._open(raw) as sound:
            return torch.from_numpy(sound.cut(self._stem.hz))


def takes_images(stem: Encoder) -> bool:
    """Say whether a stem prepares pixels, which it is asked to do.

    >>> from mtl.stems.logmel import LogMel
    >>> takes_images(LogMel(8))
    False
    """
    try:
        return stem.prepare(torch.zeros(3, 32, 32, dtype=torch.uint8)).dim() == 3
    except (ValueError, TypeError, IndexError, RuntimeError):
        return False


def _checked(given: Any, hz: int | None) -> Path | Tensor:
    """Give a file that exists, or a tensor: of an image the channels first."""
    if isinstance(given, str | PathLike):
        path = Path(given)
        if not path.is_file():
            what = "is a folder; name the files in it" if path.is_dir() else "no such file"
            raise ValueError(f"{path}: {what}")
        return path
    if isinstance(given, Tensor):
        return given.detach().cpu()
    array = np.asarray(given)
    if array.dtype.kind not in "uif" or not array.ndim:
        raise ValueError(f"{type(given).__name__} {given!r:.40} is neither a file nor an array")
    colours_last = hz is None and array.ndim == 3 and array.shape[2] in (1, 3)
    return torch.from_numpy(
        np.ascontiguousarray(array.transpose(2, 0, 1) if colours_last else array)
    )


def _transcript(told: Told) -> Transcript:
    if told.transcript is None:
        raise ValueError(_named(told.id, told.problem))
    return told.transcript


def _label(answer: Answer) -> Label:
    if answer.problem:
        raise ValueError(_named(answer.id, answer.problem))
    first = next(iter(answer.predictions.values()), Prediction(None, math.nan))
    return Label(first.value, first.confidence, answer.predictions)


def _named(name: str, problem: str) -> str:
    return problem if problem.startswith(name) else f"{name}: {problem}"
