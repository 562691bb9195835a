"""Speakers: utterances to adapt to a person with, to test that on, and of others, who show what was lost."""

import copy
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtl.adapt import Adapt, adapt
from mtl.data import espeak
from mtl.data.cache import Cache
from mtl.data.manifest import Utterance, read_manifest
from mtl.data.speech import Speech
from mtl.data.splits import Source
from mtl.data.synthetic import FAR_VOICES, make_voice
from mtl.delta import size, wear
from mtl.evaluate import evaluate
from mtl.languages import SPEECH, writers
from mtl.metrics import error_rate
from mtl.model import Model
from mtl.study import Result, spread

DEV_VOICES = ("zac", "klatt")  # chose rates and steps; never reported
VOICES = tuple(voice for voice in FAR_VOICES if voice not in DEV_VOICES)
MADE, TESTED = 100, 40  # utterances of a made voice, and how many of them test

Said = dict[str, list[Utterance]]


@dataclass(frozen=True)
class Speakers:
    """Utterances by speaker, to adapt with, to test on, and of other people to test on.

    `source` are utterances that the model was trained on.
    """

    pools: Said
    tests: Said
    others: Said
    source: list[Utterance]
    cache: Cache = field(default_factory=Cache)


def made_speakers(lang: str, voices: Sequence[str], small: bool = False) -> Speakers:
    """Let espeak-ng's `voices` speak new texts; the test voices of the embedded corpus are the others.

    Raises ValueError for a language that the corpus lacks or a voice that there is not, ImportError without
    `mtl[corpus]`.
    """
    for voice in voices:
        espeak.check("voice", voice, espeak.variants())
    corpus = Source(smoke=small).read()
    if lang not in corpus.languages:
        raise ValueError(f"the corpus has no {lang!r}; choose from {', '.join(corpus.languages)}")
    source = [utterance for utterance in corpus.train if utterance.lang == lang]
    ordinary = [utterance for utterance in corpus.test if utterance.lang == lang]
    known = {utterance.text for utterance in source}
    count, tested = (8, 4) if small else (MADE, TESTED)
    said = {voice: read_manifest(make_voice(lang, voice, count, exclude=known)) for voice in voices}
    return Speakers(
        {voice: its[:-tested] for voice, its in said.items()},
        {voice: its[-tested:] for voice, its in said.items()},
        dict.fromkeys(said, ordinary),
        source,
    )


def read_speakers(
    data: Sequence[Path], test: Sequence[Path] = (), source: Sequence[Path] = ()
) -> Speakers:
    """Read manifests; without `test`, every other utterance of each speaker is for testing.

    The speakers of `test` that `data` lacks are others only. Raises ValueError for a speaker who has
    nothing to adapt with or to be tested on, or where there is no other.
    """
    said, heard = _by_speaker(data), _by_speaker(test)
    pools = said if test else {name: its[::2] for name, its in said.items()}
    tests = heard if test else {name: its[1::2] for name, its in said.items()}
    if lonely := [name for name in pools if not (pools[name] and tests.get(name))]:
        raise ValueError(
            f"speakers {lonely[:5]} have nothing to be tested on: give more utterances"
        )
    others = {
        name: [utterance for other, its in tests.items() if other != name for utterance in its]
        for name in pools
    }
    if alone := [name for name, its in others.items() if not its]:
        raise ValueError(f"there is nobody beside {alone[0]!r}: give `test` utterances of others")
    return Speakers(pools, tests, others, [u for path in source for u in read_manifest(path)])


def refuse_strange(model: Model, speakers: Speakers) -> None:
    """Raise ValueError for a model that hears nothing, or a speaker of whose test it can write no text."""
    model.stem(SPEECH)
    known = writers(model)
    for name in speakers.pools:
        langs = {utterance.lang for utterance in speakers.tests[name] if utterance.text.strip()}
        if not langs or ("text" not in known and not langs & known.keys()):
            raise ValueError(
                f"speaker {name!r} has test texts in: {', '.join(sorted(langs)) or 'no language'}; "
                f"this model writes: {', '.join(known) or 'none'}"
            )


def treat(
    base: Model, speakers: Speakers, name: str, count: int, settings: Adapt
) -> dict[str, Any]:
    """Adapt to a speaker with `count` utterances, drawn by `settings.seed`, 0 for none; test what it made.

    Gives the rate `value` of errors and the `counts` of each test utterance, the same under `others` (the
    rate alone under `lost`) for other people, who are heard as if they were the speaker, the delta's `kb`
    and the `seconds` that adapting took.
    """
    model, numbers, costs = base, {"": 0}, {"kb": 0.0, "seconds": 0.0}
    if count:
        said = random.Random(f"{settings.seed} {name}").sample(speakers.pools[name], count)
        source = speakers.source if settings.replay else ()
        began = time.monotonic()
        delta = adapt(base, {name: said}, settings, source=source, cache=speakers.cache)[name].delta
        costs = {"kb": size(delta) / 1000, "seconds": time.monotonic() - began}
        model, numbers = copy.deepcopy(base), {"": 1}
        wear(model, [delta])
    own, others = (
        _errors(model, its[name], numbers, speakers.cache)
        for its in (speakers.tests, speakers.others)
    )
    return own | {"others": others, "lost": others["value"]} | costs


def advice(results: Sequence[Result]) -> list[str]:
    """Say which method serves best with how many utterances, if any does, on average, and what it costs.

    `results` are of `treat`; their cells have `method` ("none" where the count is 0), `speaker` and `count`.
    Each amount is compared with the same speakers unadapted; one that lacks either is left out.
    """
    names = ("value", "lost", "kb", "seconds")
    lines = []
    for count in sorted({result.cell["count"] for result in results} - {0}):
        speakers = {r.cell["speaker"] for r in results if r.cell["count"] == count}
        its = [
            r
            for r in results
            if r.cell["count"] in (0, count) and r.cell["speaker"] in speakers and r.figures
        ]
        found = {name: spread(its, name, ["count", "method"]) for name in names}
        keys = [key for key in found["value"] if key[0] == count]
        if not keys or (0, "none") not in found["value"]:
            continue
        far, near = (found[name][0, "none"].mean for name in ("value", "lost"))
        best = min(keys, key=lambda key: found["value"][key].mean)
        own, lost, kb, seconds = (found[name][best].mean for name in names)
        helps = f"{best[1]} is best" if own < far else f"none helped, the best is {best[1]}"
        gap = f", {(far - own) / (far - near):.0%} of the gap to others" if own < far > near else ""
        lines.append(
            f"with {count}: {helps}, {far:.2%} -> {own:.2%}{gap}; others {near:.2%} -> "
            f"{lost:.2%}; {kb:.0f} kB, {seconds:.0f} s"
        )
    return lines


def paired(results: Sequence[Result], methods: Sequence[str], count: int) -> list[list[Any]]:
    """Give each method's test examples with `count` utterances, of the speakers and seeds that all have.

    `results` are of `treat`; their cells have `method`, `speaker`, `count` and `seed`.
    """
    found: dict[str, dict[Any, list[Any]]] = {method: {} for method in methods}
    for result in results:
        cell = result.cell
        if result.figures and cell["count"] == count and cell["method"] in found:
            place = cell["speaker"], cell["seed"]
            found[cell["method"]][place] = result.figures["counts"]
    first, *others = found.values()
    shared = [place for place in first if all(place in other for other in others)]
    return [[row for place in shared for row in of[place]] for of in found.values()]


def _errors(
    model: Model, said: Sequence[Utterance], numbers: Mapping[str, int], cache: Cache
) -> dict[str, Any]:
    data = Speech(said, model, cache=cache, groups={"speaker": numbers})
    texts = set(writers(model).values())
    rows = [row for row in evaluate(model, {SPEECH: data}).rows if row.task in texts]
    counts: list[Any] = [[*row.counts["cer"], row.group] for row in rows]
    rate = error_rate([row[0] for row in counts], [row[1] for row in counts])
    return {"metric": "cer", "value": rate, "n": len(counts), "counts": counts}


def _by_speaker(paths: Sequence[Path]) -> Said:
    found: Said = {}
    for utterance in (utterance for path in paths for utterance in read_manifest(path)):
        found.setdefault(utterance.speaker, []).append(utterance)
    return found
