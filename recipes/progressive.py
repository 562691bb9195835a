"""Progressive networks: tasks come one after another. What does a new one gain, and what do old ones lose?

    accelerate launch recipes/progressive.py
    accelerate launch recipes/progressive.py --images --arms all
    accelerate launch recipes/progressive.py --full --speech --data mnist.npz usps.npz mnist_m.npz

The first task has much data, each later one little. "progressive" grows a column for each beside all
earlier ones, which are frozen (Rusu et al. 2016); in "begun" columns begin with the first one's weights.
"scratch" trains a network of the same size alone; "head", "tuned" and "random" are the paper's other
baselines, "replay" and "compress" rivals that keep one network, and "harmful" puts the second column beside
one that learnt shuffled labels: see mtl/studies/arms.py. All take as many steps of the same size, but
"replay" sees as many stored examples besides, and "compress" trains twice. Errors are those when a task was
learnt; "forgotten" is the error in the end less that one. The strength of "compress" was chosen on pictures
that were held out of training.

Languages are those of the embedded corpus, with test voices that are not learnt from; `--images` takes
scikit-learn's digits in five pairs, and digits before others over coloured patches. Pictures in `--data` are
learnt as pairs of classes of the first file and, where there are several, as a sequence of files.

Results (commit 683629b, default: German with all of its utterances, then English and Spanish with 100 each;
one seed, 736 s on one busy core). Character error in per cent, 100 test utterances each:

                  German  English  Spanish  the later two  in the end, mean of three
scratch             1.28    19.77    14.59          17.18                      11.88
head only           1.28    42.88    32.37          37.63                      25.51
tuned in turn       1.28    14.16    10.73          12.45                      55.47
random column               25.65    17.24          21.45
progressive         1.28    18.24    12.89          15.57                      10.81
begun               1.28    15.24    10.39          12.81                       8.97

Tuning in turn forgets 75 points of German and 66 of English; columns forget exactly nothing, their outputs
stay the same to the bit. The later languages have 9.4 % (4.0 to 12.6) fewer errors than from scratch with
progressive columns, and 25.4 % (20.7 to 29.9) with columns that begin with the first one's weights; a column
beside one that never learnt has 25 % more. A new column trains 1.979 M weights, the second as the third.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.device import start_processes
from mtl.report import Report
from mtl.studies.arms import ARMS, Lab, look_up, run
from mtl.studies.borrowed import borrowed
from mtl.studies.forgetting import PROGRESSIVE, tell
from mtl.studies.sequence import IMAGES, SPEECH, Course, cap, images, read_courses, speech
from mtl.study import contents, study
from mtl.together import refuse_none

USUAL = "scratch,head,tuned,random,progressive,begun"
THREE, FIVE = "de,en,es", "de,en,es,fr,it"


@dataclass
class Config:
    """Learn tasks one after another in several ways."""

    data: list[Path] = field(default_factory=list)
    """manifests of several languages, .npz files and folders of classes; none takes what is embedded"""
    test: list[Path] = field(default_factory=list)
    """the same to test on; none takes the test part of a file, or holds some out"""
    speech: bool = False
    """embedded languages, also beside `data`"""
    images: bool = False
    """embedded pictures, also beside `data`"""
    languages: str = ""
    """languages in their order, comma separated; default: de,en,es, with --full de,en,es,fr,it, or those
    of `data` as they come"""
    utterances: int = 100
    """training utterances of each language from the second on"""
    pictures: int = 10
    """training pictures of each class from the second task on"""
    arms: str = ""
    """ways to learn, comma separated, or all; default: those of the paper and begun, with --full all"""
    strength: float = 0.1
    """how much compress holds old weights"""
    first_steps: int = 600
    """steps of the first task; with --full at least 1600"""
    looked_at: int = 12
    """test examples of which sensitivities are computed, that to noise for the first seed; 0 computes none"""
    most: int = 2000
    """test examples of each task, at most"""
    seeds: int = 1
    """initial weights, and choices of little data"""
    full: bool = False
    """all arms, three seeds and five languages: hours"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/progressive")
    """folder for figures and first networks; a run started again with it does what is left"""
    fit: Fit = field(default_factory=lambda: Fit(steps=400, dry_run=False))


class Cell(NamedTuple):
    """One run of a sequence."""

    course: str
    arm: str
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Learn every sequence in every way, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "progressive")
    if config.full:
        config.seeds, config.arms = max(config.seeds, 3), config.arms or "all"
        config.first_steps = max(config.first_steps, 1600)
    if config.smoke:
        config.seeds, config.most, config.looked_at = 1, 4, 2
        config.first_steps, config.fit.steps, config.fit.log_every = 2, 2, 1
    refuse_none(seeds=config.seeds, most=config.most, first_steps=config.first_steps)
    refuse_none(utterances=config.utterances, pictures=config.pictures)
    for name in ("strength", "looked_at"):
        if (given := getattr(config, name)) < 0:
            raise ValueError(f"--{name.replace('_', '-')} is {given}; it may not be below 0")
    wanted = ",".join(ARMS) if config.arms == "all" else config.arms or USUAL
    arms = list(dict.fromkeys(word.strip() for word in wanted.split(",") if word.strip()))
    for arm in arms:
        look_up(arm)  # raises now, not after the first runs
    courses = {course.name: cap(course, config.most) for course in sequences(config)}
    for course in courses.values():
        _ = [course.items(task, seed=0) for task in course.names]  # raises where there are fewer

    def learn(cell: Cell) -> dict[str, Any]:
        settings = replace(config.fit, seed=cell.seed)
        more = {"first_steps": config.first_steps, "strength": config.strength}
        lab = Lab(courses[cell.course], settings, folder / "networks", **more)
        model, found = run(cell.arm, lab)
        noise = cell.arm == PROGRESSIVE and not cell.seed
        return found | borrowed(model, lab, list(found["tasks"]), config.looked_at, noise=noise)

    key = [config.data, config.test, config.languages, config.full, config.utterances]
    key += contents(*config.data, *config.test)
    key += [config.pictures, config.strength, config.first_steps, config.looked_at, config.most]
    folder = config.out / digest(*key, config.smoke, config.fit.decisive())
    cells = [
        Cell(name, arm, seed) for seed in range(config.seeds) for name in courses for arm in arms
    ]
    results = study(cells, learn, folder / "cells", title="sequences")
    report = Report("progressive", config.fit.seed, {}, start_processes().num_processes)
    tell(report, results)
    report.notes += [note for course in courses.values() for note in course.notes]
    report.publish(config, config.out, started)


def sequences(config: Config) -> list[Course]:
    """Read or make what is to be learnt."""
    counts, found = {SPEECH: config.utterances, IMAGES: config.pictures}, []
    if config.test and not config.data:
        raise ValueError("--test needs --data: embedded tasks have a test of their own")
    if config.data:
        found += read_courses(config.data, config.test, config.languages, counts)
    if config.speech or not (found or config.images):
        languages = config.languages or (FIVE if config.full else THREE)
        found.append(
            speech("de,en" if config.smoke else languages, config.utterances, config.smoke)
        )
    if config.images:
        found += images(config.pictures, config.smoke)
    return unique(found)


def unique(courses: list[Course]) -> list[Course]:
    """Raise ValueError where two sequences have one name."""
    names = [course.name for course in courses]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two sequences are named {twice[0]!r}: leave one out")
    return courses


if __name__ == "__main__":
    launch(main)
