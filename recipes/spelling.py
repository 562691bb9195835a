"""Spelling: characters directly, phonemes and a lexicon, or phonemes below characters? Fernandez et al. 2007.

    accelerate launch recipes/spelling.py
    accelerate launch recipes/spelling.py --data train.jsonl --test test.jsonl --lexicon words.txt --lang nl

One language is learnt from few and from more utterances, always for as many steps, in three ways (see
`--net.target` of recipes/multilingual_asr.py), and written greedily or held to the words of a lexicon, the
same for all. Own manifests need `phonemes` in IPA for all but chars. Without `--lexicon` it has all words of
the training and test texts, pronounced by espeak-ng: nobody says a word that it lacks.

Results (English of the embedded corpus, unheard voices, `--fit.steps 400` for all, one seed, one busy core,
1181 s, commit 18f9b14; word errors in per cent of 100 test utterances):

training utterances     60    300   1500
chars, greedy         74.8   40.1   30.0
chars, lexicon        43.6   13.5    8.5
phonemes, lexicon     29.8    9.3    6.8
both, greedy          73.6   37.0   28.1
both, lexicon         39.9   13.4    8.4

The curves do not cross up to 1,500. Phonemes beat characters that write freely at all three (45.0, 41.0 to
48.5; 30.8, 19.5 to 41.8; 23.2, 14.1 to 33.0), and those held to the same lexicon with 60 (13.8, 10.3 to
16.3), undecided with 300 (4.3, -0.5 to 9.6) and 1,500 (1.8, -1.7 to 5.6). Phonemes below characters help
the latter with 60 (3.8, 0.1 to 8.5), undecided with more.
"""

import time
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtl import Stream, fit
from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.data.augment import Augment
from mtl.data.cache import Cache
from mtl.data.manifest import Utterance
from mtl.data.speech import Speech, screen
from mtl.decode.beam import Search
from mtl.decoding import beams
from mtl.device import start_processes
from mtl.languages import writers
from mtl.plots import curves
from mtl.recogniser import Net, recogniser
from mtl.report import Report
from mtl.spelling import one_language, pronounced, word_errors, words
from mtl.study import Result, contents, study
from mtl.tally import differences, judge, lines, tally

CLAIMS = [("phonemes lexicon", "chars greedy"), ("phonemes lexicon", "chars lexicon")]
CLAIMS += [("both lexicon", "chars lexicon"), ("both greedy", "chars greedy")]


@dataclass
class Config:
    """Learn to write one language in three ways, from few and from more utterances."""

    data: list[Path] = field(default_factory=list)
    """training manifests; none makes the embedded corpus"""
    test: list[Path] = field(default_factory=list)
    """test manifests, which go with `data`"""
    lang: str = "en"
    """language"""
    lexicon: str = ""
    """file of words, each with its phones behind it; none pronounces all words of the texts"""
    targets: str = "chars,phonemes,both"
    """what to compare, comma separated"""
    counts: str = "60,300,1500"
    """training utterances, comma separated"""
    seeds: int = 1
    """choices of utterances and initial weights"""
    seconds: float = 36.0
    """audio per step"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/spelling")
    """folder for figures; a run started again with it does what is left"""
    net: Net = field(default_factory=Net)
    fit: Fit = field(default_factory=lambda: Fit(steps=600, dry_run=False))


class Cell(NamedTuple):
    """One training run."""

    target: str
    count: int
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Train every target with every number of utterances, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "spelling")
    if config.smoke:
        config.counts, config.fit.steps = "12", 2
        config.net.shrink(16, 2)
    numbers = [word.strip() for word in config.counts.split(",")]
    if not all(map(str.isdecimal, numbers)):
        raise ValueError(f"--counts {config.counts!r}: give numbers, comma separated")
    targets = [word.strip() for word in config.targets.split(",")]
    for target in targets:
        replace(config.net, target=target)  # refuses what there is not, before anything is trained
    counts = sorted({*map(int, numbers)})
    sizes = counts[-1], 8 if config.smoke else 100
    train, test = one_language(config.lang, *sizes, config.data, config.test)
    report = Report("spelling", config.fit.seed, {}, start_processes().num_processes)
    bench = Bench(config, report, train, test)
    every = product(counts, range(config.seeds), targets)
    cells = [Cell(target, count, seed) for count, seed, target in every]
    key = [config.lang, config.seconds, config.smoke, counts[-1]]  # all are drawn from the most
    key += contents(*config.data, *config.test, config.lexicon)
    folder = config.out / digest(*key, config.net, config.fit.decisive()) / "cells"
    results = study(cells, bench.run, folder, title="spelling")
    _tell(report, _split(results), counts)
    report.publish(config, config.out, started)


class Bench:
    """Runs cells."""

    def __init__(self, config: Config, report: Report, *data: list[Utterance]) -> None:
        self.config, self.report, (self.train, self.test) = config, report, data
        self.cache, self.words = Cache(), words(config.lexicon, *data)

    def run(self, cell: Cell) -> dict[str, Any]:
        """Train from the first utterances of a random order; write the test set in both ways."""
        torch.manual_seed(cell.seed)
        order = torch.randperm(len(self.train)).tolist()[: cell.count]
        said = [self.train[index] for index in order]
        model, _ = recogniser(said, replace(self.config.net, target=cell.target))
        masks = Augment(time_masks=2, time_frames=25, bin_masks=2, bins=15, seed=cell.seed)
        data = Speech(screen(said, model)[0], model, augment=masks, cache=self.cache)
        settings = replace(self.config.fit, seed=cell.seed)
        streams = {"speech": Stream(data, self.config.seconds)}
        model = fit(model, streams, settings, show=False).model
        task = writers(model)[self.config.lang]
        lexicon = self.config.lexicon if task != self.config.lang else ""
        if not lexicon:
            path = self.config.out / f"{task}.lexicon"
            lexicon, notes = pronounced(model.head(task), self.words, self.config.lang, path)
            self.report.notes += [note for note in notes if note not in self.report.notes]
        test, held = Speech(self.test, model, cache=self.cache), Search(lexicon=lexicon)
        greedy = {"greedy": word_errors(model, test, task)} if task == self.config.lang else {}
        return greedy | {"lexicon": word_errors(model, test, task, beams(model, held))}


def _split(results: list[Result]) -> list[Result]:
    """Make a result of each way to write."""
    return [
        result._replace(cell=result.cell | {"way": f"{result.cell['target']} {way}"}, figures=own)
        for result in results
        for way, own in (result.figures or {"": None}).items()
    ]


def _tell(report: Report, results: list[Result], counts: list[int]) -> None:
    """Add the table, the curves, and who wins with how many utterances."""
    tally(report, results, lambda cell: cell["way"], lambda cell: f"{cell['count']} utterances")
    plot = curves(lines(results, "count", "way"), "utterances", "wer", percent=True)
    report.figures.append((plot, "word errors: mean and range over seeds"))
    for better, worse in CLAIMS:
        for count in counts:
            a, b = ({"way": way, "count": count} for way in (worse, better))
            if differences(results, a, b):
                text = f"{better} beats {worse} with {count} utterances"
                report.claims.append(judge(text, results, a, b))


if __name__ == "__main__":
    launch(main)
