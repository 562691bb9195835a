"""Pseudo: what a model hears stands in for texts that nobody wrote. Lee 2013. Topic: adaptation.

For speech in two passes: decode, learn from the confident part, decode again (Swietojanski et al. 2016,
section VI; confidence as in Deng et al. 2022).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mtl.data.audio import read_audio, read_frames
from mtl.data.cache import Cache
from mtl.data.manifest import Utterance
from mtl.data.speech import Skip, Speech
from mtl.languages import AUTO, SPEECH, choose
from mtl.members import LANG
from mtl.model import Model
from mtl.polyglot import number
from mtl.predict import Decoder, predict

SILENCE = 1e-4  # root mean square of samples, of 1: -80 dB
HZ = 16_000
UNDETERMINED = "und"  # the language of a manifest line that names none


def audible(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Skip]]:
    """Part the utterances that can be read and are not silent from those that teach nothing."""
    kept, skips = [], []
    for utterance in utterances:
        try:
            if _sounds(utterance):
                kept.append(utterance)
            else:
                skips.append(_skip(utterance, "silence", "silence: record it again"))
        except ValueError as error:
            skips.append(_skip(utterance, "unreadable", str(error)))
    return kept, skips


def _sounds(utterance: Utterance) -> bool:
    if utterance.audio is None:
        frames = read_frames(utterance.features, utterance.key) if utterance.features else None
        return frames is not None and bool((frames != frames[0]).any())
    samples = read_audio(utterance.audio, HZ, utterance.offset, utterance.seconds)
    return bool(np.sqrt(np.mean(np.square(samples))) > SILENCE)


def pseudo_label(
    model: Model,
    utterances: Sequence[Utterance],
    share: float = 1.0,
    cache: Cache | None = None,
    speakers: Mapping[str, int] | None = None,
    decoders: Mapping[str, Decoder] | None = None,
) -> tuple[list[Utterance], list[Skip]]:
    """Give the `share` of the utterances that the model hears most confidently, with what it hears as text.

    They keep their order. An utterance of language "und" is written in the one that it sounds like. Left out
    are those of which nothing is heard, or in a language that the model does not write. `speakers` numbers
    those whose deltas the model wears; `decoders` decide in the place of heads, as in `predict`.
    """
    heard: dict[int, tuple[float, Utterance]] = {}
    skips: list[Skip] = []
    for lang in dict.fromkeys(utterance.lang for utterance in utterances):
        its = {place: said for place, said in enumerate(utterances) if said.lang == lang}
        try:
            choice = choose(model, AUTO if lang == UNDETERMINED else lang)
        except ValueError as error:
            skips += [_skip(utterance, "language", str(error)) for utterance in its.values()]
            continue
        groups = {LANG: {"": number(model, choice)}} | ({"speaker": speakers} if speakers else {})
        data = Speech(list(its.values()), model, cache=cache, groups=groups)
        answers = predict(model, data, SPEECH, tasks=choice.tasks(), decoders=decoders)
        for (place, utterance), answer in zip(its.items(), answers, strict=True):
            try:
                if answer.problem:
                    raise ValueError(answer.problem)
                said = choice.transcript(answer.predictions)
                if not said.text.strip():
                    raise ValueError("the model hears no word")
            except ValueError as error:
                skips.append(_skip(utterance, "unheard", str(error)))
                continue
            again = replace(utterance, text=said.text, lang=said.lang, phonemes=None, label=None)
            heard[place] = (said.confidence, again)
    ranked = sorted(heard, key=lambda place: -heard[place][0])
    sure = sorted(ranked[: math.ceil(share * len(ranked))])
    for place in sorted(heard.keys() - sure):
        reason = f"confidence {heard[place][0]:.2f}, less than of others"
        skips.append(_skip(utterances[place], "unsure", reason))
    return [heard[place][1] for place in sure], skips


def _skip(utterance: Utterance, kind: str, reason: str) -> Skip:
    return Skip(utterance.id, utterance.where, utterance.lang, kind, f"{utterance.where}: {reason}")
