"""Adapt: a model meets a speaker, with a few utterances; what it learns is a delta and nothing else.

full      every layer that the speaker's languages use
input     the stem and the first block, which hear the voice
top       the last block and the heads
bias      biases, normalisations and the heads (Ben Zaken et al. 2022)
lora      low-rank updates of the trunk's layers (Hu et al. 2021)
lin       a linear map of the input frames (Neto et al. 1995)
lhuc      a scale per hidden unit (Swietojanski et al. 2016)
adapter   a bottleneck behind every block (Houlsby et al. 2019)

The last three hold rows by speaker: many speakers learn in one run, and are heard in one batch. Heads learn
for the languages spoken, no others.
"""

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch

from mtl.config import Fit
from mtl.data.augment import Augment
from mtl.data.cache import Cache
from mtl.data.manifest import Utterance
from mtl.data.speech import Skip, Speech
from mtl.decode.beam import Beam, Search
from mtl.decoding import beams
from mtl.delta import Delta, take
from mtl.fit import fit
from mtl.head import Task
from mtl.languages import SPEECH, writers
from mtl.lessons import Ears, Lesson, NothingToLearn, by_name, choose_lesson, failures, own_ids
from mtl.method import Method
from mtl.methods.conservative import Conservative
from mtl.methods.l2sp import L2SP
from mtl.model import Model
from mtl.prepare import BY_MEMBER, WAYS, prepare
from mtl.stream import Stream
from mtl.strength import choose_strength, worn

# Chosen on two voices of the embedded corpus that nothing is reported of.
LR = {"full": 1.5e-4, "input": 4e-4, "top": 1.5e-4, "bias": 1e-3, "lora": 7e-4}
LR |= {"lin": 3e-3, "lhuc": 1.5e-2, "adapter": 1e-3}
REPLAY = "replay"  # the stream of source data
# What a method's name may add to its ways, as in full+kl.
EXTRAS: dict[str, dict[str, Any]] = {
    "kl": {"conservative": 0.5},
    "l2sp": {"l2sp": 0.1},
    "unsupervised": {"unsupervised": True},
    "replay": {"replay": True},
}


@dataclass
class Adapt:
    """How to adapt."""

    by: str = "lin"
    """what learns: full, input, top, bias, lora, lin, lhuc, adapter, or several, as in lhuc+lin"""
    conservative: float = 0.0
    """share of the unadapted posteriors in what is learnt, 0.25 to 0.5 (Yu et al. 2013)"""
    l2sp: float = 0.0
    """pull back to the unadapted weights, such as 0.1 (Li et al. 2018)"""
    unsupervised: bool = False
    """learn from what the unadapted model hears, whatever the texts say"""
    confident: float = 0.7
    """share of the utterances, the most confident ones, that unsupervised adaptation takes"""
    rounds: int = 3
    """times that unsupervised adaptation listens, the later ones to what it has made better, and learns"""
    lm: str = ""
    """n-gram model (`mtl lm`), or LANG=FILE,LANG=FILE, with which unsupervised adaptation listens"""
    replay: bool = False
    """learn as much from utterances that the model was trained on, which must be given"""
    steps: int = 100
    """optimizer steps"""
    lr: float = 0.0
    """peak learning rate; 0 takes the way's own"""
    seconds: float = 36.0
    """audio per step and speaker"""
    seed: int = 0
    """seed of order, masks and new weights"""
    threads: int = 0
    """torch threads; 0 takes the physical cores"""

    def __post_init__(self) -> None:
        if strange := [way for way in self.ways if way not in WAYS]:
            raise ValueError(f"way {strange[0]!r} is not known; choose from {', '.join(WAYS)}")
        for name, value in asdict(self).items():
            positive = name in ("steps", "seconds", "rounds")
            if isinstance(value, int | float) and (
                not 0 <= value < math.inf or (positive and not value)
            ):
                raise ValueError(
                    f"{name} is {value}; give a number {'above' if positive else 'from'} 0"
                )
        if not 0 < self.confident <= 1:
            raise ValueError(f"confident is {self.confident}; it is a share, above 0, up to 1")
        if self.conservative >= 1:
            raise ValueError(
                f"conservative is {self.conservative}; it is a share, from 0 to below 1"
            )

    @property
    def ways(self) -> list[str]:
        """List what learns."""
        return [way.strip() for way in self.by.split("+")]

    @property
    def by_member(self) -> bool:
        """Say whether each speaker has rows of its own, and nothing else learns."""
        return set(self.ways) <= set(BY_MEMBER)

    def fit(self) -> Fit:
        """Give the settings of the run."""
        lr = self.lr or min(LR[way] for way in self.ways)
        fit = Fit(steps=self.steps, lr=lr, seed=self.seed, threads=self.threads, dry_run=False)
        return replace(fit, weight_decay=0.0)  # which would pull to zero what came trained


def read_method(text: str, settings: Adapt) -> Adapt:
    """Read a method: ways, and kl, l2sp, unsupervised or replay, joined by +; the rest as in `settings`.

    Raises ValueError for a word that is none of these, and where no way is among them.

    >>> read_method("full+kl", Adapt()).by, read_method("full+kl", Adapt()).conservative
    ('full', 0.5)
    """
    words = [word.strip() for word in text.split("+")]
    if strange := [word for word in words if word not in (*WAYS, *EXTRAS)]:
        known = ", ".join((*WAYS, *EXTRAS))
        raise ValueError(f"{strange[0]!r} is no part of a method; choose from {known}")
    if not (ways := [word for word in words if word in WAYS]):
        raise ValueError(
            f"{text!r} does not say what learns: join it to a way, as in full+{words[0]}; the ways "
            f"are {', '.join(WAYS)}"
        )
    extras = {name: value for word in words for name, value in EXTRAS.get(word, {}).items()}
    return replace(settings, by="+".join(ways), **extras)


class Adapted(NamedTuple):
    """A speaker's delta, and the utterances that it could not learn from."""

    delta: Delta
    skips: list[Skip]


def adapt(
    model: Model,
    speakers: Mapping[str, Sequence[Utterance]],
    settings: Adapt | None = None,
    *,
    source: Sequence[Utterance] = (),
    cache: Cache | None = None,
    problems: dict[str, str] | None = None,
) -> dict[str, Adapted]:
    """Learn a delta for each speaker, {name: utterances}; `model` itself stays as it is.

    From 15 utterances on, a fifth is held out: the delta's strength (0 to 1) is the largest that writes it
    with no more errors than the best, by one standard error. With fewer, n, it is n / (n + 1), as if the
    unadapted model had seen one more (maximum a posteriori, Gauvain and Lee 1994): what one utterance
    teaches is half noise.
    `source` are utterances that the model was trained on, replayed in every step. The same seed gives the
    same deltas. The same sound counts once. Names come back composed (Unicode NFC).

    Raises NothingToLearn, a ValueError that names the reasons, for a speaker of whom nothing can be learnt,
    FloatingPointError for one whose losses stay not finite; with `problems` the reasons go there instead,
    {name: reasons}, and the others learn.
    """
    settings, cache = settings or Adapt(), cache or Cache()
    if bool(source) != settings.replay:
        raise ValueError("replay needs `source`, utterances to replay, and `source` needs replay")
    if settings.replay and settings.by_member:
        raise ValueError(
            f"replay does not reach what {settings.by!r} learns, rows that only the speaker uses: leave "
            "it out, or add a way that changes the model itself, such as input"
        )
    said = by_name(speakers)
    model = copy.deepcopy(model).eval()  # the caller's may be in training
    listens = settings.unsupervised and settings.lm
    decoders = beams(model, Search(lm=settings.lm)) if listens else None
    found: dict[str, Adapted] = {}
    for run in [list(said)] if settings.by_member else [[name] for name in said]:
        ears: Ears = model, {}
        for _ in range(settings.rounds if settings.unsupervised else 1):
            its = {name: said[name] for name in run}
            lessons = _lessons(ears, its, settings, cache, problems, decoders)
            for name in [name for name in run if name not in lessons]:
                run.remove(name)
                found.pop(name, None)  # a later round, too, may find nothing
            if not run:
                break
            try:
                adapted, failed = _train(model, lessons, settings, source, cache)
            except FloatingPointError as error:
                reason = f"speaker {', '.join(map(repr, run))}: {error}"
                if problems is None:
                    raise FloatingPointError(reason) from error
                problems |= dict.fromkeys(run, reason)
                found = {name: it for name, it in found.items() if name not in run}
                break
            for number, (name, lesson) in enumerate(lessons.items(), 1):
                member = number if settings.by_member else None
                strength = choose_strength(model, adapted, name, member, lesson, cache)
                notes = {"lr": settings.fit().lr, "utterances": len(lesson.learnt)}
                delta = take(adapted, model, name, member, strength, **asdict(settings) | notes)
                found[name] = Adapted(delta, lesson.skips + failures(lesson.learnt, failed))
            ears = worn(model, [found[name].delta for name in run])
    return found


def _lessons(
    ears: Ears,
    said: Mapping[str, Sequence[Utterance]],
    settings: Adapt,
    cache: Cache,
    problems: dict[str, str] | None,
    decoders: Mapping[str, Beam] | None,
) -> dict[str, Lesson]:
    """Choose each speaker's utterances; who has none goes into `problems`, or is raised."""
    confident = settings.confident if settings.unsupervised else None
    found = {}
    for name, its in said.items():
        try:
            found[name] = choose_lesson(ears, name, its, confident, settings.seed, cache, decoders)
        except NothingToLearn as error:
            if problems is None:
                raise
            problems[name] = str(error)
    return found


def _train(
    model: Model,
    lessons: Mapping[str, Lesson],
    settings: Adapt,
    source: Sequence[Utterance],
    cache: Cache,
) -> tuple[Model, dict[Utterance, str]]:
    """Give an adapted copy, whose member n is the n-th speaker, and what was skipped, with the reasons."""
    torch.manual_seed(settings.seed)
    said = [utterance for lesson in lessons.values() for utterance in lesson.learnt]
    langs = {utterance.lang for utterance in said}
    adapted = prepare(model, settings.ways, len(lessons) + 1, langs)
    groups = {"speaker": {"": 0} | {name: number for number, name in enumerate(lessons, 1)}}
    masks = Augment(time_masks=2, time_frames=25, bin_masks=2, bins=15, seed=settings.seed)
    ids = own_ids(said, {utterance.id for utterance in source})
    named = [replace(utterance, id=name) for utterance, name in zip(said, ids, strict=True)]
    data = Speech(named, adapted, augment=masks, cache=cache, groups=groups)
    streams = {SPEECH: Stream(data, settings.seconds * len(lessons), by="speaker", mix="uniform")}
    if source:
        _replay(adapted)
        old = Speech(source, adapted, REPLAY, augment=masks, cache=cache, groups=groups)
        streams[REPLAY] = Stream(old, settings.seconds)
    methods = _methods(adapted, settings, langs)
    done = fit(adapted, streams, settings.fit(), methods=methods, show=False)
    for name in [name for name, task in adapted.tasks.items() if task.stream == REPLAY]:
        del adapted.tasks[name]
    adapted.streams.pop(REPLAY, None)
    return adapted, {
        u: done.skipped[i] for u, i in zip(said, ids, strict=True) if i in done.skipped
    }


def _methods(adapted: Model, settings: Adapt, langs: Collection[str]) -> dict[str, Method]:
    methods: dict[str, Method] = {}
    if settings.conservative:
        known = writers(adapted)
        tasks = {known[lang] for lang in (*langs, "text") if lang in known}
        methods["kl"] = Conservative(settings.conservative, sorted(tasks), [SPEECH])
    if settings.l2sp:
        parts = {name.split(".")[0] for name, p in adapted.named_parameters() if p.requires_grad}
        methods["l2sp"] = L2SP(settings.l2sp, 0.0, sorted(parts))
    return methods


def _replay(adapted: Model) -> None:
    """Let source data run beside the speaker's, through the same heads."""
    adapted.streams[REPLAY] = adapted.streams[SPEECH]
    for task in adapted.tasks_of(SPEECH):
        head = task.head if isinstance(task.head, str) else task.name
        again: Task = task._replace(name=f"{REPLAY}-{task.name}", stream=REPLAY, head=head)
        adapted.add(again._replace(label=task.label or task.name, auxiliary=True))
