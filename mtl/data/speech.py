"""Speech: utterances as training examples, and the count of those that cannot be used."""

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.batch import Example
from mtl.data.audio import audio_seconds, read_audio, read_frames
from mtl.data.augment import Augment, change_speed, change_tempo
from mtl.data.cache import Cache, content_key
from mtl.data.manifest import Utterance
from mtl.encoder import Encoder
from mtl.head import Head
from mtl.members import numbers
from mtl.model import Model
from mtl.registry import describe
from mtl.text import SymbolError


class Speech:
    """Utterances for one stream of a model.

    The raw labels of an utterance are `text`, the same text under its language's code, `language`,
    `speaker`, `phonemes`, `<language>-phonemes` and `label`, as far as the manifest has them; a task
    learns from the one that carries its name (or its `label`). `groups` numbers the values of columns
    for `Batch.groups`, such as {"speaker": {"": 0, "anna": 1}}; a value that is not listed has the number
    of "", and where "" is not listed either, its utterances cannot be used. What the model itself numbers,
    see `mtl.members`, need not be given.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        model: Model,
        stream: str = "speech",
        *,
        augment: Augment | None = None,
        cache: Cache | None = None,
        groups: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.utterances = list(utterances)
        fixed = model.stem(stream).fixed_seconds
        self.seconds: NDArray[np.float64] = np.array([fixed or u.seconds for u in self.utterances])
        self.ids = [u.id for u in self.utterances]
        # A copy stays on the processor, where data workers compute, wherever the model goes.
        self._stem: Encoder = copy.deepcopy(model.stem(stream)).cpu().requires_grad_(False)
        self._settings = str(describe(self._stem))
        self._tasks = [(t.label or t.name, _Target(t.name, model)) for t in model.tasks_of(stream)]
        self._augment, self._cache = augment, cache
        self._groups = numbers(model) | dict(groups or {})
        self.settings = f"{self._settings} {augment} {cache is not None}"
        if self._groups:
            self.settings += f" {self._groups}"

    def __len__(self) -> int:
        return len(self.utterances)

    def column(self, name: str) -> list[str]:
        """Give a property of every utterance: lang, speaker, text, ..."""
        return [str(getattr(utterance, name)) for utterance in self.utterances]

    def labels(self, index: int) -> dict[str, Any]:
        """Give an utterance's raw labels."""
        return raw_labels(self.utterances[index])

    def example(self, index: int, draw: int | None = None, targets: bool = True) -> Example:
        """Load frames and labels; ValueError names the manifest line of what cannot be used."""
        utterance = self.utterances[index]
        try:
            frames = self._frames(utterance, draw)
            labels = self._targets(utterance, len(frames)) if targets else {}
            groups = self._numbers(utterance, draw)
        except ValueError as error:
            raise ValueError(f"{utterance.where} ({utterance.id}): {error}") from error
        return Example(frames, labels, utterance.weight, groups, utterance.id)

    def _numbers(self, utterance: Utterance, draw: int | None) -> dict[str, int]:
        found = {}
        for column, known in self._groups.items():
            value = str(getattr(utterance, column))
            number = known.get(value, known.get(""))
            if number is None:
                raise ValueError(f"{column} {value!r} has no number; known are {len(known)} others")
            found[column] = number
        if self._augment is None or draw is None:
            return found
        return self._augment.unname(found, utterance.id, draw)

    def _targets(self, utterance: Utterance, frames: int) -> dict[str, Tensor]:
        raw, found = raw_labels(utterance), dict[str, Tensor]()
        for name, target in self._tasks:
            if name in raw:
                encoded = target(raw[name], frames)
                if not found.setdefault(name, encoded).equal(encoded):
                    raise ValueError(f"two heads encode label {name!r} differently; rename one")
        return found

    def _frames(self, utterance: Utterance, draw: int | None) -> Tensor:
        """Give the stem's prepared input (T, D), augmented where `draw` is a number."""
        augment = self._augment if draw is not None else None
        speed = augment.speed(utterance.id, draw or 0) if augment else 1.0
        noisy = augment is not None and augment.noise_db is not None
        frames = self._prepared(utterance, speed, augment if noisy else None, draw or 0)
        masked = augment is not None and frames.dim() == 2  # samples have no bins to mask
        return augment.mask(frames, utterance.id, draw or 0) if augment and masked else frames

    def _prepared(
        self, utterance: Utterance, speed: float, noise: Augment | None, draw: int
    ) -> Tensor:
        def compute() -> Tensor:
            samples = self._raw(utterance)
            if utterance.audio is not None:
                samples = change_speed(samples, speed, self._stem.hz)
                samples = noise.noise(samples, utterance.id, draw) if noise else samples
            else:
                samples = change_tempo(samples, speed)
            return self._stem.prepare(samples)

        # Features are read as fast as a cache of them would be.
        if self._cache is None or noise is not None or utterance.audio is None:
            return compute()
        place = (utterance.offset, utterance.seconds, speed)
        if self._cache.folder is None:
            return self._cache.get(f"{utterance.audio} {place} {self._settings}", compute)
        try:
            key = content_key(utterance.audio, place, self._settings)
        except OSError as error:
            raise ValueError(f"{utterance.audio}: {error.strerror}") from error
        return self._cache.get(key, compute)

    def _raw(self, utterance: Utterance) -> Tensor:
        """Read samples (N,) or precomputed frames (T, D)."""
        if utterance.audio is None:
            if utterance.features is None:
                raise ValueError("neither audio nor features; give audio_filepath")
            return torch.from_numpy(read_frames(utterance.features, utterance.key))
        offset, seconds = utterance.offset, utterance.seconds
        # Durations are rounded: at offset 0 a line is a cut only where the file goes well past it.
        cut = offset or audio_seconds(utterance.audio) > 1.05 * seconds + 0.01
        samples = read_audio(utterance.audio, self._stem.hz, offset, seconds if cut else None)
        return torch.from_numpy(samples)


class _Target:
    """How one task encodes a raw label, and whether the frames can carry it."""

    def __init__(self, task: str, model: Model) -> None:
        self._task, self._model = task, model

    def __call__(self, label: Any, frames: int) -> Tensor:
        encoded = self._model.head(self._task).encode(label)
        if problem := too_short(self._model, self._task, encoded, frames):
            raise ValueError(problem)
        return encoded


def raw_labels(utterance: Utterance) -> dict[str, Any]:
    """Give all labels that an utterance carries, by name."""
    lang = utterance.lang
    labels: dict[str, Any] = {"language": lang, "speaker": utterance.speaker}
    if utterance.text.strip():
        labels |= {"text": utterance.text, lang: utterance.text}
    if utterance.phonemes:
        labels |= {"phonemes": utterance.phonemes, f"{lang}-phonemes": utterance.phonemes}
    if utterance.label is not None:
        labels["label"] = utterance.label
    return labels


def too_short(model: Model, task: str, label: Tensor, frames: int) -> str:
    """Say why `frames` prepared frames cannot carry a sequence label; empty where they can."""
    needs = getattr(model.head(task), "needs", None)
    if needs is None:
        return ""
    has = int(model.frames(task, torch.tensor(frames)))
    if needs(label) <= has:
        return ""
    return f"{needs(label)} symbols (with repeats) but {has} frames: too short for CTC"


class Skip(NamedTuple):
    """An utterance left out of training, and why; `kind` is the reason in a word or two."""

    id: str
    where: str
    lang: str
    kind: str
    reason: str


def screen(
    utterances: Iterable[Utterance], model: Model, stream: str = "speech"
) -> tuple[list[Utterance], list[Skip]]:
    """Part the utterances that a model can learn from, by text and duration, from those it cannot.

    Nothing is read from the disk: a broken file is found, counted and named when it is first loaded.
    """
    tasks = [(task.label or task.name, task.name) for task in model.tasks_of(stream)]
    kept, skipped = [], []
    for utterance in utterances:
        kind, reason = _unusable(utterance, model, stream, tasks)
        if kind:
            place = f"{utterance.where}: {reason}"
            skipped.append(Skip(utterance.id, utterance.where, utterance.lang, kind, place))
        else:
            kept.append(utterance)
    return kept, skipped


def _unusable(
    utterance: Utterance, model: Model, stream: str, tasks: Sequence[tuple[str, str]]
) -> tuple[str, str]:
    """Give (kind, reason), both empty where the utterance is fine."""
    raw = raw_labels(utterance)
    # What every utterance has does not make it useful to a model that is to learn more.
    wanted = [name for name, _ in tasks if name not in ("language", "speaker")]
    if wanted and not set(wanted) & set(raw):
        if "text" not in raw:
            return "no text", "empty text; write what is said, or drop the line"
        known = ", ".join(dict.fromkeys(wanted))  # heads on inner blocks have the same labels
        return "language", f"language {utterance.lang!r} has no task; this model has: {known}"
    stem = model.stem(stream)
    if 0 < stem.fixed_seconds < utterance.seconds:
        return "too long", f"{utterance.seconds:.1f} s; this stem takes {stem.fixed_seconds:.0f}"
    frames = round(utterance.seconds * stem.frames_per_second)
    for name, task in tasks:
        if name not in raw:
            continue
        head: Head = model.head(task)
        try:
            label = head.encode(raw[name])
        except SymbolError as error:
            return "symbols", str(error)
        except ValueError as error:
            return "label", str(error)
        if problem := too_short(model, task, label, frames):
            return "too short", problem
    return "", ""


def describe_skips(skips: Sequence[Skip], total: int) -> list[str]:
    """Sum skips up for a person: a line per language and kind, with the first one named."""
    lines = []
    for (lang, kind), count in sorted(Counter((skip.lang, skip.kind) for skip in skips).items()):
        first = next(skip for skip in skips if (skip.lang, skip.kind) == (lang, kind))
        lines.append(f"{lang}: left out {count} of {total} utterances ({kind}), {first.reason}")
    return lines


def choose_subsample(
    utterances: Iterable[Utterance],
    needs: Callable[[Utterance], int],
    most: float = 0.005,
    hz: float = 100.0,
) -> tuple[int, list[str]]:
    """Choose the coarsest frame rate at which CTC can spell all but a share `most` of each language.

    `needs` counts the frames that spelling an utterance takes; `hz` frames per second enter the stem.
    Utterances that no rate can spell do not count. Gives the subsampling (4, 3, 2 or 1) and a line for
    each language that a coarser one would lose more of.
    """
    counts: dict[str, list[tuple[int, float]]] = {}
    for utterance in utterances:
        pair = needs(utterance), utterance.seconds * hz
        counts.setdefault(utterance.lang, []).append(pair)
    lines = []
    for factor in (4, 3, 2, 1):
        lost = {
            lang: sum(math.ceil(f / factor) < n <= math.ceil(f) for n, f in pairs) / len(pairs)
            for lang, pairs in sorted(counts.items())
        }
        bad = {lang: share for lang, share in lost.items() if share > most}
        if not bad:
            break
        lines += [
            f"{lang}: {share:.1%} of the utterances have more symbols than frames at {factor}x"
            for lang, share in bad.items()
        ]
    return factor, lines
