"""Senses: words that are heard and pictures that are seen, two tasks of classes on one trunk."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mtl.data.augment import Augment
from mtl.data.cache import Cache
from mtl.data.digits import digits
from mtl.data.images import Images, coloured, hold_out
from mtl.data.manifest import read_manifest
from mtl.data.speech import Speech
from mtl.data.synthetic import make_words
from mtl.data.warp import Warp
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.problem import Pictures, Recordings, read_problem
from mtl.stems.logmel import LogMel
from mtl.stems.patches import Patches
from mtl.stream import Data, Stream
from mtl.trunks.conformer import Conformer

SPEECH, IMAGES = NAMES = ("speech", "images")  # of the tasks and of their streams
SIDE, PATCH = 32, 8  # pixels of every picture and of its patches: 16 frames
MANIFESTS = {".jsonl", ".json"}
T = TypeVar("T")


class Senses:
    """Utterances and pictures with a class each, to learn from and to test on.

    Of an utterance only the `label` counts, as a text: what is said is not told, and lines without a label
    are left out. At most `most` of each are for testing, the same in all runs. `notes` say what was done.
    Raises ValueError where no utterance has a label, or all have the same.
    """

    def __init__(self, speech: Recordings, images: Pictures, most: int = 2000) -> None:
        self.speech = _labelled(speech, most)
        self.images = Pictures(images.train, _some(images.test, most))
        self.classes = {SPEECH: self._head(SPEECH).classes, IMAGES: self._head(IMAGES).classes}
        self.alike = self.classes[SPEECH] == self.classes[IMAGES]
        self.notes = self.speech.notes
        self._cache, self._channels = Cache(), coloured(self.images.train)

    def _head(self, name: str) -> Classify:
        problem = self.speech if name == SPEECH else self.images
        head = problem.tasks()[0].head
        assert isinstance(head, Classify)
        return head

    def network(self, names: Sequence[str], width: int, depth: int, one_head: bool) -> Model:
        """Make a conformer with a stem and a head for each of `names`, or `one_head` for both.

        Drawn from torch's random state. Raises ValueError for one head where the classes are not alike.
        """
        if one_head and not self.alike:
            raise ValueError("speech and images have other classes: they cannot share a head")
        made: dict[str, Encoder] = {}
        if SPEECH in names:
            made[SPEECH] = LogMel(width)
        if IMAGES in names:
            made[IMAGES] = Patches(self._channels, SIDE, PATCH, width)
        tasks = [Task(name, name, self._head(name), label="label") for name in names]
        if one_head:
            tasks[1:] = [task._replace(head=names[0]) for task in tasks[1:]]
        return Model(made, Conformer(width, depth), tasks)

    def streams(
        self, model: Model, count: int, seed: int, batch: int, augment: Augment, warp: Warp
    ) -> dict[str, Stream]:
        """Draw `count` examples of each class (0 for all) for a model's tasks; a step takes `batch` of each.

        Of utterances it takes as many seconds as so many last on average. Raises ValueError for a class
        that has fewer.
        """
        found = {}
        if SPEECH in model.tasks:
            said = self.speech.few(count, seed)
            heard = Speech(said, model, augment=replace(augment, seed=seed), cache=self._cache)
            found[SPEECH] = Stream(heard, batch * float(heard.seconds.mean()))
        if IMAGES in model.tasks:
            drawn = self.images.few(count, seed)
            found[IMAGES] = Stream(Images(drawn, model, augment=replace(warp, seed=seed)), batch)
        return found

    def tests(self, model: Model) -> dict[str, Data]:
        """Give what tests a model's tasks."""
        data: dict[str, Data] = {}
        if SPEECH in model.tasks:
            data[SPEECH] = Speech(self.speech.test, model, cache=self._cache)
        if IMAGES in model.tasks:
            data[IMAGES] = Images(self.images.test, model)
        return data


def read_senses(
    speech: Sequence[Path], images: Sequence[Path], test: Sequence[Path], small: bool = False
) -> tuple[Recordings, Pictures]:
    """Read manifests, and an .npz file or a folder of classes; what is not given is embedded.

    `test` may hold both. Without manifests in it whole speakers are held out, without pictures a part of
    each class, or an .npz file's own. Raises ValueError for other files, and for tests of what is embedded;
    ImportError where speech has to be made without `mtl[corpus]`.
    """
    manifests = [path for path in test if path.suffix in MANIFESTS]
    pictures = [path for path in test if path.suffix not in MANIFESTS]
    for given, tests, option in ((speech, manifests, "data"), (images, pictures, "images")):
        if tests and not given:
            raise ValueError(
                f"--test {tests[0]} has nothing to learn from: give --{option} as well"
            )
    heard = read_problem(speech, manifests) if speech else _spoken(small)
    seen = read_problem(images, pictures) if images else _written(small)
    if not isinstance(heard, Recordings):
        raise ValueError(f"--data {speech[0]}: give speech manifests (.jsonl)")
    if not isinstance(seen, Pictures):
        raise ValueError(f"--images {images[0]}: give an .npz file or a folder of classes")
    return heard, seen


def _spoken(small: bool) -> Recordings:
    """Make English digits, said by other voices in the test."""
    takes, test = (2, 1) if small else (76, 40)  # of each digit; there are 38 voices and 8
    made = make_words("en", range(10), takes, dev=0, test=test)
    return Recordings(read_manifest(made["train"]), read_manifest(made["test"]))


def _written(small: bool) -> Pictures:
    """Take scikit-learn's handwritten digits, half of them for the test."""
    train, test = hold_out(digits(SIDE), 0.5)
    return Pictures(train, test[:20] if small else test)


def _labelled(given: Recordings, most: int) -> Recordings:
    """Keep the lines that have a label, without their texts, and some of the test."""
    train, test = (
        [replace(u, text="", label=str(u.label)) for u in part if u.label is not None]
        for part in (given.train, given.test)
    )
    if not train or not test:
        part = "test" if train else "training"
        raise ValueError(f"speech: no {part} line has a label; give each its class as `label`")
    lost = len(given.train) + len(given.test) - len(train) - len(test)
    notes = [f"speech: left out {lost} lines without a label"] if lost else []
    known, heard = ({u.speaker for u in part} for part in (train, test))
    notes.append(
        f"speech: {len(heard - known)} of {len(heard)} test speakers are unheard in training"
    )
    return Recordings(train, _some(test, most), [*given.notes, *notes])


def _some(items: Sequence[T], most: int) -> list[T]:
    """Choose at most so many, always the same."""
    return random.Random(0).sample(list(items), min(most, len(items)))
