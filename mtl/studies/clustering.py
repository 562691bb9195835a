"""Clustering: problems whose few examples may be clustered better with the help of many of another kind."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtl.cluster.stc import stc
from mtl.data.boxes import boxed, pixels
from mtl.data.pictures import Picture, few

Array = NDArray[np.float64]
FIRST = 100  # seed: those before served to choose the settings below
SIDE, POINTS = 12, 40  # of a picture that is seen by its ink, and how many points are seen of it
AUXILIARY = 500  # pictures of another kind


class Counts(NamedTuple):
    """Target examples (N, Z) and auxiliary ones (M, Z) by features, and the target's classes (N,)."""

    target: Array
    auxiliary: Array
    classes: NDArray[Any]


def topics(seed: int) -> Counts:
    """Draw short texts of 3 topics, and long ones of 5 others about the same 6 groups of 120 words.

    >>> [part.shape for part in topics(0)]
    [(60, 120), (600, 120), (60,)]
    """
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.arange(120) % 6)

    def draw(liked: Sequence[tuple[int, ...]], count: int, words: int) -> tuple[Array, Any]:
        of = np.arange(count) % len(liked)
        odds = np.array([[4.0 if g in groups else 1.0 for g in group] for groups in liked])
        odds /= odds.sum(1, keepdims=True)
        return np.stack([rng.multinomial(words, odds[each]) for each in of]).astype(float), of

    target, classes = draw([(0,), (1,), (2,)], 60, 12)
    auxiliary, _ = draw([(0, 1), (2, 5), (3, 4), (0, 3), (1, 4)], 600, 120)
    return Counts(target, auxiliary, classes)


def points(
    pictures: Sequence[Picture], unlabelled: Sequence[Picture], seed: int, seen: int = POINTS
) -> Counts:
    """Count ink by place: 10 pictures of each class, of which `seen` points are drawn (0: all ink), and many
    of another kind.
    """
    rng = np.random.default_rng(seed)
    chosen = few(pictures, 10, seed)
    others = [unlabelled[i] for i in rng.permutation(len(unlabelled))[:AUXILIARY]]
    target, auxiliary = (
        pixels(boxed(part, SIDE)).reshape(len(part), -1) for part in (chosen, others)
    )
    if seen:
        shares = target / target.sum(1, keepdims=True)
        target = np.stack([rng.multinomial(seen, share) for share in shares]).astype(float)
    return Counts(target, auxiliary, np.array([picture.label for picture in chosen]))


def problems(
    pictures: Sequence[Picture], unlabelled: Sequence[Picture]
) -> Mapping[str, tuple[Callable[[int], Counts], tuple[int, int, int], float]]:
    """Give each problem's counts by seed, its numbers of clusters, and the weight of what helps."""
    return {
        "short texts": (topics, (3, 5, 6), 10.0),
        f"digits, {POINTS} points": (lambda s: points(pictures, unlabelled, s), (10, 40, 25), 5.0),
        "digits": (lambda s: points(pictures, unlabelled, s, 0), (10, 40, 25), 5.0),
    }


def agreement(
    counts: Counts, sizes: tuple[int, int, int], weight: float, seed: int
) -> dict[str, float]:
    """Give how well clusters agree with classes (normalised mutual information, 0 to 1), by way."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    def score(clusters: Any) -> float:
        return float(normalized_mutual_info_score(counts.classes, clusters))

    rows = counts.target / counts.target.sum(1, keepdims=True)
    found = {"k-means": score(KMeans(sizes[0], n_init=10, random_state=seed).fit_predict(rows))}
    for name, strength in (("alone", 0.0), ("self-taught", weight)):
        clusters = stc(counts.target, counts.auxiliary, sizes, strength, restarts=5, seed=seed)
        found[name] = score(clusters.target)
    return found
