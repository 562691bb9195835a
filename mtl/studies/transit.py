"""Transit: a classifier that goes from a labelled domain to one without labels, by domains in between.

At each step it labels the next domain's pictures, and learns anew from those that it is surest of (gradual
self-training, Kumar, Ma, Liang 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtl.chain import NoChain, chain
from mtl.data.boxes import boxed, pixels
from mtl.data.digits import digits, glyphs
from mtl.data.pictures import Picture
from mtl.data.pixels import read_pixels
from mtl.ops import square
from mtl.score.a_distance import a_distance

Array = NDArray[np.float64]
SOURCE_ONLY, DIRECT, AT_ONCE, CHAIN = "source-only", "direct", "all at once", "chain"
TARGET_ONLY = "target-only"
ARMS = (SOURCE_ONLY, DIRECT, AT_ONCE, CHAIN, TARGET_ONLY)
SIDE = 16  # pixels that every picture is brought to
MARGIN = 2  # of them around a sign that is turned
CAPITALS = "ABCDEFGHJKL"
COMPONENTS = 20  # by which domains are compared
ANGLES = tuple(range(0, 91, 10))
SWAY = 10.0  # degrees by which pictures of a domain are turned more or less
SURE = 0.9  # share of a domain that is learnt from at each step


class Domain(NamedTuple):
    """Rows (N, D) of pixels; labels are for the source, and for tests."""

    rows: Array
    labels: NDArray[Any]


def turned(seed: int, small: bool = False) -> dict[str, Domain]:
    """Turn parts of scikit-learn's digits by growing angles; drawn capitals are there to be passed by.

    The domains are named by their angle; "90 test" is the last one's for tests.
    """
    rng = np.random.default_rng(seed)
    order, every, size = rng.permutation(1797), digits(SIDE), 40 if small else 160
    found = {}
    for place, angle in enumerate((*ANGLES, ANGLES[-1])):
        part = [every[i] for i in order[place * size : (place + 1) * size]]
        name = f"{angle}" if place < len(ANGLES) else f"{angle} test"
        found[name] = _domain(_turn(part, angle, rng))
    return found | {"capitals": _domain(_turn(glyphs(size, CAPITALS, seed, SIDE), 0, rng))}


def read(problems: Mapping[str, Any], target: str, most: int, seed: int) -> dict[str, Domain]:
    """Make domains of problems, `most` pictures each, and of the target's tests ("NAME test").

    Raises ValueError for a missing target.
    """
    if target not in problems:
        raise ValueError(f"no data set {target!r}; there are: {', '.join(problems)}")
    parts = {name: problem.train for name, problem in problems.items()}
    parts[f"{target} test"] = problems[target].test
    rng, found = np.random.default_rng(seed), {}
    for name, pictures in parts.items():
        chosen = rng.permutation(len(pictures))[:most]
        found[name] = _domain(_fitted([pictures[place] for place in chosen]))
    return found


def apart(domains: Mapping[str, Domain], seed: int = 0) -> Array:
    """Give the proxy A-distance of each pair of domains, by their principal components: (K, K)."""
    from sklearn.decomposition import PCA

    rows = [domain.rows for domain in domains.values()]
    reduced = PCA(COMPONENTS, random_state=seed).fit(np.concatenate(rows))
    found = np.zeros((len(rows), len(rows)))
    for a, b in combinations(range(len(rows)), 2):
        own, other = (reduced.transform(rows[place]) for place in (a, b))
        found[a, b] = found[b, a] = a_distance(own, other, seed=seed)
    return found


def travel(source: Domain, way: Sequence[Domain], sure: float = SURE) -> Any:
    """Learn from a labelled domain, then go through others without looking at their labels.

    Gives a classifier with `predict`. Of each domain the `sure` share counts whose margin is greatest.
    """
    from sklearn.svm import SVC

    learnt = SVC(C=10.0).fit(source.rows, source.labels)
    for domain in way:
        margins = learnt.decision_function(domain.rows)
        two = margins.ndim == 1  # two classes have one margin
        ahead = np.abs(margins) if two else np.diff(np.sort(margins, 1)[:, -2:], axis=1)[:, 0]
        kept = np.argsort(-ahead, kind="stable")[: max(round(sure * len(ahead)), 2)]
        guesses = learnt.predict(domain.rows[kept])
        if len(set(guesses.tolist())) < 2:
            break  # nothing is told apart any more
        learnt = SVC(C=10.0).fit(domain.rows[kept], guesses)
    return learnt


def accuracy(learnt: Any, test: Domain) -> dict[str, Any]:
    """Give a classifier's figures on a domain."""
    right = learnt.predict(test.rows) == test.labels
    counts = [[float(each), 1.0, str(place)] for place, each in enumerate(right)]
    return {"metric": "accuracy", "value": float(right.mean()), "n": len(right), "counts": counts}


class Journey:
    """Ways from the labelled domain `source` to `target`, whose tests are the domain "NAME test".

    Raises ValueError for a source that is no domain, or the target itself.
    """

    def __init__(
        self, domains: Mapping[str, Domain], source: str, target: str, close: float, seed: int
    ) -> None:
        self.test = domains[f"{target} test"]
        self.domains = {name: d for name, d in domains.items() if d is not self.test}
        if source not in self.domains or source == target:
            raise ValueError(
                f"source {source!r}, target {target!r}: give two of {', '.join(self.domains)}"
            )
        self.source, self.target, self.close = source, target, close
        self.far = apart(self.domains, seed)

    def run(self, arm: str) -> dict[str, Any]:
        """Go in one of ARMS: figures of the test; of the chain, also its `way`. Raises `NoChain`."""
        known, names = self.domains, list(self.domains)
        way = []
        if arm == CHAIN:
            way = chain(names, self.far, self.source, self.target, self.close)
        parts = [known[name] for name in names if name != self.source]
        pooled = Domain(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        steps = {DIRECT: [known[self.target]], AT_ONCE: [pooled]}
        steps[CHAIN] = [known[name] for name in way[1:]]
        start = known[self.target if arm == TARGET_ONLY else self.source]
        return accuracy(travel(start, steps.get(arm, [])), self.test) | {"way": way}

    def refusal(self) -> str:
        """Say why nothing would be done without domains in between; empty where one step is close enough."""
        names = list(self.domains)
        places = [names.index(name) for name in (self.source, self.target)]
        far = self.far[np.ix_(places, places)]
        try:
            chain([self.source, self.target], far, self.source, self.target, self.close)
        except NoChain as error:
            return str(error)
        return ""


def _domain(pictures: Sequence[Picture]) -> Domain:
    rows = pixels(pictures)
    return Domain(rows.reshape(len(rows), -1), np.array([picture.label for picture in pictures]))


def _turn(pictures: Sequence[Picture], degrees: float, rng: np.random.Generator) -> list[Picture]:
    """Turn signs within a margin that keeps their corners, each a little more or less."""
    from scipy.ndimage import rotate

    inner = boxed(pictures, SIDE - 2 * MARGIN)
    turned = degrees + rng.uniform(-SWAY, SWAY, len(inner))
    how: Any = {"reshape": False, "order": 1}
    return [
        replace(p, source=rotate(np.pad(np.asarray(p.source), MARGIN), angle, **how))
        for p, angle in zip(inner, turned, strict=True)
    ]


def _fitted(pictures: Sequence[Picture]) -> list[Picture]:
    """Bring pictures to one size, grey."""
    found = []
    for picture in pictures:
        x = square(read_pixels(picture.source), 1, SIDE)[0]
        found.append(replace(picture, source=(255 * x).round().byte().numpy()))
    return found
