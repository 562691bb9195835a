"""Lessons: which utterances of a speaker a model can learn from."""

import random
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from mtl.data.cache import Cache
from mtl.data.manifest import Utterance
from mtl.data.speech import Skip, describe_skips, screen
from mtl.model import Model
from mtl.naming import as_name
from mtl.predict import Decoder
from mtl.pseudo import UNDETERMINED, audible, pseudo_label

ENOUGH = 15  # utterances, from which on a fifth is held out to choose the strength
Ears = tuple[Model, Mapping[str, int]]  # who listens: a model, and the speakers' numbers in it


class NothingToLearn(ValueError):
    """A speaker has no utterance that a model can learn from; says why."""


class Lesson(NamedTuple):
    """A speaker's utterances: to learn from, to choose the strength on, and left out."""

    learnt: list[Utterance]
    held: list[Utterance]
    skips: list[Skip]


def choose_lesson(
    ears: Ears,
    name: str,
    said: Sequence[Utterance],
    confident: float | None,
    seed: int,
    cache: Cache,
    decoders: Mapping[str, Decoder] | None = None,
) -> Lesson:
    """Choose what can be learnt from, under the speaker's name.

    `confident` is the share of what the model hears, or `decoders` in the place of its heads, that stands in
    for the texts, None where the texts count. Raises NothingToLearn, which names the reasons, for no lesson.
    """
    model, numbers = ears
    usable, skips = audible([replace(utterance, speaker=name) for utterance in said])
    if confident is not None:
        usable, again = _once(usable)  # or one would take the place of another among the confident
        usable, unsure = pseudo_label(model, usable, confident, cache, numbers, decoders)
        skips += again + unsure
    usable, unusable = screen(usable, model)
    usable, again = _once(usable)
    skips += [_hinted(skip) for skip in unusable] + again
    if not usable:
        reasons = "; ".join(describe_skips(skips, len(said))) or "it has none"
        raise NothingToLearn(f"speaker {name!r}: no utterance to learn from: {reasons}")
    held = len(usable) // 5 if len(usable) >= ENOUGH and confident is None else 0
    # By chance: manifests are often sorted, and what is held out must be like what is learnt.
    random.Random(f"{seed} {name}").shuffle(usable)
    return Lesson(usable[held:], usable[:held], skips)


def by_name(speakers: Mapping[str, Sequence[Utterance]]) -> dict[str, list[Utterance]]:
    """Join the spellings of a name, composed or not. Raises ValueError for an empty name."""
    found: dict[str, list[Utterance]] = {}
    for name, said in speakers.items():
        found.setdefault(as_name(name), []).extend(said)
    return found


def own_ids(said: Iterable[Utterance], taken: Iterable[str] = ()) -> list[str]:
    """Give each utterance an id that no other has, nor is `taken`: its own, or that with a number behind.

    Manifests number from 1, each of them, and what fails in training is told by id.
    """
    seen, counts, found = set(taken), Counter[str](), list[str]()
    for utterance in said:
        name = utterance.id
        while name in seen:
            counts[utterance.id] += 1
            name = f"{utterance.id}#{counts[utterance.id]}"
        seen.add(name)
        found.append(name)
    return found


def failures(said: Sequence[Utterance], failed: Mapping[Utterance, str]) -> list[Skip]:
    """Give the utterances that could not be loaded, or whose loss was not finite, while adapting."""
    return [Skip(u.id, u.where, u.lang, "failed", failed[u]) for u in said if u in failed]


def _once(said: Sequence[Utterance]) -> tuple[list[Utterance], list[Skip]]:
    """Part the first of each recording from those of the same sound, which are no further evidence."""
    first: dict[Hashable, Utterance] = {}
    skips = []
    for utterance in said:
        known = first.setdefault(_sound(utterance), utterance)
        if known is not utterance:
            reason = f"{utterance.where}: twice: the same sound as {known.where}"
            skips.append(Skip(utterance.id, utterance.where, utterance.lang, "twice", reason))
    return list(first.values()), skips


def _sound(utterance: Utterance) -> Hashable:
    """Tell recordings apart, by whatever paths they are reached."""
    if utterance.audio is not None:
        return utterance.audio.resolve(), utterance.offset, utterance.seconds
    assert utterance.features is not None  # what has neither was not audible
    return utterance.features.resolve(), utterance.key


def _hinted(skip: Skip) -> Skip:
    """Say how to name a language, where an utterance names none."""
    if (skip.kind, skip.lang) != ("language", UNDETERMINED):
        return skip
    hint = "name it: `lang` in the manifest, or --lang"
    return skip._replace(reason=f"{skip.reason}; {hint}")
