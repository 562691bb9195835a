"""Sequence: tasks that come one after another, languages or sets of pictures, the first with much data."""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from mtl.data.digits import blended, digits
from mtl.data.images import Picture, hold_out, only, read_pixels
from mtl.data.manifest import Utterance, read_manifest
from mtl.data.splits import Source
from mtl.data.synthetic import make_corpus
from mtl.gallery import Gallery, read_galleries
from mtl.model import Model
from mtl.problem import Pictures, Recordings
from mtl.stems.pixels import Pixels

SPEECH, IMAGES = "speech", "images"
LANGUAGES = "languages"  # the name of their sequence
Part = Pictures | Recordings
FEW_SECONDS, FEW_PICTURES = 12.0, 32.0  # of a step, where a task has little data


class Course:
    """Tasks in their order, each a problem with a stream of its name; all of one `modality`.

    The first is learnt from all its data, each later one from `count` examples, of each class for
    pictures. Raises ValueError for fewer than two tasks, and for one that has nothing to learn or to be
    tested on, or whose name torch needs.

    >>> pairs(Gallery("digits", *hold_out(digits(), 0.4)), count=10).names
    ['0-1', '2-3', '4-5', '6-7', '8-9']
    """

    def __init__(self, name: str, tasks: Mapping[str, Part], count: int) -> None:
        _refuse_few(name, tasks)
        for task, problem in tasks.items():
            _refuse_unusable(name, task, problem)
        self.name, self.count = name, count
        self.tasks: dict[str, Any] = dict(tasks)
        self.names, first = list(tasks), next(iter(tasks.values()))
        self.modality = first.stream
        for number, (task, problem) in enumerate(self.tasks.items()):
            problem.stream = task
            if number:
                problem.batch = FEW_SECONDS if self.modality == SPEECH else FEW_PICTURES

    @property
    def notes(self) -> list[str]:
        """Say what could not be used."""
        return list(dict.fromkeys(note for each in self.tasks.values() for note in each.notes))

    def items(self, task: str, seed: int) -> Sequence[Any]:
        """Choose what a task is learnt from; raises ValueError where it has fewer examples."""
        problem = self.tasks[task]
        first = task == self.names[0]
        found: Sequence[Any] = problem.train if first else problem.few(self.count, seed)
        return found

    def network(self, task: str) -> Model:
        """Make an untrained network for a task, drawn from torch's random state; the same for all tasks."""
        stem, trunk = self.tasks[task].network()
        if isinstance(stem, Pixels):
            colours = max(len(read_pixels(p.train[0].source)) for p in self.tasks.values())
            stem = Pixels(colours, stem.size, stem.dim, stem.kernel, stem.stride)
        model = Model({self.modality: stem}, trunk)
        self.enrol(model, task)
        return model

    def enrol(self, model: Model, task: str) -> None:
        """Give a model the stream and the new head of a task, which reads its newest column."""
        model.streams[task] = self.modality
        for made in self.tasks[task].tasks():
            model.add(made._replace(name=task))


def read_courses(
    data: Sequence[Path], test: Sequence[Path], languages: str, counts: Mapping[str, int]
) -> list[Course]:
    """Read manifests as a sequence of languages, and pictures as pairs of classes and as a sequence of sets.

    `languages` are those wanted and their order, else as they come. `counts` says by modality how many
    examples later tasks have. Raises ValueError for other files, or where no sequence can be made.
    """
    found = []
    spoken = [
        [path for path in part if path.suffix in (".jsonl", ".json")] for part in (data, test)
    ]
    shown = [[path for path in part if path not in spoken[0] + spoken[1]] for part in (data, test)]
    if spoken[0]:
        splits = Source(data=spoken[0], dev=spoken[1], test=spoken[1], languages=languages).read()
        given = [word.partition("=")[0].strip() for word in languages.split(",") if word.strip()]
        order = given or list(dict.fromkeys(u.lang for u in splits.train))
        found.append(_languages(order, splits.train, splits.test, counts[SPEECH]))
    if shown[0]:
        galleries = [_held(gallery) for gallery in read_galleries(shown[0], shown[1])]
        if len({p.label for p in galleries[0].train}) > 3:
            found.append(pairs(galleries[0], counts[IMAGES]))
        if len(galleries) > 1:
            found.append(domains(galleries, counts[IMAGES]))
    if not found:
        raise ValueError(
            "no sequence: give manifests of languages, or pictures of 4 classes or more"
        )
    return found


def speech(languages: str, count: int, small: bool = False) -> Course:
    """Make a sequence of languages of the embedded corpus: 1500 utterances of the first, `count` of others.

    The test has 100 of each, of voices that are not learnt from. Raises ImportError without `mtl[corpus]`.
    """
    order = [word.strip() for word in languages.split(",") if word.strip()]
    _refuse_few(LANGUAGES, order)
    sizes = {lang: count if number else 1500 for number, lang in enumerate(order)}
    made = make_corpus(
        {lang: min(size, 8) if small else size for lang, size in sizes.items()},
        dev=4,
        test=4 if small else 100,
    )
    train, held = (read_manifest(made[part]) for part in ("train", "test"))
    return _languages(order, train, held, min(count, 8) if small else count)


def images(count: int, small: bool = False) -> list[Course]:
    """Make sequences of scikit-learn's digits: five pairs of them, and digits before blended ones."""
    every = digits()[:400] if small else digits()
    plain, other = hold_out(every, 0.5)
    coloured = [blended(part, seed) for seed, part in enumerate(hold_out(other, 0.4))]
    both = [Gallery("digits", *hold_out(plain, 0.4)), Gallery("blended", *coloured)]
    return [pairs(Gallery("digits", *hold_out(every, 0.4)), count), domains(both, count)]


def pairs(gallery: Gallery, count: int) -> Course:
    """Make a task of every two classes, in their order, of which an odd last one is left out.

    Raises ValueError for fewer than four classes.
    """
    names = sorted({picture.label for picture in gallery.train})
    tasks: dict[str, Part] = {}
    for two in zip(names[::2], names[1::2], strict=False):
        tested = [picture for picture in gallery.test if picture.label in two]
        tasks["-".join(two).replace(".", "_")] = part = Pictures(only(gallery.train, two), tested)
        if len(names) % 2 and two[1] == names[-2]:
            part.notes = (
                f"{gallery.name}: class {names[-1]!r} is left over from pairs, and left out",
            )
    return Course(f"{gallery.name} in pairs", tasks, count)


def domains(galleries: Sequence[Gallery], count: int) -> Course:
    """Make a task of every set of pictures."""
    tasks: dict[str, Part] = {
        each.name.replace(".", "_"): Pictures(each.train, each.test) for each in galleries
    }
    return Course(" -> ".join(tasks), tasks, count)


def shuffled(items: Sequence[Any], seed: int) -> list[Any]:
    """Give each picture or utterance the label and text of another: what is learnt from them harms.

    >>> [p.label for p in shuffled(digits(8)[:5], 0)], [p.label for p in digits(8)[:5]]
    (['3', '4', '0', '1', '2'], ['0', '1', '2', '3', '4'])
    """
    others = random.Random(seed).sample(list(items), len(items))
    return [_mislabelled(item, other) for item, other in zip(items, others, strict=True)]


def _refuse_few(name: str, tasks: Collection[str]) -> None:
    if len(tasks) < 2:
        raise ValueError(f"{name}: a sequence takes two tasks or more, not {len(tasks)}")


def _refuse_unusable(name: str, task: str, problem: Part) -> None:
    """Raise ValueError now for what would end a run after the first task's training."""
    if "." in task or hasattr(nn.ModuleDict(), task):
        raise ValueError(f"{name}: torch cannot name a task {task!r}: rename it")
    if not problem.test:
        raise ValueError(f"{name}: there is nothing to test task {task!r} on")
    try:
        made = problem.tasks()
    except ValueError as error:
        raise ValueError(f"{name}: task {task!r}: {error}") from error
    if not made:
        raise ValueError(f"{name}: task {task!r} has neither texts nor labels to learn")


def _mislabelled(item: Any, other: Any) -> Any:
    if isinstance(item, Picture):
        return replace(item, label=other.label, labels=other.labels)
    return replace(item, text=other.text, label=other.label, phonemes=other.phonemes)


def _languages(
    order: Sequence[str], train: Sequence[Utterance], test: Sequence[Utterance], count: int
) -> Course:
    tasks: dict[str, Part] = {}
    for lang in order:
        parts = [[u for u in part if u.lang == lang] for part in (train, test)]
        tasks[lang] = Recordings(parts[0], parts[1])
    if mute := [lang for lang, problem in tasks.items() if not problem.test]:
        raise ValueError(f"no test utterance of {mute[0]!r}: give --test manifests that have some")
    return Course(LANGUAGES, tasks, count)


def _held(gallery: Gallery) -> Gallery:
    """Hold out two tenths of the pictures to test on, where there are none."""
    return gallery if gallery.test else Gallery(gallery.name, *hold_out(gallery.train, 0.2))


def cap(course: Course, most: int) -> Course:
    """Test every task on at most `most` examples, always the same."""
    for problem in course.tasks.values():
        tested = list(problem.test)
        problem.test = random.Random(0).sample(tested, min(most, len(tested)))
    return course
