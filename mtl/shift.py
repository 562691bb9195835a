"""Shift: a source with labels and a target whose labels only the test sees, as one network's problem."""

import importlib
import inspect
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mtl.data.channels import through
from mtl.data.digits import blended, digits
from mtl.data.images import Picture, hold_out
from mtl.data.manifest import Utterance, read_manifest
from mtl.data.pixels import read_pixels
from mtl.data.synthetic import make_words
from mtl.device import start_processes
from mtl.domains import Adapting
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.problem import Pictures, Recordings, read_problem
from mtl.registry import names
from mtl.stems.logmel import LogMel
from mtl.stems.pixels import Pixels
from mtl.stream import Stream
from mtl.trunks.conformer import Conformer
from mtl.trunks.lenet import LeNet
from mtl.trunks.resnet import ResNet

SOURCE, TARGET, TASK = (
    "source",
    "target",
    "label",
)  # two streams, and the task, which reads the source
SOURCE_ONLY, TARGET_ONLY = "source-only", "target-only"
SIDE = 28  # pixels that every picture is brought to
WIDTH, DEPTH = 96, 2  # of the conformer that hears
# Where a method looks: in the last two blocks, behind the last one, or at the scores, as its paper has it.
PLACES: Mapping[str, Mapping[str, Any]] = {
    "dan": {"at": (-2, -1), "scores": [TASK]},
    "coral": {"at": (), "scores": [TASK]},
    "dann": {"at": -2},
}
Items = Sequence[Any]
Side = Pictures | Recordings


class Shift(NamedTuple):
    """Two domains of one problem, pictures or recordings with labels; `notes` say what was done.

    `train` and `test` of the target have labels: adapted networks get `unlabelled` ones.
    """

    source: Side
    target: Side
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """List the source's classes."""
        head = self.source.tasks()[0].head
        assert isinstance(head, Classify)
        return head.classes

    def network(self, kind: str) -> Model:
        """Make a small network with one head, drawn from torch's random state.

        `kind` is lenet or resnet for pictures; a conformer hears recordings.
        """
        stem: Encoder
        trunk: Encoder
        if isinstance(self.source, Recordings):
            stem, trunk = LogMel(WIDTH), Conformer(WIDTH, DEPTH)
        else:
            first: list[Any] = [side.train[0] for side in (self.source, self.target)]
            channels = max(len(read_pixels(picture.source)) for picture in first)
            stem, trunk = Pixels(channels, SIDE, 32, kernel=5), LeNet(32, SIDE)
            if kind == "resnet":
                stem, trunk = Pixels(channels, SIDE, 16, stride=2), ResNet(16, [32, 64, 128])
        kept = {"domains": stem}
        task = Task(TASK, SOURCE, Classify(self.classes), label="label")
        return Model(kept, trunk, [task], dict.fromkeys((SOURCE, TARGET), "domains"))

    def streams(self, model: Model, arm: str, batch: int, seed: int) -> dict[str, Stream]:
        """Give what an arm learns from: `batch` labelled examples per step, and as many of the target's.

        Target-only learns from the target's labels in the source's place; the others never see one.
        """
        labelled: Any = self.target if arm == TARGET_ONLY else self.source
        target: Any = self.target
        data = {SOURCE: labelled.data(model, labelled.train, seed, SOURCE)}
        if arm not in (SOURCE_ONLY, TARGET_ONLY):
            data[TARGET] = target.data(model, unlabelled(target.train), seed, TARGET)
        # Of utterances a step takes as many seconds as so many last on average.
        return {n: Stream(d, batch * float(d.seconds.mean())) for n, d in data.items()}


def unlabelled(items: Items) -> list[Any]:
    """Take everything that is to be learnt off pictures or utterances.

    >>> unlabelled(digits(8)[:1])[0].known()
    {}
    """
    return [
        replace(item, label="", labels={})
        if isinstance(item, Picture)
        else replace(item, text="", label=None, phonemes=None)
        for item in items
    ]


def adapting(name: str, blocks: Sequence[str], weight: float | None = None) -> Adapting:
    """Make the method of `mtl/methods/<name>.py` for the streams of a `Shift`.

    `weight` is its strength, by default its own. Raises ValueError for what is no method of adaptation.
    """
    if name not in methods():
        raise ValueError(f"{name!r} adapts to no domain; choose from {', '.join(methods())}")
    places = dict(PLACES.get(name, {}))
    if "at" in places:
        at = places["at"]
        places["at"] = blocks[at] if isinstance(at, int) else [blocks[place] for place in at]
    strength = {} if weight is None else {"weight": weight}
    made: Adapting = _class(name)(SOURCE, TARGET, **places, **strength)
    return made


def methods() -> list[str]:
    """List the methods that compare domains.

    >>> {"coral", "dann"} <= set(methods()), "l2sp" in methods()
    (True, False)
    """
    return [name for name in names("methods") if _class(name) is not None]


def _class(name: str) -> Any:
    module = importlib.import_module(f"mtl.methods.{name}")
    own = [kind for kind in vars(module).values() if inspect.isclass(kind)]
    found = [k for k in own if issubclass(k, Adapting) and k.__module__ == module.__name__]
    return found[0] if found else None


def weights_of(text: str) -> dict[str, float]:
    """Read the methods' strengths; raises ValueError for what is no such text.

    >>> weights_of("coral=10, dann=0.5")
    {'coral': 10.0, 'dann': 0.5}
    """
    found = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        name, _, value = word.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise ValueError(f"{word!r}: write METHOD=WEIGHT, such as coral=10") from error
        if name not in methods():
            raise ValueError(f"{name!r} adapts to no domain; choose from {', '.join(methods())}")
    return found


def read_shift(
    source: Sequence[Path], target: Sequence[Path], test: Sequence[Path], most: int
) -> Shift:
    """Read manifests with labels, or an .npz file or folder of classes, for either domain.

    `test` is of the target; without it some of the target is held out, and always some of the source. At most
    `most` of each are for testing. Raises ValueError for other files, and classes that the source lacks.
    """
    if not (source and target):
        raise ValueError("--source and --target belong together: give both, or none")
    return paired(read_problem(source), read_problem(target, test), most)


def written(most: int) -> Shift:
    """Give scikit-learn's digits as source, and others of them over coloured patches as target."""
    plain, coloured = hold_out(digits(SIDE), 0.6)
    rest = [blended(part, seed) for seed, part in enumerate(hold_out(coloured, 0.35))]
    return paired(Pictures(*hold_out(plain, 0.2)), Pictures(*rest), most)


def spoken(channel: str, most: int, small: bool = False) -> Shift:
    """Give English digits of synthetic voices as source, and others through a channel as target.

    Raises ImportError without `mtl[corpus]`.
    """
    takes, test = (2, 1) if small else (76, 40)  # of each digit; there are 38 voices and 8
    sides, state = list[Recordings](), start_processes()
    for seed in (0, 1):
        parts = make_words("en", range(10), takes, dev=0, test=test, seed=seed)
        files = [parts["train"], parts["test"]]
        if seed:
            if state.is_main_process:
                _ = [through(file, channel) for file in files]
            state.wait_for_everyone()
            files = [through(file, channel) for file in files]
        train, held = map(read_manifest, files)
        sides.append(Recordings(train, held))
    return paired(sides[0], sides[1], most)


def paired(source: Side, target: Side, most: int = 2000) -> Shift:
    """Make two problems one. Raises ValueError where they do not fit."""
    source, target = _classed(source, most), _classed(target, most)
    if isinstance(source, Recordings) != isinstance(target, Recordings):
        raise ValueError("one domain is pictures, the other speech: give two of a kind")
    known = [{str(item.label) for item in side.train} for side in (source, target)]
    if strange := sorted(known[1] - known[0]):
        raise ValueError(
            f"the target has class {strange[0]!r}, which the source lacks: nothing can tell it; drop it"
        )
    return Shift(source, target, tuple(dict.fromkeys([*source.notes, *target.notes])))


def _classed(side: Side, most: int) -> Side:
    """Keep the utterances that have a label, without their texts, and some of the test."""
    if not isinstance(side, Recordings):
        return Pictures(side.train, _some(side.test, most))
    given = len(side.train) + len(side.test)
    train, test = (_said(part) for part in (side.train, side.test))
    if not (train and test):
        raise ValueError("speech: no line has a label; give each its class as `label`")
    lost = given - len(train) - len(test)
    notes = [*side.notes, *([f"speech: left out {lost} lines without a label"] if lost else [])]
    return Recordings(train, _some(test, most), notes)


def _said(part: Sequence[Utterance]) -> list[Utterance]:
    return [replace(u, text="", label=str(u.label)) for u in part if u.label is not None]


def _some(items: Items, most: int) -> list[Any]:
    """Choose at most so many, always the same."""
    return random.Random(0).sample(list(items), min(most, len(items)))
