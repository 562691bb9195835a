"""reliability: are answers right as often as they say? A curve, and the mean gap. Guo et al. 2017."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Reliability(NamedTuple):
    """Of answers grouped by how sure they are (K,): what they say on average, the share right, how many."""

    said: NDArray[np.float64]
    right: NDArray[np.float64]
    counts: NDArray[np.int64]

    def error(self) -> float:
        """Give the mean gap between the two over all answers (equation 3), a fraction."""
        return float(np.average(abs(self.said - self.right), weights=self.counts))


def reliability(confidences: ArrayLike, hits: ArrayLike, bins: int = 10) -> Reliability:
    """Group answers by their confidences (N,), 0 to 1, in equal steps; `hits` (N,) are 1 where right.

    Groups without an answer are left out. Raises ValueError for other shapes and numbers, and for no answer.

    >>> found = reliability([0.9, 0.9, 0.6, 0.6], [1, 1, 0, 1])
    >>> found.said.tolist(), found.right.tolist(), round(found.error(), 2)
    ([0.6, 0.9], [0.5, 1.0], 0.1)
    """
    said, right = np.asarray(confidences, dtype=np.float64), np.asarray(hits, dtype=np.float64)
    if said.ndim != 1 or said.shape != right.shape or not len(said) or bins < 1:
        raise ValueError(
            f"confidences {said.shape}, hits {right.shape}, bins {bins}: give (N,) both, N and bins 1 or more"
        )
    if not ((said >= 0) & (said <= 1)).all():
        raise ValueError(f"confidences from {said.min():g} to {said.max():g}; give shares, 0 to 1")
    place = np.minimum((said * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    some = counts > 0
    mean, share = (np.bincount(place, each, bins)[some] / counts[some] for each in (said, right))
    return Reliability(mean, share, counts[some])
