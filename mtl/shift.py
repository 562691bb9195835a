"""Shift: a source with labels and a target whose labels only the test sees, as one network's problem."""

import functools
import importlib
import inspect
import math
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mtl.config import Fit
from mtl.data.audio import open_audio
from mtl.data.images import Picture, coloured
from mtl.data.manifest import Utterance
from mtl.data.pixels import Source, read_pixels
from mtl.domains import Adapting
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.ops import square
from mtl.pretrained import pretrained
from mtl.problem import Pictures, Recordings, read_problem
from mtl.registry import names
from mtl.stems.logmel import LogMel
from mtl.stems.pixels import Pixels
from mtl.stream import Stream
from mtl.translating import Translating
from mtl.trunks.conformer import Conformer
from mtl.trunks.lenet import LeNet
from mtl.trunks.resnet import ResNet
from mtl.tune.domain_norm import domain_norm

SOURCE, TARGET, TASK = (
    "source",
    "target",
    "label",
)  # two streams, and the task, which reads the source
SOURCE_ONLY, TARGET_ONLY = "source-only", "target-only"
SMALL = ("lenet", "resnet")  # networks of our own
SIDE = 28  # pixels that they see
WIDTH, DEPTH, HZ = 96, 2, 16_000  # of the conformer that hears
FEW = 20  # recordings whose rate, or pictures whose colours, are looked at
# Where a method looks, as its paper has it: behind convolutions or the last two blocks, or at the scores.
# Others, and DDC, look behind the trunk.
PLACES: Mapping[str, Mapping[str, Any]] = {
    "dan": {"at": (-2, -1), "scores": [TASK]},
    "coral": {"at": (), "scores": [TASK]},
    "dann": {"at": -3},
    "dsn": {"at": -2},
}
# Ganin et al. 2016, section 5.2.2, but for the number of steps; plain descent does not train a conformer.
PUBLISHED = Fit(
    steps=800, optimizer="sgd", lr=0.01, schedule="inverse", warmup=0, weight_decay=0, clip=0
)
SPEECH = Fit(steps=600, lr=1e-3)
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

    def network(self, kind: str, own: bool = False) -> Model:
        """Make a network with one head, drawn from torch's random state.

        `kind` is lenet or resnet, in whose place a conformer hears recordings, or what `mtl.pretrained`
        takes. No task reads the target. Domains have their `own` statistics of batch norm, or share them.
        """
        if kind not in SMALL:
            stem, trunk, *_ = pretrained(kind)
        elif isinstance(self.source, Recordings):
            hz = min(HZ, *(_hz(side.train) for side in (self.source, self.target)))
            stem, trunk = LogMel(WIDTH, hz, 80 if hz == HZ else 40), Conformer(WIDTH, DEPTH)
        else:
            first: list[Any] = [side.train[:FEW] for side in (self.source, self.target)]
            stem, trunk = _seeing(kind, max(map(coloured, first)))
        task = Task(TASK, SOURCE, Classify(self.classes), label="label")
        streams = dict.fromkeys((SOURCE, TARGET), "domains")
        model = Model({"domains": stem}, trunk, [task], streams)
        if own:
            domain_norm(model, [SOURCE, TARGET])
        return model

    def small(self) -> "Shift":
        """Keep pictures in the size that small networks see, so that no step scales them again."""
        sides = [
            Pictures(*([_small(p) for p in part] for part in (side.train, side.test)))
            if isinstance(side, Pictures)
            else side
            for side in (self.source, self.target)
        ]
        return self._replace(source=sides[0], target=sides[1])

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

    >>> unlabelled([Picture("a", "seven", b"")])[0].known()
    {}
    """
    return [
        replace(item, label="", labels={})
        if isinstance(item, Picture)
        else replace(item, text="", label=None, phonemes=None)
        for item in items
    ]


def adapting(
    name: str,
    blocks: Sequence[str],
    weight: float | None = None,
    networks: Mapping[str, Any] | None = None,
) -> Adapting:
    """Make the method of `mtl/methods/<name>.py` for the streams of a `Shift`.

    `blocks` are those of the trunk, `weight` is its strength and `networks` are sizes of `Networks` where it
    translates, by default its own. Raises ValueError for what is no method of adaptation.
    """
    if name not in methods():
        raise ValueError(f"{name!r} adapts to no domain; choose from {', '.join(methods())}")
    places = dict(PLACES.get(name, {}))
    if "at" in places:
        at, most = places["at"], len(blocks)  # of a shorter trunk the first block
        named = [blocks[max(place, -most)] for place in ((at,) if isinstance(at, int) else at)]
        places["at"] = named[0] if isinstance(at, int) else list(dict.fromkeys(named))
    given: dict[str, Any] = {} if weight is None else {"weight": weight}
    kind = _class(name)
    if networks and issubclass(kind, Translating):
        given["networks"] = kind.sizes._replace(**networks)
    made: Adapting = kind(SOURCE, TARGET, **places, **given)
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


def weights_of(text: str, arms: Sequence[str]) -> dict[str, float]:
    """Read the strengths of methods; raises ValueError for what is no such text, and for none of `arms`.

    >>> weights_of("coral=10, dann=0.5", ["dann", "coral"])
    {'coral': 10.0, 'dann': 0.5}
    """
    found = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        name, _, value = word.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise ValueError(f"{word!r}: write METHOD=WEIGHT, such as coral=10") from error
        if not math.isfinite(found[name]):
            raise ValueError(f"{word!r}: a weight is a finite number")
        if name not in arms:
            raise ValueError(f"{word!r}: {name!r} is none of the methods: {', '.join(arms)}")
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


def paired(source: Side, target: Side, most: int = 2000) -> Shift:
    """Make two problems one. Raises ValueError where they do not fit."""
    source, target = _classed(source, SOURCE, most), _classed(target, TARGET, most)
    if isinstance(source, Recordings) != isinstance(target, Recordings):
        raise ValueError("one domain is pictures, the other speech: give two of a kind")
    known = {str(item.label) for item in source.train}
    if strange := sorted({str(item.label) for item in source.test} - known):
        raise ValueError(f"the source has class {strange[0]!r} only to test on; drop it")
    if strange := sorted({str(p.label) for p in (*target.train, *target.test)} - known):
        raise ValueError(
            f"the target has class {strange[0]!r}, which the source lacks: nothing can tell it; drop it"
        )
    return Shift(source, target, tuple(dict.fromkeys([*source.notes, *target.notes])))


def _seeing(kind: str, channels: int) -> tuple[Encoder, Encoder]:
    if kind == "resnet":
        return Pixels(channels, SIDE, 16, stride=2), ResNet(16, [32, 64, 128])
    stem = Pixels(channels, SIDE, 32, kernel=5, padded=False)
    # As `LeNet` wants its maps; and its own convolution is twice as fast so.
    return stem.to(memory_format=torch.channels_last), LeNet()  # type: ignore[call-overload]


def _small(picture: Picture) -> Picture:
    return replace(picture, source=functools.cache(functools.partial(_scaled, picture.source)))


def _scaled(source: Source) -> NDArray[np.uint8]:
    """Bring a picture to SIDE pixels: bytes (SIDE, SIDE, 1 or 3)."""
    pixels = read_pixels(source)
    if pixels.shape[1:] != (SIDE, SIDE):
        pixels = (square(pixels, len(pixels), SIDE) * 255).round().byte()
    scaled: NDArray[np.uint8] = pixels.permute(1, 2, 0).contiguous().numpy()
    return scaled


def _hz(items: Items) -> int:
    """Give the sample rate of the first recordings, the lowest: no band then tells domains apart."""
    rates = [HZ]
    for file in [u.audio for u in items[:FEW] if u.audio is not None]:
        # What cannot be read is named later, with all that is left out.
        with suppress(ValueError), open_audio(file) as recording:
            rates.append(recording.hz)
    return min(rates)


def _classed(side: Side, name: str, most: int) -> Side:
    """Keep the utterances that have a label, without their texts, and some of the test."""
    if not isinstance(side, Recordings):
        return Pictures(side.train, _some(side.test, most))
    given = len(side.train) + len(side.test)
    train, test = (_said(part) for part in (side.train, side.test))
    if not (train and test):
        part = "test" if train else "training"
        raise ValueError(
            f"no {part} line of the {name} has a label; give each its class as `label`"
        )
    lost = given - len(train) - len(test)
    notes = [*side.notes, *([f"speech: left out {lost} lines without a label"] if lost else [])]
    return Recordings(train, _some(test, most), notes)


def _said(part: Sequence[Utterance]) -> list[Utterance]:
    return [replace(u, text="", label=str(u.label)) for u in part if u.label is not None]


def _some(items: Items, most: int) -> list[Any]:
    """Choose at most so many, always the same."""
    return random.Random(0).sample(list(items), min(most, len(items)))
