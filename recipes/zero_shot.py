"""Zero-shot: classes that were never seen are told by their attributes, alone and among those that were.

    accelerate launch recipes/zero_shot.py
    accelerate launch recipes/zero_shot.py --data mnist.npz --attributes strokes --arms hog+eszsl,softmax
    accelerate launch recipes/zero_shot.py --data pictures.npz --attributes table.csv --unseen 5

Embedded are 50 classes of drawn signs such as "two striped red circles", of which 40 are seen: each part of
the other ten has been seen, in other company. An .npz file needs attributes: a table, or "segments" or
"strokes" of digits. Every split of the classes (`--seeds`) draws its own unseen ones.

Arms are the losses of mtl/heads/attribute.py, "+g" where what describes the classes is learnt as well; dap,
conse and eszsl; hog+eszsl, which trains no network; and one-hot, in which classes share no attributes. Among
all classes a penalty on the seen ones is chosen with a second learner, of some of the seen classes, by
training pictures of all of them (calibrated stacking, Chao et al. 2016). Words: recipes/unheard_words.py.

Results (commit f13165a, seconds): MNIST, ten splits into 7 seen and 3 unseen digits, accuracy in per cent
(95 % interval over splits), `--arms hog+eszsl --seeds 10 --count 200 --test 200 --way.size 28`:

            unseen alone       seen, unseen among all  harmonic mean  calibrated
segments    65.8 (55.6, 76.0)             72.9, 37.8           48.4  51.2 (44.1, 58.2)
strokes     76.9 (71.5, 82.3)             78.0, 44.1           55.4  63.2 (59.6, 66.9)

The table of strokes was made on other splits; the number of folds that choose the penalty was set after these
had been seen once.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.device import start_processes
from mtl.report import Report
from mtl.studies.bias import tell
from mtl.studies.unseen import ARMS, Way, measure
from mtl.studies.worlds import Split, World, composed, read_world
from mtl.study import contents, study
from mtl.together import refuse_none

EMBEDDED = "softmax,eszsl,one-hot,softmax+g,squared+g"


@dataclass
class Config:
    """Tell classes by attributes alone."""

    data: Path | None = None
    """.npz file of pictures; none draws signs made of parts"""
    attributes: str = ""
    """"segments" or "strokes" of digits, or a .csv or .npz table of the classes; goes with `data`"""
    unseen: int = 3
    """unseen classes of `data`"""
    arms: str = EMBEDDED
    """what to compare, comma separated"""
    count: int = 40
    """training pictures of each class"""
    test: int = 20
    """test pictures of each class"""
    seeds: int = 3
    """splits of the classes, each with its own initial weights"""
    full: bool = False
    """ten splits and every arm: hours"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/zero_shot")
    """folder for figures; a run started again with it does what is left"""
    way: Way = field(default_factory=Way)
    fit: Fit = field(default_factory=lambda: Fit(steps=400, lr=4e-3, dry_run=False))


class Cell(NamedTuple):
    """One run: an arm in a split of the classes."""

    arm: str
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Learn and test all arms in all splits, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "zero_shot")
    if config.full:
        config.seeds, config.arms = 10, ",".join(ARMS)
    if config.smoke:
        config.seeds, config.count, config.test, config.fit.steps = 1, 4, 2, 2
        config.way.size, config.fit.log_every = 16, 1
    refuse_none(seeds=config.seeds, count=config.count, test=config.test)
    arms = [word.strip() for word in config.arms.split(",") if word.strip()]
    if strange := [arm for arm in arms if arm not in ARMS]:
        raise ValueError(f"--arms {strange[0]!r}: choose from {', '.join(ARMS)}")
    if bool(config.data) != bool(config.attributes):
        raise ValueError("--data and --attributes go together: give both, or none")
    splits = worlds(config)
    splits(0)  # refuses files that do not go together before anything is trained

    def run(cell: Cell) -> dict[str, Any]:
        world, split = splits(cell.seed)
        return measure(cell.arm, split, world, config.way, replace(config.fit, seed=cell.seed))

    key = contents(config.data or "")
    key += [config.attributes, config.unseen, config.count, config.test, config.way]
    folder = config.out / digest(*key, config.fit.decisive(), config.fit.log_every) / "cells"
    cells = [Cell(arm, seed) for seed in range(config.seeds) for arm in arms]
    results = study(cells, run, folder, title="zero-shot")
    report = Report("zero_shot", config.fit.seed, {}, start_processes().num_processes)
    tell(report, results)
    report.publish(config, config.out, started)


def worlds(config: Config) -> Any:
    """Give what makes the pictures and the classes of a split; the last one is kept."""
    if config.data is not None:
        known = read_world(config.data, config.attributes, config.count, config.test)
        return lambda seed: (known, known.split(config.unseen, seed))
    made: tuple[int, World, Split] | None = None

    def draw(seed: int) -> tuple[World, Split]:
        nonlocal made
        if made is None or made[0] != seed:
            made = (seed, *composed(seed, config.count, config.test))
        return made[1:]

    return draw


if __name__ == "__main__":
    launch(main)
