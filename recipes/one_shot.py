"""One-shot: one example of each of 20 characters nobody has seen before, and others to tell among these.

    accelerate launch recipes/one_shot.py
    accelerate launch recipes/one_shot.py --data omniglot --parts small1,small2 --fit.steps 2000

Networks learn in episodes of other characters, new ones at every step: by prototypes, matching or pairs
(siamese); "pixels" trains nothing and takes the nearest example. Embedded are letters of matplotlib's fonts,
half of them to learn from, and trials of the other half. `--data` is a folder of Omniglot as published: the
20 runs of `all_runs.zip`, learnt from `images_background_small1.zip` alone, and from `small2` alone.

A second figure averages the features of each picture and of `--net.views` warped views of it. Nothing is
chosen by a trial: the figures are of the last step, and the settings were set once.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.data.omniglot import Trial, read_background, read_runs
from mtl.data.pictures import Picture
from mtl.data.warp import Warp
from mtl.device import start_processes
from mtl.report import Report
from mtl.studies.sure import tell
from mtl.studies.trials import ARMS, PIXELS, Net, learn, lettered, measure
from mtl.study import contents, study
from mtl.together import refuse_none

FONTS = "fonts"


@dataclass
class Config:
    """Learn to tell characters by one example."""

    data: Path | None = None
    """folder of Omniglot; none draws letters of fonts"""
    parts: str = "small1,small2"
    """parts of Omniglot to learn from, each alone, comma separated"""
    arms: str = "prototype,matching,siamese"
    """what to compare with pixels, comma separated"""
    trials: int = 100
    """trials of drawn letters"""
    seeds: int = 1
    """initial weights, and orders of the episodes"""
    full: bool = False
    """three seeds and 2,000 steps: hours"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/one_shot")
    """folder for figures; a run started again with it does what is left"""
    net: Net = field(default_factory=Net)
    warp: Warp = field(default_factory=lambda: Warp(shift=0.08, degrees=15.0, scale=0.2))
    fit: Fit = field(default_factory=lambda: Fit(steps=400, lr=3e-3, dry_run=False))


class Cell(NamedTuple):
    """One run: an arm that learns from a part."""

    part: str
    arm: str
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Learn and test all arms, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "one_shot")
    if config.full:
        config.seeds, config.fit.steps = 3, 2000
    if config.smoke:
        config.trials, config.fit.steps, config.net.channels, config.net.ways = 2, 2, 4, 4
        config.net.views, config.seeds = 1, 1
    refuse_none(seeds=config.seeds, trials=config.trials)
    arms = [word.strip() for word in config.arms.split(",") if word.strip()]
    if strange := [arm for arm in arms if arm not in ARMS]:
        raise ValueError(f"--arms {strange[0]!r}: choose from {', '.join(ARMS)}")
    parts, trials = read(config)

    def run(cell: Cell) -> dict[str, Any]:
        if cell.arm == PIXELS:
            return measure(None, trials, config.warp, 0)
        settings = replace(config.fit, seed=cell.seed)
        warp = replace(config.warp, seed=cell.seed)
        model, fitted = learn(cell.arm, parts[cell.part], config.net, settings, warp)
        return measure(model, trials, warp, config.net.views) | {"untrained": fitted.skipped}

    key = contents(config.data or "")
    key += [config.trials, config.smoke, config.net, config.warp, config.fit.decisive()]
    folder = config.out / digest(*key) / "cells"
    seeds = range(config.seeds)
    cells = [Cell(p, arm, seed) for seed in seeds for p in parts for arm in (PIXELS, *arms)]
    results = study(cells, run, folder, title="one-shot")
    report = Report("one_shot", config.fit.seed, {}, start_processes().num_processes)
    tell(report, results)
    report.publish(config, config.out, started)


def read(config: Config) -> tuple[dict[str, list[Picture]], list[Trial]]:
    """Give what to learn from, by part, and what to tell."""
    if config.data is None:
        background, trials = lettered(config.trials, config.net.size, config.smoke)
        return {FONTS: background}, trials
    names = [word.strip() for word in config.parts.split(",") if word.strip()]
    size = config.net.size
    parts = {name: read_background(config.data, name, size) for name in names}
    return parts, read_runs(config.data, size)


if __name__ == "__main__":
    launch(main)
