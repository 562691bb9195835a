"""chain: domains between source and target, each close to the next. Tan et al. 2015. Topic: transitive."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra


class NoChain(ValueError):
    """No chain of domains leads from the source to the target by steps that are close enough."""


def chain(
    names: Sequence[str], distances: ArrayLike, source: str, target: str, close: float
) -> list[str]:
    """Choose the domains to go through, source and target included: names (K,), distances (K, K).

    No step is wider than `close`, and the sum of their squares is the least: many small steps rather than a
    wide one. Distances are symmetric and not below 0, such as `mtl.score.a_distance` (0 to 2). Raises
    NoChain, which names the step where the best chain breaks, and ValueError for unknown names or shapes.

    Differs: Tan et al. choose one domain in the middle, by a classifier of what has worked before.

    >>> distances = [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    >>> chain(["digits", "tilted", "lying"], distances, "digits", "lying", close=1.5)
    ['digits', 'tilted', 'lying']
    """
    far = np.asarray(distances, np.float64)
    if far.shape != (len(names), len(names)) or not (far >= 0).all() or (far != far.T).any():
        raise ValueError(f"distances {far.shape} for {len(names)} domains; give (K, K), symmetric")
    if missing := [name for name in (source, target) if name not in names]:
        raise ValueError(f"no domain {missing[0]!r}; there are: {', '.join(names)}")
    start, end = (list(names).index(name) for name in (source, target))
    path = _shortest(np.where(far <= close, far, np.inf), start, end)
    if path:
        return [names[place] for place in path]
    ways = (_shortest(np.where(far <= width, far, np.inf), start, end) for width in np.unique(far))
    best = next(way for way in ways if way)  # that whose widest step is the least wide
    a, b = max(pairwise(best), key=lambda step: far[step])
    raise NoChain(
        f"no chain from {source!r} to {target!r} is close enough: from {names[a]!r} to {names[b]!r} it is "
        f"{far[a, b]:.2f}, more than {close}; give a domain in between, or do not transfer"
    )


def _shortest(far: NDArray[np.float64], start: int, end: int) -> list[int]:
    """Give the places on the way of the least sum of squares; none where there is no way."""
    rows, columns = np.nonzero(np.isfinite(far))
    # Sparse, as a distance of 0 is a step; of as many squares, the fewer steps.
    costs = csr_array((far[rows, columns] ** 2 + 1e-12, (rows, columns)), shape=far.shape)
    _, before = dijkstra(costs, indices=start, return_predecessors=True)
    path = [end]
    while path[-1] != start:
        if before[path[-1]] < 0:
            return []
        path.append(int(before[path[-1]]))
    return path[::-1]
