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

Results (commit fa45258, on one thread of a busy machine). Character error in per cent, 100 test utterances
each. Default, one seed, 477 s: German with all its utterances, then English and Spanish with 100 each:

                  German  English  Spanish  the later two  in the end, mean of three
scratch             1.28    19.77    14.59          17.18                      11.88
head only           1.28    42.88    32.37          37.63                      25.51
tuned in turn       1.28    14.16    10.73          12.45                      55.47
random column               25.65    17.24          21.45
progressive         1.28    18.24    12.89          15.57                      10.81
begun               1.28    15.24    10.39          12.81                       8.97

Columns have 9.4 % (4.0 to 12.6) fewer errors than scratch, "begun" 25.4 % (20.7 to 29.9). A new column trains
1.979 M weights, the second as the third. With `--full --looked_at 0` and six arms, three seeds, 5 languages:

                  English  Spanish  French  Italian  the later four     in the end, mean of five
scratch             21.08    14.36   27.85    11.55  18.71 (18.6-18.8)       15.03
tuned in turn       12.39     8.89   17.98     7.20  11.62 (11.5-11.8)       66.76
progressive         18.58    12.56   25.84     9.87  16.71 (16.5-16.9)       13.43
begun               12.66     9.45   20.46     7.18  12.44 (12.1-12.7)       10.01
replay              12.93    10.45   24.11     9.87  14.34 (14.1-14.7)       10.44
harmful             23.76

Tuning in turn forgets 90 points of German, 86 of English, 68 of Spanish, 43 of French; columns nothing, to
the bit. Fewer errors than scratch: progressive 10.7 % (6.5 to 14.8), begun 33.5 % (30.9 to 36.2). Replay in
the bytes of a column ends 3.0 points (2.9 to 3.1) below progressive. Beside a column that learnt shuffled
labels, English is 2.7 points (1.0 to 4.3) WORSE than from scratch: columns can do harm.

Pictures, error in per cent, three seeds: `--images --arms all`, and `--data mnist.npz usps.npz mnist_m.npz`,
of which later tasks see 10 of each class:

                    scratch  head  tuned  random  progressive  begun  replay  compress
digits in pairs        6.56  9.87   6.90    5.86         6.20   6.27    5.51      6.33
in the end             5.25  7.89  25.20                 4.96   5.01    3.35      5.44
digits -> blended     28.69 32.68  22.38   28.97        22.84  19.03   20.71     25.16
MNIST in pairs         9.47 22.45   8.62    8.09         9.24   9.59    9.93     12.89
in the end             7.58 17.97  20.05                 7.40   7.68    9.01      9.92
-> USPS -> MNIST-M    45.49 33.91  37.96   43.96        37.67  32.38   31.17     29.98
in the end            30.91 23.19  45.87                25.69  22.17   22.32     21.12

In pairs no difference from scratch but that of "head" is clear. From MNIST to the others progressive has
17.2 % (11.3 to 23.1) fewer errors, begun 28.8 % (19.0 to 38.7), less than replay and compress. A harmful
column does nothing that is clear (-1.9 to 2.5 points); its scales are as large as others' and do not go to 0.
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
    if not arms:
        raise ValueError(f"--arms {config.arms!r} names none; choose from {', '.join(ARMS)}")
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
    noted = [note for course in courses.values() for note in course.notes]  # also where runs failed
    report.notes += [note for note in noted if note not in report.notes]
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
