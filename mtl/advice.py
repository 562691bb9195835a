"""Advice: which source model to start from, whether to at all, and why not, from scores and distances."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

BY = "logme"  # the score that ranks, unless told
FAR = 1.5  # A-distance, of 2 at most, from which the data are of another kind
FORETOLD = 0.1  # share of the entropy that source classes must tell to say something
MANY = 500  # examples of each class, from which on little is gained


class Source(NamedTuple):
    """A source model as seen from a target.

    `scores` of it and of a network like it that is `untrained`, by name; `distances` of its data from the
    target's, {} where its data are not known; `entropy` of the target's labels, in nats; `each`, examples of
    each of its classes.
    """

    name: str
    scores: Mapping[str, float]
    untrained: Mapping[str, float]
    distances: Mapping[str, float]
    entropy: float
    each: float


class Verdict(NamedTuple):
    """Whether to transfer from a source, its `lead` over knowing nothing by the score, and why."""

    source: Source
    transfer: bool
    lead: float
    why: str


def lead(source: Source, by: str = BY) -> float:
    """Give by how much a source's score is above that of an untrained network.

    LEEP and NCE are compared with source classes that say nothing. Raises ValueError for a score that the
    source does not have.

    >>> source = Source("a", {"logme": 0.5, "nce": -0.5}, {"logme": 0.25, "nce": -9.0}, {}, 1.0, 5)
    >>> lead(source), lead(source, "nce")
    (0.25, 0.5)
    """
    if by not in source.scores:
        raise ValueError(f"{source.name} has no score {by!r}; it has: {', '.join(source.scores)}")
    if by in ("leep", "nce"):
        return source.scores[by] + source.entropy
    return source.scores[by] - source.untrained[by]


def advise(sources: Sequence[Source], by: str = BY, margin: float = 0.0) -> list[Verdict]:
    """Rank sources, the best first: transfer where the lead is above `margin`, or else say what likely hurts.

    Raises ValueError as `lead` does.

    >>> near = Source("near", {"logme": 0.5}, {"logme": 0.2}, {}, 1.0, 10)
    >>> far = Source("far", {"logme": 0.1}, {"logme": 0.2}, {"A-distance": 1.9}, 1.0, 10)
    >>> for verdict in advise([far, near]):
    ...     print(verdict.source.name, verdict.transfer, verdict.why)
    near True its features tell the target's classes better than an untrained network's
    far False NEGATIVE TRANSFER likely: its data are of another kind (A-distance 1.90 of 2)
    """
    ranked = sorted(sources, key=lambda source: lead(source, by), reverse=True)
    found = []
    for source in ranked:
        own = lead(source, by)
        good = own > margin
        why = _why(source, by) if good else f"NEGATIVE TRANSFER likely: {cause(source)}"
        found.append(Verdict(source, good, own, why))
    return found


def best_margin(leads: Sequence[float], gains: Sequence[float]) -> float:
    """Give the lead, 0 or more, that best parts the sources that hurt from those that gain.

    Their gains (as many as `leads`) are known; those below 0 hurt. Both kinds weigh the same; where one is
    missing, the margin is 0.

    >>> best_margin([0.1, 0.2, 0.4], [-0.1, -0.2, 0.3])
    0.3
    """
    hurt = [own for own, gain in zip(leads, gains, strict=True) if gain < 0]
    good = [own for own, gain in zip(leads, gains, strict=True) if gain > 0]
    if not hurt or not good:
        return 0.0
    ordered = sorted(leads)
    middles = [round((a + b) / 2, 12) for a, b in pairwise(ordered)]
    tried = [0.0, *(middle for middle in middles if middle > 0)]

    def parted(margin: float) -> float:
        below = sum(own <= margin for own in hurt) / len(hurt)
        return below + sum(own > margin for own in good) / len(good)

    return max(tried, key=parted)


def cause(source: Source) -> str:
    """Say why a source likely hurts: its data, its classes, or what it has learnt to overlook.

    Rules of thumb: an A-distance from 1.5 blames the data; source classes that tell less than a tenth of
    the target's entropy blame the classes.
    """
    far = source.distances.get("A-distance", 0.0)
    if far >= FAR:
        return f"its data are of another kind (A-distance {far:.2f} of 2)"
    told = source.scores.get("nce", 0.0) + source.entropy
    if "nce" in source.scores and told < FORETOLD * source.entropy:
        share = max(told, 0.0) / max(source.entropy, 1e-9)
        near = f" though its data are near (A-distance {far:.2f} of 2)" if source.distances else ""
        return (
            f"its classes say {share:.0%} of what the target's are{near}: labels differ, not inputs"
        )
    return (
        "its features tell the target's classes worse than an untrained network's: it has learnt to "
        "overlook them"
    )


def decision(verdicts: Sequence[Verdict]) -> list[str]:
    """Say in sentences what to do."""
    best = verdicts[0]
    if not best.transfer:
        return ["would train from scratch: no source is better than knowing nothing"]
    lines = [f"would start from {best.source.name}: {best.why}"]
    if best.source.each >= MANY:
        lines.append(
            f"the target has {best.source.each:.0f} examples of each class: little can be gained"
        )
    return lines


def _why(source: Source, by: str) -> str:
    if by in ("leep", "nce"):
        return "its classes foretell the target's"
    return "its features tell the target's classes better than an untrained network's"
