"""Pseudo: what a model hears stands in for texts that nobody wrote. Lee 2013. Topic: adaptation.

For speech in two passes: decode, learn from the confident part, decode again (Swietojanski et al. 2016,
section VI; confidence as in Deng et al. 2022).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mtl.data.audio import read_audio, read_frames
from mtl.data.cache import Cache
from mtl.data.manifest import Utterance
from mtl.data.speech import Skip, Speech
from mtl.languages import AUTO, SPEECH, choose
from mtl.model import Model
from mtl.predict import predict

SILENCE = 1e-4  # root mean square of samples, of 1: -80 dB
HZ = 16_000
UNDETERMINED = "und"  # the language of a manifest line that names none


def audible(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Skip]]:
    """Part the utterances that can be read and are not silent from those that teach nothing."""
    kept, skips = [], []
    for utterance in utterances:
        try:
            reason = "" if _sounds(utterance) else "silence: record it again"
        except ValueError as error:
            reason = str(error)
        if reason:
            skips.append(_skip(utterance, "sound", reason))
        else:
            kept.append(utterance)
    return kept, skips


def _sounds(utterance: Utterance) -> bool:
    if utterance.audio is None:
        frames = read_frames(utterance.features, utterance.key) if utterance.features else None
        return frames is not None and bool((frames != frames[0]).any())
    samples = read_audio(utterance.audio, HZ, utterance.offset, utterance.seconds)
    return bool(np.sqrt(np.mean(np.square(samples))) > SILENCE)


def pseudo_label(
    model: Model, utterances: Sequence[Utterance], share: float = 1.0, cache: Cache | None = None
) -> tuple[list[Utterance], list[Skip]]:
    """Give the `share` of the utterances that the model hears most confidently, with what it hears as text.

    They keep their order. An utterance of language "und" is written in the one that it sounds like. Left out
    are those of which nothing is heard, or in a language that the model does not write.
    """
    heard: list[tuple[float, Utterance]] = []
    skips: list[Skip] = []
    for lang in dict.fromkeys(utterance.lang for utterance in utterances):
        its = [utterance for utterance in utterances if utterance.lang == lang]
        try:
            choice = choose(model, AUTO if lang == UNDETERMINED else lang)
        except ValueError as error:
            skips += [_skip(utterance, "language", str(error)) for utterance in its]
            continue
        data = Speech(its, model, cache=cache)
        for utterance, answer in zip(
            its, predict(model, data, SPEECH, tasks=choice.tasks()), strict=True
        ):
            try:
                if answer.problem:
                    raise ValueError(answer.problem)
                said = choice.transcript(answer.predictions)
            except ValueError as error:
                skips.append(_skip(utterance, "unheard", str(error)))
                continue
            if said.text.strip():
                again = replace(utterance, text=said.text, lang=said.lang)
                heard.append((said.confidence, again))
            else:
                skips.append(_skip(utterance, "unheard", "the model hears no word"))
    sure = sorted(heard, key=lambda pair: -pair[0])[: math.ceil(share * len(heard))]
    chosen = {utterance.id for _, utterance in sure}
    for confidence, utterance in heard:
        if utterance.id not in chosen:
            reason = f"confidence {confidence:.2f}, less than of others"
            skips.append(_skip(utterance, "unsure", reason))
    return [utterance for _, utterance in heard if utterance.id in chosen], skips


def _skip(utterance: Utterance, kind: str, reason: str) -> Skip:
    return Skip(utterance.id, utterance.where, utterance.lang, kind, f"{utterance.where}: {reason}")
