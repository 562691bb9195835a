"""Wordless: a recogniser that has heard speech without texts before it learns from a few with texts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mtl.config import Fit
from mtl.data.cache import Cache
from mtl.data.manifest import Utterance, read_manifest
from mtl.data.speech import Speech
from mtl.data.synthetic import make_corpus
from mtl.fit import fit
from mtl.method import Method
from mtl.methods.hubert import HuBERT
from mtl.model import Model
from mtl.problem import Recordings, build, figures, kept, learn, read_problem
from mtl.stream import Stream
from mtl.tune.layers import copy
from mtl.units import find_units, learnt_units

SCRATCH, TAUGHT = "scratch", "masked units"
INNER = -2  # block whose features make the units of the second round


def made_speech(count: int, most: int, small: bool = False) -> tuple[Recordings, list[Utterance]]:
    """Make Dutch with `count` texts, and German, English, Spanish, French and Italian to hear.

    Raises ImportError without `mtl[corpus]`.
    """
    sizes = dict.fromkeys(("de", "en", "es", "fr", "it"), 6 if small else 1500) | {"nl": count}
    made = make_corpus(sizes, dev=4, test=4 if small else 100)
    train, test = (read_manifest(made[part]) for part in ("train", "test"))
    known = [u for u in train if u.lang == "nl"]
    tested = [u for u in test if u.lang == "nl"][:most]
    return Recordings(known, tested), [u for u in train if u.lang != "nl"]


def read_speech(
    heard: Sequence[Path], data: Sequence[Path], test: Sequence[Path], most: int
) -> tuple[Recordings, list[Utterance]]:
    """Read manifests: what is heard without texts, and the few texts to learn from and to be tested on.

    Raises ValueError where one is missing, and for other files.
    """
    if not (heard and data):
        raise ValueError("--speech: --unlabelled and --data belong together: give both, or none")
    problem = read_problem(data, test)
    if not isinstance(problem, Recordings):
        raise ValueError(f"{data[0]}: give speech manifests (.jsonl)")
    unlabelled = [u for path in heard for u in read_manifest(path)]
    known = Recordings(problem.train, list(problem.test)[:most], problem.notes)
    return known, unlabelled


def wordless(utterances: Sequence[Utterance]) -> list[Utterance]:
    """Take texts and labels off utterances."""
    return [replace(u, text="", label=None, phonemes=None) for u in utterances]


def pretrained(
    folder: Path,
    problem: Recordings,
    heard: Sequence[Utterance],
    config: Fit,
    units: tuple[int, ...] = (100,),
    batch_seconds: float = 72.0,
) -> Model:
    """Load the network in `folder`, or train one to tell units of hidden speech, and save it.

    It is the network that `problem` has. `units` has their number in each round: first of cepstra, then of
    what the round before has learnt. Of `heard` no text or label counts.
    """

    def make() -> Model:
        torch.manual_seed(config.seed)
        teacher, data_of = None, Cache()
        for count in units:
            stem, trunk = problem.network()
            model = Model({problem.stream: stem}, trunk)
            data = Speech(wordless(heard), model, problem.stream, cache=data_of)
            method = _method(problem.stream, model, teacher, data, count, config.seed)
            streams = {problem.stream: Stream(data, batch_seconds)}
            teacher = fit(model, streams, config, methods=method, show=False).model
        if teacher is None:
            raise ValueError("no units; give the number of units of each round")
        return teacher

    return kept(folder, make)


def _method(
    stream: str, model: Model, teacher: Model | None, data: Speech, count: int, seed: int
) -> Mapping[str, Method]:
    if teacher is None:
        stem: Any = model.stem(stream)
        return {"hubert": HuBERT(find_units(data, stem.subsample, count, seed=seed), stream)}
    at = list(teacher.trunk.blocks)[INNER]
    centres = learnt_units(teacher, data, stream, at, count, seed=seed)
    return {"hubert": HuBERT(centres, stream, teacher=teacher, at=at)}


def recognise(
    problem: Recordings, items: Sequence[Utterance], config: Fit, source: Model | None = None
) -> dict[str, Any]:
    """Train on a few utterances with texts, from scratch or on top of `source`: figures of the test."""
    torch.manual_seed(1000 + config.seed)
    task: Any = problem  # whose notes grow, which no Problem's may
    model = build(task)
    if source is not None:
        copy(model, source, r"stems|trunk")
    skipped = learn(model, task, items, config)
    return figures(model, task, problem.test) | {"untrained": skipped}
