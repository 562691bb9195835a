"""What edits by speaker cost, one speaker and many to a batch. Prints a table of times and ratios.

python tests/benchmarks/speakers.py [threads] [rounds] [no|bf16]

All variants take turns in every round; a ratio is the median over the rounds of paired times.
"""

import sys
import time

import numpy as np
import torch

from mtl.batch import Batch
from mtl.device import choose_precision, set_threads
from mtl.model import Model
from mtl.stems.logmel import LogMel
from mtl.trunks.conformer import Conformer
from mtl.tune.adapter import adapter
from mtl.tune.lhuc import lhuc
from mtl.tune.lin import lin

UTTERANCES, SECONDS = 32, 3
EDITS = {"none": None, "lhuc": lhuc, "lin": lin, "adapter": adapter}
VARIANTS = [("none", 0), *((name, n) for name in EDITS if name != "none" for n in (1, UTTERANCES))]


def build(name, members, precision):
    """A conformer with an edit for some members, its optimiser, and what runs it on their utterances."""
    torch.manual_seed(0)
    model = Model({"speech": LogMel(144)}, Conformer(dim=144, depth=4, dropout=0.0))
    if EDITS[name]:
        EDITS[name](model, size=members + 1)
    frames = torch.randn(UTTERANCES, SECONDS * 100, 80)
    lengths = torch.full((UTTERANCES,), SECONDS * 100)
    numbers = 1 + torch.arange(UTTERANCES) % max(members, 1)
    batch = Batch(frames, lengths, groups={"speaker": numbers})

    def forward():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return model("speech", batch).x

    return model, torch.optim.AdamW(model.parameters(), lr=1e-6), forward


def infer(model, optimizer, forward):
    """Run a forward pass."""
    model.eval()
    with torch.inference_mode():
        forward()


def train(model, optimizer, forward):
    """Take a training step of all parameters."""
    model.train()
    forward().float().square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def measure(action, rounds, precision):
    """Time an action on every variant in turn: seconds (rounds, variants)."""
    built = [build(*variant, precision) for variant in VARIANTS]
    for parts in built:
        action(*parts)  # kernels are chosen
    seconds = np.zeros((rounds, len(built)))
    for turn in range(rounds):
        for place in np.roll(np.arange(len(built)), turn):
            began = time.perf_counter()
            action(*built[place])
            seconds[turn, place] = time.perf_counter() - began
    return seconds


def main():
    """Print times, and ratios to no edit and to one speaker."""
    threads = set_threads(int(sys.argv[1]) if sys.argv[1:] else 0)
    rounds = int(sys.argv[2]) if sys.argv[2:] else 21
    precision = choose_precision(sys.argv[3] if sys.argv[3:] else "auto")
    setting = f"{threads} threads, {rounds} rounds, precision {precision}"
    print(f"{UTTERANCES} utterances of {SECONDS} s, {setting}")
    print(f"{'':6}{'edit':8}{'speakers':>8}{'ms':>8}{'/ no edit':>11}{'/ 1 speaker':>13}")
    for action in (infer, train):
        seconds = measure(action, rounds, precision)
        for place, (name, members) in enumerate(VARIANTS):
            plain = np.median(seconds[:, place] / seconds[:, 0])
            one = place - 1 if members > 1 else place
            ratio = np.median(seconds[:, place] / seconds[:, one])
            time_ms = 1000 * np.median(seconds[:, place])
            label = f"{action.__name__:6}{name:8}{members:8}"
            print(f"{label}{time_ms:8.1f}{plain:11.3f}{ratio:13.3f}")


if __name__ == "__main__":
    main()
