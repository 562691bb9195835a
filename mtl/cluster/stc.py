"""STC: clusters of few examples, helped by many of another kind. Dai et al. 2008. Topic: self-taught.

Dai, Yang, Xue, Yu: self-taught clustering. Target and auxiliary examples are clustered each on its own, the
features that they have in common once, for both.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]


class Clusters(NamedTuple):
    """The cluster of each target example (N,), auxiliary example (M,) and feature (Z,).

    `losses` is the objective in nats at the start and after each round: it never grows.
    """

    target: Numbers
    auxiliary: Numbers
    features: Numbers
    losses: list[float]


class Sizes(NamedTuple):
    """How many clusters of target examples, auxiliary examples and features there may be."""

    target: int
    auxiliary: int
    features: int


def stc(
    target: ArrayLike,
    auxiliary: ArrayLike,
    sizes: tuple[int, int, int],
    weight: float = 1.0,
    rounds: int = 50,
    restarts: int = 10,
    seed: int = 0,
) -> Clusters:
    """Cluster examples by how often they have each feature: counts (N, Z) and (M, Z), none below 0.

    `sizes` are the numbers of target, auxiliary and feature clusters, some of which may stay empty. What is
    minimised is the information on features that clusters lose, I(X; Z) - I(X~; Z~), of the target plus
    `weight` times that of the auxiliary examples (Dai et al. 2008): less is better. Of `restarts`
    runs from random clusters the best is given, each until nothing changes or for `rounds`. All counts
    times a constant change nothing, of the target or of the auxiliary examples; neither does their order,
    up to the random start. With a weight of 0 the target is clustered alone. Raises ValueError for
    counts below 0 or of unequal width, and settings that are not above 0.

    >>> counts = np.kron(np.eye(2), np.ones((2, 3)))
    >>> found = stc(counts, counts, (2, 2, 2))
    >>> bool(found.target[0] == found.target[1] != found.target[2]), round(found.losses[-1], 9)
    (True, 0.0)
    """
    shares = [_shares(np.asarray(counts, np.float64)) for counts in (target, auxiliary)]
    most = Sizes(*sizes)
    if shares[0].shape[1] != shares[1].shape[1]:
        raise ValueError(
            f"{shares[0].shape[1]} target features, {shares[1].shape[1]} auxiliary ones"
        )
    if min(*most, rounds, restarts) < 1 or weight < 0:
        raise ValueError(
            f"sizes {tuple(most)}, weight {weight}, rounds {rounds}, restarts {restarts}; "
            "give 1 at least, and a weight of 0 or more"
        )
    rng = np.random.default_rng(seed)
    runs = [_run(shares[0], shares[1], most, weight, rounds, rng) for _ in range(restarts)]
    return min(runs, key=lambda run: run.losses[-1])


def information(joint: ArrayLike) -> float:
    """Give the mutual information of rows and columns in nats, of a joint distribution (A, B).

    >>> round(information([[0.5, 0.0], [0.0, 0.5]]), 6)
    0.693147
    """
    p = np.asarray(joint, np.float64)
    there = p > 0
    return float((p[there] * _pointwise(p)[there]).sum())


def _shares(counts: Array) -> Array:
    if counts.ndim != 2 or not (counts >= 0).all() or not 0 < counts.sum() < np.inf:
        raise ValueError(f"counts {counts.shape} must be a table, 0 or more, and not all of them 0")
    shares: Array = counts / counts.sum()
    return shares


def _run(
    p: Array, q: Array, sizes: Sizes, weight: float, rounds: int, rng: np.random.Generator
) -> Clusters:
    """Improve the clusters of target examples, auxiliary ones and features in turn, from random ones."""
    x, y, z = (
        rng.integers(size, size=count)
        for size, count in zip(sizes, (len(p), len(q), p.shape[1]), strict=True)
    )

    def loss() -> float:
        merged = _merge(p, x, z, sizes.target, sizes.features)
        beside = _merge(q, y, z, sizes.auxiliary, sizes.features)
        lost = whole[0] - information(merged), whole[1] - information(beside)
        return max(lost[0] + weight * lost[1], 0.0)  # rounding may leave less

    whole = information(p), information(q)
    losses = [loss()]
    for _ in range(rounds):
        old = np.concatenate([x, y, z])
        x = _better(x, _gains(p, x, z, sizes.target, sizes.features))
        y = _better(y, _gains(q, y, z, sizes.auxiliary, sizes.features))
        gains = _gains(p.T, z, x, sizes.features, sizes.target)
        if weight:
            gains = gains + weight * _gains(q.T, z, y, sizes.features, sizes.auxiliary)
        z = _better(z, gains)
        losses.append(loss())
        if np.array_equal(old, np.concatenate([x, y, z])):
            break
    return Clusters(x, y, z, losses)


def _gains(joint: Array, rows: Numbers, columns: Numbers, size: int, width: int) -> Array:
    """Give what each row would add to the information of clusters, in each of `size`: (A, B) -> (A, size).

    It is -p(row) D(p(columns | row) || that of the cluster), but for a constant of the row: minus infinity
    where the cluster lacks what the row has.
    """
    merged = _merge(joint, rows, columns, size, width)
    parts = joint @ np.eye(width)[columns]
    gains: Array = parts @ _pointwise(merged).T
    gains[(parts > 0) @ (merged == 0).T] = -np.inf
    return gains


def _better(now: Numbers, gains: Array) -> Numbers:
    """Move to the cluster of the greatest gain; who is as well off, up to rounding, stays."""
    own = gains[np.arange(len(now)), now]
    best = gains.argmax(1)
    greater = gains.max(1) > own + 1e-12 * np.abs(own)
    return np.where(greater, best, now)


def _merge(joint: Array, rows: Numbers, columns: Numbers, size: int, width: int) -> Array:
    """Add up the entries of each pair of clusters: (size, width)."""
    merged: Array = np.eye(size)[rows].T @ joint @ np.eye(width)[columns]
    return merged


def _pointwise(joint: Array) -> Array:
    """Give log p(a, b) / (p(a) p(b)), and 0 where there is nothing."""
    parts = (joint, joint.sum(1, keepdims=True), joint.sum(0))
    here, rows, columns = (np.log(np.where(part > 0, part, 1)) for part in parts)
    return np.where(joint > 0, here - rows - columns, 0)
