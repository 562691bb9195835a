"""Images: one trunk with a head per data set. Do the tasks help each other, and against what a task alone?

    accelerate launch recipes/image_multitask.py
    accelerate launch recipes/image_multitask.py --data mnist.npz usps.npz omniglot --deep omniglot
    accelerate launch recipes/image_multitask.py --balance pcgrad,mgda --fit.gramian last

Every data set is a task of its own classes, sizes and channels. Trained together, a step takes a batch of
each; alone, a step takes a batch of the one, for as many steps: the budgets are equal. `--balance` names
methods of mtl/balance to compare with the plain sum. The first seed is diagnosed: whose gradients
oppose whose, who helps whom, and the likely cause where a task is hurt.

Results with MNIST, USPS, MNIST-M (10 pictures of each class) and Omniglot's small sets (5 of 20 drawings of
242 characters), `--own omniglot=5 --draws 5 --fit.steps 600`, three seeds of each of five draws, 66 minutes
on a busy core, commit 95da692; accuracy in per cent of 2,000 tests each:

            alone  together   difference
mnist        91.9      92.9    1.0 (0.2 to 1.7)
usps         91.7      92.0    0.3 (-0.3 to 0.9)
mnist_m      35.0      44.7    9.7 (8.1 to 11.2)
omniglot     33.5      44.3   10.8 (7.5 to 14.1)

Together the mean error is 14.7 % lower (5.4 points, 4.5 to 6.4).

Does joint training hurt only where the network is too small? Tasks of seven Omniglot signs, `--split 7
--tasks 2,8,32 --widths 4,8,16 --single 8 --counts 5 --batch 16 --fit.steps 150`, three seeds (cfc3a9d); mean
accuracy together less that alone, in points: so far as measured, yes.

tasks       width 4              width 8               width 16
2           -1.9 (-17.3 to 13.5)  -4.0 (-10.7 to 2.8)   0.3 (-1.0 to 1.7)
8          -11.9 (-24.0 to 0.1)  -11.8 (-20.2 to -3.4) -0.8 (-8.1 to 6.4)
32         -11.8 (-31.4 to 7.8)  -16.6 (-17.2 to -16.0) -2.3 (-6.5 to 1.8)

Do 99 tasks help the hundredth? Not here: `--split 9 --turns --tasks 100 --single 10 --counts 5 --batch 8`,
width 16, 150 steps: 7.8 points fewer right than alone (5.5 to 10.0, three seeds, ten tasks).
"""

import time
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtl.balancing import look_up
from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.data.images import Images
from mtl.data.warp import Warp
from mtl.device import start_processes
from mtl.gallery import embedded, learn, network, read_galleries, split
from mtl.report import Report
from mtl.study import contents, study
from mtl.together import ALONE, JOINT, figures, numbers, refuse_negative, refuse_none, shares, tell


@dataclass
class Config:
    """Train one network on several sets of pictures, and one for each."""

    data: list[Path] = field(default_factory=list)
    """.npz files and folders of classes, a task each; none takes handwritten and drawn signs"""
    test: list[Path] = field(default_factory=list)
    """the same to test on, by the same names; none takes the test part, or what is not learnt from"""
    deep: list[str] = field(default_factory=list)
    """data sets whose classes lie two folders deep"""
    split: int = 0
    """classes of a task: cuts every data set into as many tasks as that gives; 0 leaves them whole"""
    turns: bool = False
    """with `split`, pictures turned by 90, 180 and 270 degrees are classes of their own"""
    tasks: str = "0"
    """numbers of tasks to train together, the first ones, comma separated; 0 is all"""
    single: int = 0
    """tasks that are trained alone, too, the first ones; 0 is all"""
    counts: str = "10"
    """training pictures of each class, comma separated; 0 is all"""
    own: list[str] = field(default_factory=list)
    """data sets with another number of training pictures of each class, such as omniglot=5"""
    widths: str = "16"
    """channels of the network's first block, comma separated"""
    balance: str = ""
    """methods of mtl/balance to train together with as well, comma separated"""
    draws: int = 1
    """choices of training pictures"""
    seeds: int = 3
    """initial weights for each choice"""
    batch: int = 32
    """pictures of each task per step"""
    most: int = 2000
    """test pictures of each task, at most"""
    full: bool = False
    """five draws, three widths, 2 to 50 pictures of each class, several balances: hours"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/image_multitask")
    """folder for figures; a run started again with it does what is left"""
    warp: Warp = field(default_factory=lambda: Warp(shift=0.1, degrees=10.0, scale=0.1))
    fit: Fit = field(default_factory=lambda: Fit(steps=200, lr=4e-3, dry_run=False, diagnose=20))


class Cell(NamedTuple):
    """One run; `task` is empty where all of them are trained together."""

    arm: str
    task: str
    tasks: int
    width: int
    count: int
    draw: int
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Train together and alone, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "image_multitask")
    if config.full:
        config.draws, config.widths, config.counts = 5, "4,8,16", "2,10,50"
        config.balance = "uw,dwa,pcgrad,mgda,cagrad,upgrad,nash"
    if config.smoke:
        config.seeds, config.fit.steps, config.fit.diagnose = 1, 2, 1
    refuse_none(seeds=config.seeds, draws=config.draws, batch=config.batch, most=config.most)
    refuse_none(widths=min(numbers(config.widths)))
    refuse_negative(single=config.single, split=config.split)
    if config.fit.balance:
        raise ValueError(
            f"--fit.balance {config.fit.balance}: give it to --balance, which compares"
        )
    files = (config.data, config.test, config.deep)
    galleries = read_galleries(*files) if any(files) else embedded(config.smoke)
    galleries = split(galleries, config.split, config.turns) if config.split else galleries
    by_name = {gallery.name: gallery for gallery in galleries}
    own = shares(config.own, by_name)

    def run(cell: Cell) -> dict[str, Any]:
        torch.manual_seed(cell.seed)
        chosen = [by_name[cell.task]] if cell.task else galleries[: cell.tasks]
        model = network(chosen, cell.width)
        parts = {
            g.name: g.draw(own.get(g.name, cell.count), cell.draw, config.most) for g in chosen
        }
        balance = "" if cell.arm in (JOINT, ALONE) else cell.arm
        looks = config.fit.diagnose if cell.arm == JOINT and not cell.seed else 0
        fit = replace(config.fit, seed=cell.seed, balance=balance, diagnose=looks)
        learnt = {name: train for name, (train, _) in parts.items()}
        fitted = learn(model, learnt, fit, config.batch, replace(config.warp, seed=cell.seed))
        tested = {name: Images(test, model, name) for name, (_, test) in parts.items()}
        return figures(model, tested, fitted)

    key = [*files, *contents(*config.data, *config.test), config.own, config.split, config.turns]
    key += [config.smoke, config.batch, config.most, config.fit.decisive(), config.fit.diagnose]
    folder = config.out / digest(*key, config.warp) / "cells"
    results = study(cells(config, list(by_name)), run, folder, title="pictures")
    report = Report("image_multitask", config.fit.seed, {}, start_processes().num_processes)
    tell(report, results, "count", "training pictures of each class")
    report.publish(config, config.out, started)


def cells(config: Config, names: list[str]) -> list[Cell]:
    """List the runs: first all that is needed of one seed, then of the next.

    Raises ValueError for more tasks than there are, and for a balance that mtl/balance lacks.
    """
    counts, widths, sizes = (numbers(text) for text in (config.counts, config.widths, config.tasks))
    if max(sizes) > len(names):
        raise ValueError(f"--tasks {max(sizes)}: there are {len(names)}: {', '.join(names)}")
    arms = [word.strip() for word in config.balance.split(",") if word.strip()]
    for method in arms:
        look_up(method)
    runs = []
    every = product(range(config.seeds), range(config.draws), widths, counts)
    for seed, draw, width, count in every:
        rest = (width, count, draw, seed)
        runs += [Cell(ALONE, name, 0, *rest) for name in names[: config.single or None]]
        for size in sizes:
            runs += [Cell(arm, "", size or len(names), *rest) for arm in (JOINT, *arms)]
    return list(dict.fromkeys(runs))


if __name__ == "__main__":
    launch(main)
