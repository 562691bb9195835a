"""Heterogeneous: cepstra and log-mel frames by stems of their own on one trunk. Does the other kind help?

    accelerate launch recipes/heterogeneous.py
    accelerate launch recipes/heterogeneous.py --data an4/train.jsonl --source de.jsonl --counts 60,0

The target has precomputed frames and few texts: nothing of it can be heard again. Alone, a network learns
from it; together, the same trunk learns from other languages' sound as well, which comes through a log-mel
stem, for as many steps with as much of the target in each. Embedded are five languages as sound, and Dutch
as 13 cepstra per frame.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.device import start_processes
from mtl.metrics import METRICS
from mtl.report import Report
from mtl.studies.unlike import ALONE, TOGETHER, Unlike, made, read
from mtl.study import contents, study
from mtl.tally import differences, over_seeds, skips, tally
from mtl.together import numbers, refuse_none


@dataclass
class Config:
    """Train a recogniser of frames alone, and beside recognisers of sound."""

    data: list[Path] = field(default_factory=list)
    """manifests with precomputed frames; none makes cepstra of Dutch (extra `corpus`)"""
    test: list[Path] = field(default_factory=list)
    """the same to test on; none holds speakers out"""
    source: list[Path] = field(default_factory=list)
    """manifests with sound; none makes five languages"""
    counts: str = "60"
    """utterances of each language of the target to learn from, comma separated; 0 is all"""
    width: int = 144
    """width of the trunk"""
    depth: int = 4
    """its blocks"""
    seconds: float = 12.0
    """seconds of the target per step"""
    source_seconds: float = 48.0
    """seconds of the sources per step"""
    most: int = 2000
    """test utterances, at most"""
    seeds: int = 3
    """choices of utterances and initial weights"""
    full: bool = False
    """5 seeds, two numbers of utterances: hours"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/heterogeneous")
    """folder for figures; a run started again with it does what is left"""
    fit: Fit = field(default_factory=lambda: Fit(steps=1000, dry_run=False))


class Cell(NamedTuple):
    """One run."""

    arm: str
    count: int
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Train alone and together, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "heterogeneous")
    if config.full:
        config.seeds, config.counts = 5, "60,300"
    if config.smoke:
        config.seeds, config.counts, config.width, config.depth = 1, "4", 32, 1
        config.fit.steps = 2
    refuse_none(seeds=config.seeds, most=config.most, width=config.width, depth=config.depth)
    if min(config.seconds, config.source_seconds) <= 0:
        raise ValueError("--seconds and --source-seconds are above 0: what a step takes")
    counts, files = numbers(config.counts), (config.data, config.test, config.source)
    if any(files):
        problems = read(*files, config.most)
    else:
        problems = made(max(counts) or 1500, config.most, config.smoke)
    unlike = Unlike(*problems, config.width, config.depth)

    def run(cell: Cell) -> dict[str, Any]:
        torch.manual_seed(cell.seed)
        model = unlike.network(cell.arm)
        items = unlike.target.few(cell.count, cell.seed)
        settings = replace(config.fit, seed=cell.seed)
        return unlike.run(model, items, settings, (config.seconds, config.source_seconds))

    key = contents(*(file for each in files for file in each))
    key += [max(counts), config.width, config.depth]
    key += [config.seconds, config.source_seconds, config.most, config.smoke]
    folder = config.out / digest(*key, config.fit.decisive()) / "cells"
    seeds = range(config.seeds)
    cells = [Cell(arm, n, s) for s in seeds for n in counts for arm in (ALONE, TOGETHER)]
    results = study(cells, run, folder, title="heterogeneous")
    report = Report("heterogeneous", config.fit.seed, {}, start_processes().num_processes)
    tally(report, results, lambda c: f"{c['count'] or 'all'} utterances", "{arm}".format_map)
    metric = METRICS[unlike.target.metric].direction
    for count in counts:
        sides = [{"arm": arm, "count": count} for arm in (ALONE, TOGETHER)]
        a, b = sides if metric == "min" else sides[::-1]
        gains = list(differences(results, a, b).values())
        claim = f"{count or 'all'} utterances: fewer errors beside tasks of another kind of input"
        report.claims.append(over_seeds(claim, gains))
    report.notes += [*unlike.notes, *skips(results, "skipped", "test, which count as errors")]
    report.publish(config, config.out, started)


if __name__ == "__main__":
    launch(main)
