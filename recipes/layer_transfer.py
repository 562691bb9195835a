"""Layer transfer: which layers carry over to another task? Yosinski et al. 2014.

    accelerate launch recipes/layer_transfer.py [--pairs speech] [--full]

A network is trained on task A and one on task B. Then the first k layers of either are copied into a new
network for B and the rest starts afresh; what was copied is frozen or tuned. Copies of B (selfer) show what
it costs to part layers that grew together, copies of A (transfer) what is special to A.

images   drawn digits and capitals, a half of the 34 classes each, other halves in each seed
speech   A is German (1,500 utterances), B is Dutch (300)

Results (commit deed2f4, two idle cores, 867 s; images: accuracy in per cent, mean of three seeds; speech:
CER in per cent, one seed; base 90.9 and 8.94), by the number of layers copied, of 4 and of 5:

                  images: 1     2     3     4     speech: 1     2     3     4     5
selfer frozen          88.8  88.7  89.2  90.6          8.79  9.50  9.67  9.19  8.61
selfer tuned           88.6  89.9  90.3  89.4          8.54  8.87  8.46  6.98  7.28
transfer frozen        88.7  90.0  90.6  82.4          9.52  8.92  10.1  12.7  30.4
transfer tuned         89.6  89.5  93.5  92.4          8.31  8.11  7.81  7.81  7.76

The first layer, frozen, costs less than 2 points: undecided for images (2.2, -0.2 to 4.6), true for speech
(0.6, -0.3 to 1.3). All layers, frozen, cost more than 2 points: true for both (8.5, 5.4 to 11.6; 21.4, 19.3
to 23.4).
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtl import Model
from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.device import start_processes
from mtl.made import languages, signs
from mtl.plots import curves
from mtl.problem import Problem, build, figures, learn, trained
from mtl.report import Report
from mtl.study import Result, study
from mtl.tally import judge, lines, tally
from mtl.tune.layers import copy, freeze

MUCH = 0.02  # of accuracy or error rate
KINDS = ("selfer frozen", "selfer tuned", "transfer frozen", "transfer tuned")


@dataclass
class Config:
    """Copy layers between tasks, and see what each copy is worth."""

    pairs: str = "images,speech"
    """what to run, comma separated"""
    seeds: int = 3
    """seeds of the images; speech takes one"""
    full: bool = False
    """take all seeds for speech as well"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/layer_transfer")
    """folder for figures and networks; a run started again with it does what is left"""
    # Several threads wait for one another on pictures this small: they take half as long again.
    images: Fit = field(default_factory=lambda: Fit(steps=300, lr=4e-3, dry_run=False, threads=1))
    speech: Fit = field(default_factory=lambda: Fit(steps=250, dry_run=False))


class Cell(NamedTuple):
    """One run: the first `kept` layers come from a network for A (transfer) or B (selfer)."""

    pair: str
    kind: str
    kept: int
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Train the networks of both tasks, then every cell; draw the curves and judge the claims."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "layer_transfer")
    if config.smoke:
        config.seeds, config.images.steps, config.speech.steps = 1, 2, 2
    if config.seeds < 1:
        raise ValueError(f"--seeds is {config.seeds}; give at least 1")
    report = Report("layer_transfer", 0, {}, start_processes().num_processes)
    lab = Lab(config)
    grids = {pair.strip(): lab.cells(pair.strip()) for pair in config.pairs.split(",")}
    for pair, cells in grids.items():
        results = study(cells, lab.run, lab.folder / "cells", title=pair)
        _tell(report, pair, results, lab.tasks(pair, 0)[1].metric)
    report.publish(config, config.out, started)


class Lab:
    """Runs cells; networks trained for A and B wait in `out/networks` until they are wanted."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.settings = {"images": config.images, "speech": config.speech}
        fits = [fit.decisive() for fit in self.settings.values()]
        self.folder = config.out / digest(config.smoke, *fits)  # others give other figures
        self._made: dict[tuple[str, int], tuple[Problem, Problem]] = {}

    def tasks(self, pair: str, seed: int) -> tuple[Problem, Problem]:
        """Make a pair's two tasks; speech has the same in every seed."""
        key, small = (pair, seed if pair == "images" else 0), self.config.smoke
        if key not in self._made:
            spoken = {"counts": (8, 4), "test": 4} if small else {}
            made = signs(seed, 5 if small else 60) if pair == "images" else languages(**spoken)
            self._made[key] = made
        return self._made[key]

    def cells(self, pair: str) -> list[Cell]:
        """List what is to be run."""
        if pair not in self.settings:
            raise ValueError(f"pair {pair!r} is not known; choose from {', '.join(self.settings)}")
        depth = 1 + len(build(self.tasks(pair, 0)[0]).trunk.blocks)
        cuts = (1, depth) if self.config.smoke else range(1, depth + 1)
        kinds = [("base", 0), *((kind, kept) for kind in KINDS for kept in cuts)]
        seeds = self.config.seeds if pair == "images" or self.config.full else 1
        return [Cell(pair, *kind, seed) for seed in range(seeds) for kind in kinds]

    def run(self, cell: Cell) -> dict[str, Any]:
        """Run a cell."""
        task = self.tasks(cell.pair, cell.seed)[1]
        if cell.kind == "base":
            return figures(self._network(cell.pair, "B", cell.seed), task, task.test)
        torch.manual_seed(1000 + cell.seed)
        model, (source, manner) = build(task), cell.kind.split()
        other = self._network(cell.pair, "A" if source == "transfer" else "B", cell.seed)
        layers = ["stems", *(rf"trunk\.blocks\.{name}" for name in model.trunk.blocks)]
        names = "|".join(layers[: cell.kept])
        copy(model, other, names)
        if manner == "frozen":
            freeze(model, names)
        learn(model, task, task.train, replace(self.settings[cell.pair], seed=cell.seed))
        return figures(model, task, task.test)

    def _network(self, pair: str, part: str, seed: int) -> Model:
        """Give the network trained for a task."""
        task, settings = self.tasks(pair, seed)[part == "B"], self.settings[pair]
        folder = self.folder / "networks" / f"{pair}-{part}-{seed}"
        return trained(folder, task, replace(settings, seed=seed))


def _tell(report: Report, pair: str, results: list[Result], metric: str) -> None:
    """Add a pair's rows, its curves and its claims."""
    depth = max(result.cell["kept"] for result in results)
    tally(report, results, lambda c: f"{pair}, {c['kept']} of {depth}", lambda c: c["kind"])
    plotted = lines(results, "kept", "kind")
    if base := plotted.pop("base", {}):
        plotted["base"] = dict.fromkeys(map(float, range(1, depth + 1)), base[0])
    plot = curves(plotted, "layers copied", metric, percent=True)
    report.figures.append((plot, f"{pair}: mean and range over seeds"))
    for count, more in ((1, False), (depth, True)):
        frozen, whole = {"kind": "transfer frozen", "kept": count}, {"kind": "base"}
        a, b = (whole, frozen) if metric == "accuracy" else (frozen, whole)  # a - b is the cost
        cost = f"{pair}: {count} of {depth} layers, frozen, cost"
        if more:
            report.claims.append(judge(f"{cost} more than 2 %", results, a, b, MUCH))
        else:
            report.claims.append(judge(f"{cost} less than 2 %", results, b, a, -MUCH))


if __name__ == "__main__":
    launch(main)
