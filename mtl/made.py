"""Made: problems that need no files, of drawn signs and of synthetic speech."""

import numpy as np

from mtl.data.digits import CLASSES, glyphs
from mtl.data.images import hold_out, only
from mtl.data.manifest import read_manifest
from mtl.data.synthetic import make_corpus
from mtl.problem import Pictures, Recordings


def signs(seed: int = 0, count: int = 60) -> tuple[Pictures, Pictures]:
    """Draw two tasks: halves of the digits and capitals, `count` pictures of each.

    Which half, and the pictures, depend on `seed`; two fifths are for testing.
    """
    order = np.random.default_rng(seed).permutation(list(CLASSES)).tolist()
    train, test = hold_out(glyphs(count * len(CLASSES), seed=seed), 0.4)
    half = len(order) // 2
    a, b = (Pictures(only(train, c), only(test, c)) for c in (order[:half], order[half:]))
    return a, b


def languages(
    a: str = "de", b: str = "nl", counts: tuple[int, int] = (1500, 300), test: int = 100
) -> tuple[Recordings, Recordings]:
    """Make two tasks of the embedded corpus, with `counts` utterances; the test voices are unheard.

    Raises ImportError without `mtl[corpus]`.
    """
    made = make_corpus({a: counts[0], b: counts[1]}, dev=4, test=test)
    train, held = (read_manifest(made[part]) for part in ("train", "test"))
    one, two = (
        Recordings([u for u in train if u.lang == lang], [u for u in held if u.lang == lang])
        for lang in (a, b)
    )
    return one, two
