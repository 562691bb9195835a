"""Problem: what a folder, an .npz file or manifests hold, as items, tasks and data for a model to learn."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from mtl.config import Fit
from mtl.data.augment import Augment
from mtl.data.cache import Cache
from mtl.data.images import Images, Picture, few, hold_out, read_folder, read_npz
from mtl.data.manifest import Utterance
from mtl.data.speech import Speech, describe_skips, screen
from mtl.data.splits import Source
from mtl.device import start_processes
from mtl.encoder import Encoder
from mtl.evaluate import evaluate
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.method import Method
from mtl.metrics import error_rate
from mtl.model import Model
from mtl.prefix import Prefix, prefix_end
from mtl.stems.logmel import LogMel
from mtl.stems.pixels import Pixels
from mtl.stream import Data, Stream
from mtl.text import TextRules, normalise, symbols
from mtl.trunks.conformer import Conformer
from mtl.trunks.resnet import ResNet

DRAWS = 4  # augmentations of an example, few enough to keep what a frozen part makes of each


class Problem(Protocol):
    """Items to learn from and to be tested on.

    `metric` is what counts; `batch` is what a step takes, in seconds or images.
    """

    stream: str
    metric: str
    batch: float
    train: Sequence[Any]
    test: Sequence[Any]
    notes: Sequence[str]

    def tasks(self, prefix: str = "") -> list[Task]:
        """Make the tasks with new heads; `prefix` tells their names from those a model has."""

    def few(self, count: int, seed: int) -> Sequence[Any]:
        """Choose training items: `count` of each class or language; 0 is all."""

    def network(self) -> tuple[Encoder, Encoder]:
        """Make a small stem and trunk for such items, drawn from torch's random state."""

    def data(
        self, model: Model, items: Sequence[Any], augment: int | None = None, stream: str = ""
    ) -> Data:
        """Give items as data for a model's stream (default: the problem's own).

        `augment` is the seed of what happens to them in training, None for evaluation.
        """


class Pictures:
    """Images and their classes; `notes` say what was left out."""

    stream, metric, batch = "images", "accuracy", 64.0
    notes: tuple[str, ...] = ()

    def __init__(self, train: Sequence[Picture], test: Sequence[Picture]) -> None:
        self.train, self.test = train, test

    def tasks(self, prefix: str = "") -> list[Task]:
        """Classify."""
        classes = _several(sorted({picture.label for picture in self.train}))
        return [Task(f"{prefix}label", self.stream, Classify(classes), label="label")]

    def few(self, count: int, seed: int) -> Sequence[Picture]:
        """Choose `count` pictures of each class."""
        return few(self.train, count, seed) if count else self.train

    def network(self) -> tuple[Encoder, Encoder]:
        """Make four convolutions without skips, as in Yosinski et al. 2014 but smaller."""
        return Pixels(1, 32, 16, stride=2), ResNet(16, [32, 64, 128], residual=False)

    def data(
        self,
        model: Model,
        items: Sequence[Picture],
        augment: int | None = None,
        stream: str = "",
    ) -> Images:
        """Give pictures as data."""
        return Images(items, model, stream or self.stream)


class Recordings:
    """Utterances with transcripts, a CTC head per language, or with labels."""

    stream, batch = "speech", 36.0

    def __init__(
        self, train: Sequence[Utterance], test: Sequence[Utterance], notes: Sequence[str] = ()
    ) -> None:
        self.train, self.test, self._cache = train, test, Cache()
        self.notes = list(notes)
        labels = {utterance.label for utterance in train if utterance.label is not None}
        written = any(utterance.text.strip() for utterance in train)
        self._classes: list[Any] = [] if written else sorted(labels, key=str)
        self.metric = "accuracy" if self._classes else "cer"

    def tasks(self, prefix: str = "") -> list[Task]:
        """Write what is said or, where manifests have labels and no texts, classify."""
        if self._classes:
            classes = _several(self._classes)
            return [Task(f"{prefix}label", self.stream, Classify(classes), label="label")]
        texts: dict[str, list[str]] = {}
        for utterance in self.train:
            if utterance.text.strip():
                texts.setdefault(utterance.lang, []).append(normalise(utterance.text, TextRules()))
        return [
            Task(f"{prefix}{lang}", self.stream, CTC(symbols(found)), label=lang)
            for lang, found in sorted(texts.items())
        ]

    def few(self, count: int, seed: int) -> Sequence[Utterance]:
        """Choose `count` utterances of each class or language; a larger count adds to them."""
        if not count:
            return self.train
        kind = "label" if self._classes else "lang"
        groups: dict[Any, list[Utterance]] = {}
        for utterance in self.train:
            groups.setdefault(getattr(utterance, kind), []).append(utterance)
        groups.pop(None, None)  # without a label
        chosen: list[Utterance] = []
        for name, own in groups.items():
            if len(own) < count:
                raise ValueError(f"{kind} {name!r} has {len(own)} utterances, {count} are wanted")
            random.Random(f"{seed} {name}").shuffle(own)
            chosen += own[:count]
        return chosen

    def network(self) -> tuple[Encoder, Encoder]:
        """Make a conformer of four blocks on log-mel frames, 30 ms each."""
        return LogMel(144, subsample=3), Conformer(144, 4)

    def data(
        self,
        model: Model,
        items: Sequence[Utterance],
        augment: int | None = None,
        stream: str = "",
    ) -> Speech:
        """Give what a model can use of utterances as data; `notes` says what it cannot."""
        if augment is None:
            return Speech(items, model, stream or self.stream, cache=self._cache)
        usable, skips = screen(items, model, stream or self.stream)
        self.notes += [n for n in describe_skips(skips, len(items)) if n not in self.notes]
        masks = Augment(
            time_masks=2, time_frames=25, bin_masks=2, bins=15, draws=DRAWS, seed=augment
        )
        return Speech(usable, model, stream or self.stream, augment=masks, cache=self._cache)


def _several(classes: list[Any]) -> list[Any]:
    """Raise ValueError for one class, which any network tells."""
    if len(classes) == 1:
        raise ValueError(f"class {classes[0]!r} is the only one: there is nothing to tell apart")
    return classes


def read_problem(data: Sequence[Path], test: Sequence[Path] = ()) -> Pictures | Recordings:
    """Read speech manifests (.jsonl, .json), one .npz file, or one folder with a folder per class.

    Without `test`, a tenth of the speakers or two tenths of the pictures of each class are held out; an
    .npz file has its own test part. Raises ValueError for anything else, naming it.
    """
    paths = [*data, *test]
    if missing := [str(path) for path in paths if not path.exists()]:
        raise ValueError(f"{', '.join(missing)}: no such file or folder")
    kinds = {"folder" if path.is_dir() else path.suffix for path in paths}
    if data and kinds <= {".jsonl", ".json"}:
        return _recordings(data, test)
    if len(data) != 1 or len(test) > 1 or kinds not in ({".npz"}, {"folder"}):
        given = ", ".join(map(str, paths)) or "nothing"
        raise ValueError(f"{given}: give manifests (.jsonl), one .npz file or one folder")
    if kinds == {".npz"}:
        pictures = Pictures(read_npz(data[0]), read_npz((test or data)[0], "test"))
    elif test:
        pictures = Pictures(read_folder(data[0]), read_folder(test[0]))
    else:
        pictures = Pictures(*hold_out(read_folder(data[0]), 0.2))
    if not (pictures.train and pictures.test):
        counts = f"{len(pictures.train)} pictures to learn from and {len(pictures.test)} to test on"
        raise ValueError(f"{data[0]} gives {counts}: both are needed")
    return pictures


def _recordings(data: Sequence[Path], test: Sequence[Path]) -> Recordings:
    """Read manifests; the test part also stands for the dev part, which nothing needs."""
    splits = Source(data=list(data), test=list(test), dev=list(test)).read()
    if not any(u.text.strip() or u.label is not None for u in splits.train):
        raise ValueError(f"{', '.join(map(str, data))}: no line has a text or a label to learn")
    notes = [note for note in splits.notes if note.startswith("test:")]
    return Recordings(splits.train, splits.test, notes)


def build(problem: Problem) -> Model:
    """Make a small untrained network for a problem, drawn from torch's random state."""
    stem, trunk = problem.network()
    return Model({problem.stream: stem}, trunk, problem.tasks())


def kept(folder: Path, make: Callable[[], Model]) -> Model:
    """Load the model in `folder`, or make and save it; processes make it together, the first one saves."""
    state = start_processes()
    if not folder.is_dir():
        model = make()
        if state.is_main_process:
            model.save_pretrained(folder)
        state.wait_for_everyone()
    return Model.from_pretrained(folder)


def trained(folder: Path, problem: Problem, config: Fit) -> Model:
    """Load the network in `folder`, or `build` one from `config.seed`, train it and save it."""

    def make() -> Model:
        torch.manual_seed(config.seed)
        model = build(problem)
        learn(model, problem, problem.train, config)
        return model

    return kept(folder, make)


def learn(
    model: Model,
    problem: Problem,
    items: Sequence[Any],
    config: Fit,
    methods: Mapping[str, Method] | None = None,
) -> dict[str, str]:
    """Train on items; what a frozen front of the network gives is computed once and kept.

    Gives what could not be used, {id: reason}.
    """
    data = problem.data(model, items, augment=config.seed)
    if prefix_end(model, problem.stream):
        data = Prefix(data, model, problem.stream, draws=DRAWS)
    stream = Stream(data, problem.batch)
    return fit(model, {problem.stream: stream}, config, methods=methods, show=False).skipped


def figures(
    model: Model, problem: Problem, items: Sequence[Any], stream: str = ""
) -> dict[str, Any]:
    """Evaluate by the problem's metric, and per example (errors or hits, units, speaker).

    `skipped` {id: reason} is what could not be used, which counts as errors. Other tasks of the stream do
    not count. Raises ValueError where no example has a label of the model's.
    """
    stream = stream or problem.stream
    result = evaluate(model, {stream: problem.data(model, items, stream=stream)})
    metric = problem.metric
    counts: list[Any] = [[*r.counts[metric], r.group] for r in result.rows if metric in r.counts]
    if not counts:
        known = ", ".join(task.name for task in model.tasks_of(stream)) or "none"
        raise ValueError(f"nothing to test in {metric}: tasks of stream {stream!r}: {known}")
    value = error_rate([row[0] for row in counts], [row[1] for row in counts])
    skipped = {row.id: row.problem for row in result.rows if row.problem}
    found = {"metric": metric, "value": value, "n": len(counts), "counts": counts}
    return found | ({"skipped": skipped} if skipped else {})
