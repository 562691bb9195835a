"""Strength: how far a delta goes, from the unadapted model at 0 to what was learnt at 1."""

import copy
import math
import statistics
from collections.abc import Mapping, Sequence

from mtl.data.cache import Cache
from mtl.data.speech import Speech
from mtl.delta import Delta, take, wear
from mtl.evaluate import Evaluation, evaluate
from mtl.languages import SPEECH, writers
from mtl.lessons import Ears, Lesson
from mtl.metrics import METRICS
from mtl.model import Model

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def choose_strength(
    model: Model, adapted: Model, name: str, member: int | None, lesson: Lesson, cache: Cache
) -> float:
    """Choose how far the speaker `name` goes from `model` to `adapted`, whose rows `member` are its own.

    What the lesson held out decides, by `furthest`; where nothing was, n / (n + 1) with n utterances.
    """
    if not lesson.held:
        return len(lesson.learnt) / (len(lesson.learnt) + 1)
    errors = {}
    for strength in STRENGTHS:
        wearer, numbers = worn(model, [take(adapted, model, name, member, strength)])
        data = Speech(lesson.held, wearer, cache=cache, groups={"speaker": numbers})
        errors[strength] = _errors(evaluate(wearer, {SPEECH: data}), wearer)
    return furthest(errors)


def worn(model: Model, deltas: Sequence[Delta]) -> Ears:
    """Give a copy of the model that wears deltas, and the number of each."""
    wearer = copy.deepcopy(model)
    return wearer, wear(wearer, deltas)


def furthest(errors: Mapping[float, Sequence[float]]) -> float:
    """Choose the largest strength that one standard error cannot tell from the one with the fewest errors.

    `errors` are those of the same utterances, {strength: one number each}; the standard error is that of the
    difference, utterance by utterance (the rule of Breiman et al. 1984, section 3.4.3). What few held-out
    utterances say by chance must not throw away what all the others taught. Raises ValueError without any.

    >>> furthest({0.0: [3, 2, 4], 0.5: [0, 1, 2], 1.0: [1, 1, 1]})
    1.0
    >>> furthest({0.0: [3, 2, 4], 0.5: [0, 1, 2], 1.0: [5, 5, 5]})
    0.5
    """
    if not errors:
        raise ValueError("no strength to choose from")
    best = min(errors, key=lambda strength: (sum(errors[strength]), -strength))

    def excused(strength: float) -> bool:
        more = [a - b for a, b in zip(errors[strength], errors[best], strict=True)]
        noise = math.sqrt(len(more)) * statistics.stdev(more) if len(more) > 1 else 0.0
        return sum(more) <= noise

    return max(strength for strength in errors if excused(strength))


def _errors(found: Evaluation, model: Model) -> list[float]:
    """Count the errors of each utterance, by its task's first metric."""
    # Of few utterances, one whose language is mistaken would outweigh all that is misspelt.
    written = [row for row in found.rows if row.task in writers(model).values()]
    firsts = [next(iter(row.counts.items())) for row in written or found.rows]
    return [n if METRICS[name].direction == "min" else of - n for name, (n, of) in firsts]
