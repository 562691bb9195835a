"""Instances: examples of a source are weighed by how much they serve a target with few labels or none.

    accelerate launch recipes/instance_transfer.py
    accelerate launch recipes/instance_transfer.py --source mnist.npz --target usps.npz

Three experiments with linear classifiers, in minutes:
1. KMM, uLSIF and the logistic ratio against the known ratio of shifted Gaussians (rank correlation).
2. A covariate, a label and a concept shift, each alone: which of them do weights repair?
3. Digits, cut to their ink: TrAdaBoost beside the target alone, source and target as they are, and both
   made to weigh the same ("balanced"): over the number of target labels, and over the size of the source as
   a multiple of `--labels`. Embedded are drawn digits as source, and scikit-learn's handwritten ones.

Results (commit f13165a, three minutes on a busy core, ten seeds). Rank correlation with the true ratio: KMM
.962, uLSIF .961, logistic .955. Errors in per cent without weights, with KMM's, and of the target's own
labels: covariate shift 45.6, 10.3, 8.3; label shift 12.8, 12.6, 8.0; concept shift 36.7, 36.5, 0.9: weights
repair the first alone. MNIST to USPS, errors in per cent by the number of target labels:

                     10    30    73   300   800
target only        59.4  38.8  26.8  14.5  12.1
source and target  14.0  13.7  13.5  12.5  11.4
balanced           13.6  13.3  13.1  11.7  10.9
TrAdaBoost         13.9  13.5  13.1  15.4  13.9

Few target labels leave boosting nothing to do after two rounds; with 300 and more it does harm, while the
source itself still helps a little. From drawn digits to handwritten ones every use of the source hurts from
30 labels on (target only 55.3, 30.2, 13.7, 5.9, 4.1; balanced 46.2, 33.7, 21.7, 12.8, 10.0).
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mtl.checkpoint import digest
from mtl.config import launch, parse
from mtl.data.digits import CLASSES, digits, glyphs
from mtl.data.images import hold_out
from mtl.device import start_processes
from mtl.problem import Pictures, read_problem
from mtl.report import Report
from mtl.studies.counted import LABELS, RATIO, SHIFT, SIZES, tell
from mtl.studies.reweighed import (
    ARMS,
    ESTIMATES,
    ORACLE,
    SHIFTS,
    UNWEIGHTED,
    Domains,
    agreement,
    repaired,
)
from mtl.study import contents, study
from mtl.together import numbers, refuse_none


@dataclass
class Config:
    """Weigh source examples for a target."""

    source: list[Path] = field(default_factory=list)
    """digits or other pictures to learn from (.npz or a folder of classes); none draws digits"""
    target: list[Path] = field(default_factory=list)
    """the same of the target; none takes scikit-learn's digits"""
    test: list[Path] = field(default_factory=list)
    """the same to test the target on; none takes the test part, or holds some out"""
    counts: str = "10,30,73,300,800"
    """labelled target examples, comma separated"""
    labels: int = 73
    """labelled target examples where the size of the source varies"""
    sizes: str = "0.1,1,10,100"
    """source examples for each labelled target example, comma separated, as far as there are so many"""
    examples: int = 2000
    """source examples where the number of labels varies"""
    most: int = 2000
    """test examples, at most"""
    seeds: int = 10
    """choices of examples"""
    full: bool = False
    """50 choices of examples"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/instance_transfer")
    """folder for figures; a run started again with it does what is left"""


class Cell(NamedTuple):
    """One run: a part of the recipe, and what varies in it."""

    part: str
    arm: str
    setting: str
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Run all parts, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "instance_transfer")
    if config.full:
        config.seeds = 50
    if config.smoke:
        config.seeds, config.counts, config.sizes, config.examples = 1, "30", "1", 60
    refuse_none(seeds=config.seeds, labels=config.labels, examples=config.examples)
    refuse_none(most=config.most, counts=min(counts := numbers(config.counts)))
    sizes = _sizes(config.sizes)
    domains = Domains(*_read(config), config.most)

    def run(cell: Cell) -> dict[str, Any]:
        if cell.part == RATIO:
            return {"metric": "correlation", "value": agreement(cell.arm, cell.seed)}
        if cell.part == SHIFT:
            return repaired(cell.setting, cell.arm, cell.seed)
        value = float(cell.setting)
        count = int(value) if cell.part == LABELS else config.labels
        size = config.examples if cell.part == LABELS else max(round(value * config.labels), 2)
        return domains.run(cell.arm, size, count, cell.seed)

    cells = []
    for seed in range(config.seeds):
        cells += [Cell(RATIO, way, "", seed) for way in ESTIMATES]
        ways = (UNWEIGHTED, *ESTIMATES, ORACLE)
        cells += [Cell(SHIFT, way, kind, seed) for kind in SHIFTS for way in ways]
        cells += [Cell(LABELS, arm, f"{count}", seed) for count in counts for arm in ARMS]
        cells += [Cell(SIZES, arm, f"{size:g}", seed) for size in sizes for arm in ARMS]
    key = contents(*config.source, *config.target, *config.test)
    key += [config.labels, config.examples, config.most, config.smoke]
    folder = config.out / digest(*key) / "cells"
    results = study(cells, run, folder, title="instances")
    report = Report("instance_transfer", 0, {}, start_processes().num_processes)
    tell(report, results)
    report.notes += domains.notes
    report.publish(config, config.out, started)


def _read(config: Config) -> tuple[Pictures, Pictures]:
    """Read both domains, or make them. Raises ValueError where one is missing, and for speech."""
    if bool(config.source) != bool(config.target) or (config.test and not config.target):
        raise ValueError("--source and --target belong together: give both, or none")
    if not config.source:
        drawn = glyphs(600 if config.smoke else 8000, CLASSES[:10])
        return Pictures(drawn, drawn[:10]), Pictures(*hold_out(digits(), 0.5))
    pair = read_problem(config.source), read_problem(config.target, config.test)
    if not (isinstance(pair[0], Pictures) and isinstance(pair[1], Pictures)):
        raise ValueError("instances are weighed of pictures: give .npz files or folders of classes")
    return pair[0], pair[1]


def _sizes(text: str) -> list[float]:
    """Read positive numbers; raises ValueError for anything else."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise ValueError(
            f"--sizes {text!r}: give numbers, comma separated, such as 0.1,10"
        ) from error
    if not min(found) > 0:
        raise ValueError(f"--sizes {text!r}: give numbers above 0")
    return found


if __name__ == "__main__":
    launch(main)
