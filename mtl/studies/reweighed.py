"""Reweighed: source examples count as much as they serve the target: known ratios, shifts, and digits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtl.data.boxes import boxed, pixels
from mtl.data.pictures import Picture
from mtl.instances.kmm import kmm
from mtl.instances.logistic import logistic
from mtl.instances.tradaboost import tradaboost
from mtl.instances.ulsif import ulsif
from mtl.problem import Pictures

Array = NDArray[np.float64]
ESTIMATES: Mapping[str, Callable[[Array, Array], Array]] = {
    "KMM": kmm,
    "uLSIF": ulsif,
    "logistic": logistic,
}
SHIFTS = ("covariate", "label", "concept")
UNWEIGHTED, ORACLE = "unweighted", "target's labels"
TARGET_ONLY, TOGETHER, BALANCED = "target-only", "source + target", "balanced"
BOOSTED = "TrAdaBoost"
ARMS = (TARGET_ONLY, TOGETHER, BALANCED, BOOSTED)
ROUNDS = 20
SIDE = 16  # pixels that every picture is brought to


class Pair(NamedTuple):
    """A source (N, D) and a target (M, D) with labels, the target's test, and the true ratio's log (N,)."""

    source: Array
    labels: NDArray[np.int64]
    target: Array
    answers: NDArray[np.int64]
    test: Array
    truth: NDArray[np.int64]
    log_ratio: Array


def gaussians(seed: int, count: int = 300, dim: int = 2) -> tuple[Array, Array, Array]:
    """Draw a source N(0, 1) and a target N(0.7, 0.8^2) in every column: (N, D), (N, D), and log ratio (N,).

    >>> [part.shape for part in gaussians(0, 5)]
    [(5, 2), (5, 2), (5,)]
    """
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(count, dim)), rng.normal(0.7, 0.8, (count, dim))
    return source, target, _log_normal(source, 0.7, 0.8) - _log_normal(source, 0.0, 1.0)


def agreement(estimate: str, seed: int) -> float:
    """Give the rank correlation of a way's weights with the true ratio, on `gaussians`."""
    from scipy.stats import spearmanr

    source, target, truth = gaussians(seed)
    return float(spearmanr(ESTIMATES[estimate](source, target), truth).statistic)


def shifted(kind: str, seed: int, count: int = 400) -> Pair:
    """Draw a source and a target that differ in one thing alone, `kind` of SHIFTS.

    "covariate": where x lies; the border between the classes, the same in both, is bent, which a linear
    classifier cannot follow everywhere. "label": how frequent the classes are. "concept": what is of which
    class. Raises ValueError for other kinds.
    """
    if kind not in SHIFTS:
        raise ValueError(f"shift {kind!r} is not known; choose from {', '.join(SHIFTS)}")
    rng = np.random.default_rng([seed, SHIFTS.index(kind)])
    sides = [_draw(kind, target, count, rng) for target in (False, True, True)]
    (source, labels), (target, answers), (test, truth) = sides
    ratio = np.zeros(count)
    if kind == "covariate":
        ratio = _log_normal(source[:, :1], 1.0, 0.7) - _log_normal(source[:, :1], -0.5, 1.0)
    return Pair(source, labels, target, answers, test, truth, ratio)


def repaired(kind: str, arm: str, seed: int) -> dict[str, Any]:
    """Learn a linear classifier from a shifted source, weighed by a way: figures on the target's test.

    `arm` is UNWEIGHTED, one of ESTIMATES, or ORACLE, which learns from the target's labels.
    """
    pair = shifted(kind, seed)
    rows, labels, weights = pair.source, pair.labels, np.ones(len(pair.source))
    if arm == ORACLE:
        rows, labels = pair.target, pair.answers
    elif arm != UNWEIGHTED:
        weights = ESTIMATES[arm](pair.source, pair.target)
        weights = weights / weights.mean()
    return wrong(_linear(rows, labels)(weights)(pair.test) != pair.truth)


def boosted(
    arm: str,
    source: tuple[Array, NDArray[Any]],
    target: tuple[Array, NDArray[Any]],
    test: tuple[Array, NDArray[Any]],
) -> dict[str, Any]:
    """Learn from many source and few target examples in one of ARMS: figures on the target's test.

    BALANCED gives both sides the same weight in all. BOOSTED begins with the same for each example, trusts
    ever fewer of the source, and says after how many `rounds` it ended: that without error on the target.
    """
    if arm == TARGET_ONLY:
        return wrong(_linear(*target)(np.ones(len(target[1])))(test[0]) != test[1])
    n, m = len(source[1]), len(target[1])
    rows, labels = (np.concatenate(pair) for pair in zip(source, target, strict=True))
    learn = _linear(rows, labels)
    if arm == BOOSTED:
        found = tradaboost(learn, source, target, rounds=ROUNDS)
        return wrong(found.predict(test[0]) != test[1]) | {"rounds": len(found.errors)}
    shares = np.repeat([(n + m) / (2 * n), (n + m) / (2 * m)], [n, m])
    return wrong(learn(shares if arm == BALANCED else np.ones(n + m))(test[0]) != test[1])


class Domains:
    """Pictures of two domains, cut to their ink; `notes` say where there were fewer than asked for."""

    def __init__(self, source: Pictures, target: Pictures, most: int) -> None:
        self.source, self.target = source.train, target.train
        self.test = _rows(_drawn(target.test, most, 0))
        self.notes: list[str] = []

    def run(self, arm: str, size: int, count: int, seed: int) -> dict[str, Any]:
        """Draw `size` source and `count` target examples, and learn from them in one of ARMS."""
        for name, known, wanted in (("source", self.source, size), ("target", self.target, count)):
            note = f"{name}: {wanted} examples were asked for, there are {len(known)}"
            self.notes += [note] if wanted > len(known) and note not in self.notes else []
        drawn = (_drawn(self.source, size, seed), _drawn(self.target, count, seed))
        return boosted(arm, _rows(drawn[0]), _rows(drawn[1]), self.test)


def _drawn(pictures: Sequence[Picture], count: int, seed: int) -> list[Picture]:
    """Draw at most `count` pictures."""
    order = np.random.default_rng(seed).permutation(len(pictures))[:count]
    return [pictures[place] for place in order]


def _rows(pictures: Sequence[Picture]) -> tuple[Array, NDArray[Any]]:
    rows = pixels(boxed(pictures, SIDE))
    return rows.reshape(len(rows), -1), np.array([picture.label for picture in pictures])


def wrong(errors: NDArray[np.bool_]) -> dict[str, Any]:
    """Give figures as `mtl.tally` takes them, of errors (N,)."""
    counts = [[float(error), 1.0, str(place)] for place, error in enumerate(errors)]
    return {"metric": "error", "value": float(errors.mean()), "n": len(errors), "counts": counts}


def _linear(rows: Array, labels: NDArray[Any]) -> Callable[[Array], Callable[[Array], Any]]:
    """Give what learns a linear classifier from weights (N,). Weights of 0 leave out examples."""
    from sklearn.linear_model import LogisticRegression

    def learn(weights: Array) -> Callable[[Array], Any]:
        kept = weights > 1e-6 * weights.max()
        known = np.unique(labels[kept])
        if len(known) < 2:
            return lambda x: np.full(len(x), known[0])
        learnt = LogisticRegression(max_iter=2000, tol=1e-3)
        return learnt.fit(rows[kept], labels[kept], sample_weight=weights[kept]).predict  # type: ignore[no-any-return]

    return learn


def _draw(
    kind: str, target: bool, count: int, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Draw one side of a shift."""
    if kind == "label":
        labels = (rng.random(count) < (0.85 if target else 0.5)).astype(np.int64)
        return rng.normal(0.8 * (2 * labels[:, None] - 1), 1.0, (count, 2)), labels
    x = rng.normal(size=(count, 2))
    if kind == "covariate":
        middle, spread = (1.0, 0.7) if target else (-0.5, 1.0)
        x[:, 0] = middle + spread * x[:, 0]
        return x, (x[:, 1] + 0.3 * rng.normal(size=count) > x[:, 0] ** 2 - 1).astype(np.int64)
    side = x[:, 0] if target else x[:, 1]
    return x, (side + x.sum(1) * 0.3 > 0).astype(np.int64)


def _log_normal(x: Array, middle: float, spread: float) -> Array:
    found: Array = (-(((x - middle) / spread) ** 2) / 2 - np.log(spread)).sum(1)
    return found
