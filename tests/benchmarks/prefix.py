"""How much faster epochs become when what a frozen front gives is kept. Prints JSON, a line per trunk.

python tests/benchmarks/prefix.py [threads]
"""

import json
import sys
import time

import numpy as np
import torch

from mtl.batch import Example
from mtl.config import Fit
from mtl.device import set_threads
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.prefix import Prefix
from mtl.stems.logmel import LogMel
from mtl.stems.waveform import Waveform
from mtl.stream import Stream
from mtl.trunks.conformer import Conformer
from mtl.trunks.huggingface import HuggingFace
from mtl.tune.layers import top

BLOCKS, TRAINED = 8, 2
UTTERANCES = {"conformer": 64, "wav2vec2": 12}
LETTERS = list("abcdefghijklmnopqrstuvwxyz")


class Noise:
    """Utterances of 2 to 6 seconds, log-mel frames or samples, with ten letters a second."""

    def __init__(self, kind):
        self.shape = (100, 80) if kind == "conformer" else (16000,)
        self.seconds = np.linspace(2.0, 6.0, UTTERANCES[kind])
        self.ids = [f"x{index}" for index in range(len(self))]

    def __len__(self):
        return len(self.seconds)

    def column(self, name):
        return [""] * len(self)

    def labels(self, index):
        return {}

    def example(self, index, draw=None, targets=True):
        g = torch.Generator().manual_seed(index)
        rate, *wide = self.shape
        sound = torch.randn(int(rate * self.seconds[index]), *wide, generator=g)
        text = torch.randint(1, 27, (int(10 * self.seconds[index]),), generator=g)
        return Example(sound, {"nl": text}, 1.0, {}, self.ids[index])


def build(kind):
    """Give a recogniser of which head and last blocks are trained."""
    torch.manual_seed(0)
    stem, trunk = LogMel(144), Conformer(dim=144, depth=BLOCKS, dropout=0.0)
    if kind == "wav2vec2":
        config = {"model_type": kind, "num_hidden_layers": BLOCKS, "hidden_size": 384}
        config |= {"num_attention_heads": 6, "intermediate_size": 1536, "layerdrop": 0.0}
        config |= {f"{name}_dropout": 0.0 for name in ("hidden", "attention", "activation")}
        stem, trunk = Waveform(), HuggingFace(config, masking=False)
    model = Model({"speech": stem}, trunk, [Task("nl", "speech", CTC(LETTERS))])
    top(model, TRAINED)
    return model


def epoch(model, data, threads):
    """Train one epoch; give its seconds and the losses."""
    stream = Stream(data, batch=24.0)
    config = Fit(steps=len(stream), log_every=1, precision="no", dry_run=False, threads=threads)
    fitted = fit(model, {"speech": stream}, config, show=False)
    return fitted.seconds, [entry["loss"]["nl"] for entry in fitted.history]


def compare(kind, threads):
    """Train without and with the cache."""
    epoch(build(kind), Noise(kind), threads)  # kernels are compiled
    plain, expected = epoch(build(kind), Noise(kind), threads)
    model = build(kind)
    data = Prefix(Noise(kind), model, "speech")
    began = time.monotonic()
    data.fill(show=False)
    filled = time.monotonic() - began
    first, losses = epoch(model, data, threads)  # compiles kernels for its own shapes
    kept, _ = epoch(model, data, threads)
    errors = [abs(one - two) / two for one, two in zip(losses, expected, strict=True)]
    found = {"seconds": plain, "seconds_kept": kept, "seconds_kept_first": first, "fill": filled}
    found |= {"ratio": plain / kept, "largest_relative_loss_difference": max(errors)}
    return {name: float(f"{value:.3g}") for name, value in found.items()}


def main():
    """Compare for every trunk."""
    threads = set_threads(int(sys.argv[1]) if sys.argv[1:] else 0)
    settings = {"blocks": BLOCKS, "trained": TRAINED, "threads": threads}
    for kind in UTTERANCES:
        print(json.dumps({"trunk": kind, **settings, **compare(kind, threads)}))


if __name__ == "__main__":
    main()
