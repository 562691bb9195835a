"""How fast a beam search is beside the greedy one, with and without n-grams and hot words. Prints JSON lines.

python tests/benchmarks/beam.py [utterances]
"""

import json
import random
import sys
import tempfile
import time
from pathlib import Path

import torch

from mtl.decode.beam import Beam, Search
from mtl.decode.lm import estimate, tokens
from mtl.head import Scores
from mtl.heads.ctc import CTC

FRAMES_PER_SECOND, SECONDS, WORDS = 25, 10, 5000
SYMBOLS = list(" 'abcdefghijklmnopqrstuvwxyz")


def texts(count, seed):
    """Sentences of 25 words out of 5,000, some far more frequent than others."""
    rng = random.Random(0)
    words = ["".join(rng.choices(SYMBOLS[2:], k=rng.randint(2, 9))) for _ in range(WORDS)]
    rng = random.Random(seed)
    drawn = [rng.choices(words, [1 / (1 + n) for n in range(WORDS)], k=25) for _ in range(count)]
    return [" ".join(sentence) for sentence in drawn]


def scores(text, head, seed):
    """Log-probabilities of a text cut to what the frames can hold: spikes, blanks between, and doubt."""
    g = torch.Generator().manual_seed(seed)
    frames = FRAMES_PER_SECOND * SECONDS
    logits = torch.randn(frames, len(SYMBOLS) + 1, generator=g)
    logits[:, 0] += 5
    label = head.encode(text)[: frames * 2 // 5]
    at = torch.linspace(1, frames - 2, len(label)).long()
    logits[at, 0] -= 5
    logits[at, label] += 5
    return logits.log_softmax(-1)


def main():
    """Time every kind of search on the same scores."""
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if sys.argv[1:] else 20
    head = CTC(SYMBOLS)
    said = texts(count, seed=1)
    x = Scores(torch.stack([scores(text, head, i) for i, text in enumerate(said)]))
    with tempfile.TemporaryDirectory() as folder:
        for unit, order in (("words", 3), ("characters", 6)):
            model = estimate((tokens(text, unit) for text in texts(4000, seed=2)), order)
            model.write(Path(folder, unit))
        words, letters = (str(Path(folder, unit)) for unit in ("words", "characters"))
        hot = tuple(said[0].split()[:10])
        searches = {
            "greedy": None,
            "beam": Search(),
            "letters": Search(lm=letters),
            "words": Search(lm=words),
            "hot words": Search(hotwords=hot),
            "letters, hot words": Search(lm=letters, hotwords=hot),
            "words, hot words": Search(lm=words, hotwords=hot),
        }
        for name, search in searches.items():
            began = time.perf_counter()
            decide = head.predict if search is None else Beam(head, search)
            built = time.perf_counter()
            decide(x)
            taken = time.perf_counter() - built
            found = {"build_seconds": built - began, "utterances_per_second": count / taken}
            found["times_real_time"] = count * SECONDS / taken
            rounded = {key: float(f"{value:.3g}") for key, value in found.items()}
            print(json.dumps({"search": name, "beam": 50, **rounded}), flush=True)


if __name__ == "__main__":
    main()
