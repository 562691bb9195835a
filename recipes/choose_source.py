"""Choose source: which model to start from? Scores advise before any training; then all are trained.

    accelerate launch recipes/choose_source.py
    accelerate launch recipes/choose_source.py --speech
    accelerate launch recipes/choose_source.py --data mnist.npz usps.npz mnist_m.npz omniglot --deep omniglot

A network is trained on each source and then, from there and from scratch, on few examples of each target, for
as many steps. Its true gain is the accuracy on test examples above that from scratch. Before that, scores
looked at the labelled examples of the target: those of `mtl score`, and distances of the data (less is
nearer, so their signs are turned). The targets `--choose` choose the score, by its rank correlation with the
gain over the sources of a target; the others show what the choice is worth. One source has shuffled
labels: where transfer truly hurts, the advice should be against it.

Embedded are signs drawn, handwritten, over coloured patches and in three scripts; with `--speech`, digits
said in six languages, and by women and by men.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.device import start_processes
from mtl.problem import Pictures, build, figures, learn, trained
from mtl.report import Report
from mtl.studies.chosen import SCRATCH, measure, tell
from mtl.studies.varied import SHUFFLED, given, pictured, shuffled, spoken
from mtl.study import contents, study
from mtl.together import refuse_none
from mtl.tune.layers import copy


@dataclass
class Config:
    """Score sources for targets, then train all pairs."""

    data: list[Path] = field(default_factory=list)
    """.npz files and folders of classes, each a source and a target; none takes drawn signs"""
    deep: list[str] = field(default_factory=list)
    """data sets whose classes lie two folders deep"""
    speech: bool = False
    """embedded speech in the place of signs"""
    choose: list[str] = field(default_factory=list)
    """targets that choose the score; none takes the second problem and the third"""
    count: int = 4
    """labelled examples of each class of a target"""
    most: int = 1000
    """examples of a problem to learn from as a source, and to test on, at most"""
    seeds: int = 3
    """initial weights and choices of examples"""
    full: bool = False
    """10 seeds: half an hour, speech hours"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/choose_source")
    """folder for figures and networks; a run started again with it does what is left"""
    source: Fit = field(default_factory=lambda: Fit(steps=200, lr=4e-3, dry_run=False, threads=1))
    target: Fit = field(default_factory=lambda: Fit(steps=60, lr=4e-3, dry_run=False, threads=1))


class Cell(NamedTuple):
    """One run on a target, from a source or from scratch."""

    target: str
    source: str
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Train all sources, score and train all pairs, say what the scores were worth."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "choose_source")
    if config.full:
        config.seeds = 10
    if config.smoke:
        config.seeds, config.most, config.count = 1, 24, 2
        config.source.steps = config.target.steps = 2
    refuse_none(seeds=config.seeds, count=config.count, most=config.most)
    if config.speech and config.data:
        raise ValueError("--speech is embedded: leave out --data")
    problems: dict[str, Any] = dict(spoken(config.smoke) if config.speech else {})
    problems = problems or dict(
        given(config.data, config.deep) if config.data else pictured(config.smoke)
    )
    problems = dict(list(problems.items())[: 4 if config.smoke else None])
    names = list(problems)
    if strange := sorted(set(config.choose) - set(names)):
        raise ValueError(f"--choose {strange[0]}: choose from {', '.join(names)}")
    choose = config.choose or names[1:3]
    if not set(names) - set(choose):
        raise ValueError(
            f"{len(names)} problems, {len(choose)} of them choose: give others as well"
        )
    folder = _folder(config)
    few = {name: problems[name].test[: config.most] for name in names}
    if isinstance(problems[names[1]], Pictures):
        problems[SHUFFLED] = shuffled(problems[names[1]])
    learnt = {name: _cut(problem, config.most) for name, problem in problems.items()}

    def run(cell: Cell) -> dict[str, Any]:
        target, found = problems[cell.target], {}
        items = target.few(config.count, cell.seed)
        torch.manual_seed(1000 + cell.seed)
        model = build(target)
        if cell.source != SCRATCH:
            place = folder / "networks" / f"{cell.source}-{cell.seed}"
            source = trained(place, learnt[cell.source], replace(config.source, seed=cell.seed))
            found = measure(source, learnt[cell.source], target, items)
            copy(model, source, r"stems|trunk")
        skipped = learn(model, target, items, replace(config.target, seed=cell.seed))
        return figures(model, target, few[cell.target]) | {"untrained": skipped} | found

    sources = [SCRATCH, *learnt]
    cells = [
        Cell(target, source, seed)
        for seed in range(config.seeds)
        for target in names
        for source in sources
        if source != target and not (source == SHUFFLED and target == names[1])
    ]
    results = study(cells, run, folder / "cells", title="sources")
    report = Report("choose_source", config.source.seed, {}, start_processes().num_processes)
    tell(report, results, choose)
    report.publish(config, config.out, started)


def _folder(config: Config) -> Path:
    """Name the folder of these settings."""
    fits = [config.source.decisive(), config.target.decisive()]
    key = contents(*config.data)
    key += [*config.data, *config.deep, config.speech, config.smoke, config.count, config.most]
    return config.out / digest(*key, *fits)


def _cut(problem: Any, most: int) -> Any:
    """Let a source have at most so many training examples."""
    return type(problem)(problem.few(0, 0)[:most], problem.test)


if __name__ == "__main__":
    launch(main)
