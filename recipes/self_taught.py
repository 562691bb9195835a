"""Self-taught: what pictures or speech without labels teach, before a few labels of another task.

    accelerate launch recipes/self_taught.py
    accelerate launch recipes/self_taught.py --unlabelled omniglot --data usps.npz
    accelerate launch recipes/self_taught.py --speech

Pictures of another kind, without labels, give features; the same classifier learns from a few labelled
pictures by each. "random dictionary", "random patches" and "untrained network" have learnt nothing, and show
what of a gain is due to coding alone. Embedded are letters of the fonts that matplotlib brings, and then
scikit-learn's digits; all are cut to their ink. The size of patches and their grid were chosen from three
settings with these digits, and the first 1,000 of USPS's training part, in sight: the test of the embedded
default is not unseen in that sense, those of USPS and MNIST are.

With `--speech` a conformer learns to tell k-means units of hidden speech in five languages, and then to
write a sixth from few utterances; the embedded corpus is made by synthetic voices. Pictures without labels
also help to cluster few digits of which little is seen, and long texts to cluster short ones: clusters are
compared with classes that nobody told (NMI, 0 to 1).

Results (commit f13165a, 97 s, five draws of ten labels for each digit; errors in per cent, least and most):
raw pixels 11.4 (9.6, 12.9), PCA 12.0 (9.6, 14.8), random dictionary 8.3 (6.8, 11.2), random patches 8.6
(6.0, 10.7), sparse coding 7.6 (5.1, 9.5), untrained network 11.9, masked autoencoder 11.5. Sparse coding
makes 33 % fewer errors than raw pixels (14 to 52), but only 8 % fewer than a dictionary that learnt nothing
(-9 to 25): most of the gain is coding, not what was learnt. Clusters, NMI alone and self-taught: short
texts .10 and .59, 40 digits .29 and .34, whole digits .70 and .63 (worse).
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.data.digits import digits
from mtl.data.fonts import letters
from mtl.data.images import hold_out, read_folder
from mtl.device import start_processes
from mtl.problem import Pictures, read_problem
from mtl.report import Report
from mtl.studies.clustering import FIRST, agreement, problems
from mtl.studies.gained import CLUSTERS, LABELS, SPEECH, tell
from mtl.studies.taught import WAYS, Bench, Code, Settings
from mtl.studies.wordless import SCRATCH, TAUGHT, made_speech, pretrained, read_speech, recognise
from mtl.study import contents, study
from mtl.together import numbers, refuse_none


@dataclass
class Config:
    """Learn from data without labels, and then from a few with labels."""

    unlabelled: list[Path] = field(default_factory=list)
    """folders of pictures or, with --speech, manifests; none takes what is embedded"""
    data: list[Path] = field(default_factory=list)
    """pictures (.npz or a folder of classes) or manifests with labels; none takes what is embedded"""
    test: list[Path] = field(default_factory=list)
    """the same to test on; none takes the test part, or holds some out"""
    speech: bool = False
    """speech in the place of pictures"""
    counts: str = ""
    """labelled examples, comma separated: of each class, 10 unless told, or utterances, 60 unless told"""
    units: str = "100"
    """units of each round, comma separated: 100,200 has a second one on what the first has learnt"""
    seeds: int = 5
    """choices of labelled examples, and of all else that is random; speech takes 3 at most"""
    most: int = 2000
    """test examples, at most"""
    full: bool = False
    """20 choices, several numbers of labels: an hour; speech takes 3 choices, and hours"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/self_taught")
    """folder for figures and networks; a run started again with it does what is left"""
    code: Code = field(default_factory=Code)
    pictures: Fit = field(default_factory=lambda: Fit(steps=300, lr=3e-3, dry_run=False, threads=1))
    pretrain: Fit = field(default_factory=lambda: Fit(steps=2000, dry_run=False))
    tune: Fit = field(default_factory=lambda: Fit(steps=600, dry_run=False))


class Cell(NamedTuple):
    """One run: a way, or a problem of clustering."""

    task: str
    arm: str
    count: int
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Learn without labels in all ways, then with few; print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "self_taught")
    if config.full:
        config.seeds, config.counts = (
            20,
            config.counts or ("60,300" if config.speech else "3,10,30"),
        )
    if config.smoke:
        config.seeds, config.most, config.counts = 1, 40, config.counts or "3"
        for each in (config.pictures, config.pretrain, config.tune):
            each.steps = 2
    refuse_none(seeds=config.seeds, most=config.most)
    counts = numbers(config.counts or ("60" if config.speech else "10"))
    key = contents(*config.unlabelled, *config.data, *config.test)
    key += [config.speech, config.smoke, config.most, config.units]
    key += [config.code, config.pictures.decisive()]
    key += [config.pretrain.decisive(), config.tune.decisive()]
    folder = config.out / digest(*key)
    made = _speech(config, counts, folder) if config.speech else _pictures(config, counts)
    run, cells = made
    results = study(cells, run, folder / "cells", title="self-taught")
    report = Report("self_taught", 0, {}, start_processes().num_processes)
    tell(report, results)
    report.publish(config, config.out, started)


def _pictures(config: Config, counts: list[int]) -> tuple[Any, list[Cell]]:
    """List the runs on pictures, and give what does one."""
    unlabelled = [p for path in config.unlabelled for p in read_folder(path)]
    unlabelled = (unlabelled or letters())[:: 100 if config.smoke else 1]
    known = read_problem(config.data, config.test) if config.data else None
    known = known or Pictures(*hold_out(digits(), 0.5))
    if not isinstance(known, Pictures):
        raise ValueError(f"{config.data[0]}: give pictures, or --speech with manifests")
    settings = Settings(config.code, config.pictures)
    bench, clustered = Bench(known, unlabelled, config.most), problems(known.train, unlabelled)

    def run(cell: Cell) -> dict[str, Any]:
        if cell.task == CLUSTERS:
            counts_of, sizes, weight = clustered[cell.arm]
            return agreement(counts_of(FIRST + cell.seed), sizes, weight, cell.seed)
        return bench.run(cell.arm, cell.count, replace(settings, seed=cell.seed))

    seeds = range(config.seeds)
    cells = [Cell(LABELS, arm, count, s) for s in seeds for count in counts for arm in WAYS]
    return run, cells + [Cell(CLUSTERS, name, 0, s) for s in seeds for name in clustered]


def _speech(config: Config, counts: list[int], folder: Path) -> tuple[Any, list[Cell]]:
    """List the runs on speech, and give what does one."""
    if config.unlabelled or config.data:
        problem, heard = read_speech(config.unlabelled, config.data, config.test, config.most)
    else:
        problem, heard = made_speech(max(counts), config.most, config.smoke)
    units = tuple(numbers(config.units))

    def run(cell: Cell) -> dict[str, Any]:
        source = None
        if cell.arm == TAUGHT:
            own = replace(config.pretrain, seed=cell.seed)
            source = pretrained(folder / f"taught-{cell.seed}", problem, heard, own, units)
        items = problem.few(cell.count, FIRST + cell.seed)
        return recognise(problem, items, replace(config.tune, seed=cell.seed), source)

    arms, seeds = (SCRATCH, TAUGHT), range(min(config.seeds, 3))
    return run, [Cell(SPEECH, arm, count, s) for s in seeds for count in counts for arm in arms]


if __name__ == "__main__":
    launch(main)
