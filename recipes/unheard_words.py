"""Unheard words: words that nobody said in training are recognised by how they are pronounced.

    accelerate launch recipes/unheard_words.py
    accelerate launch recipes/unheard_words.py --words list.txt --unheard 164
    accelerate launch recipes/unheard_words.py --data recordings.jsonl

A network learns to write phones, from 400 of 564 English words and from sentences, both of synthetic voices;
espeak-ng pronounces the other 164, which other voices say, and the exact probability of each word decides
(mtl/decode/candidates.py): among the 164, and among all 564. "chars" spells words in letters instead.

`--data` is a manifest of recordings of single words, which take the place of the list: tested are those of
unheard words, after learning with the recordings of the heard ones and without any. Which words are unheard
depends on the seed alone; nothing is chosen by them.

Results (commit f13165a, `--fit.steps 600`, one seed, 237 s on a busy core), unheard words by unheard voices,
right in per cent: among 164 words phones 98.2, letters 82.3 (the right one among the best five 99.7, 95.4);
among all 564 phones 90.6, letters 68.0 (98.5, 88.1). Phones beat letters by 15.9 points (10.1 to 23.7) and
22.6 (14.5 to 31.8).
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.data.cache import Cache
from mtl.data.speech import Speech
from mtl.device import start_processes
from mtl.report import Report
from mtl.studies.wordlists import Heard, choose, read_words, recorded, synthetic
from mtl.study import Result, contents, study
from mtl.tally import judge, skips, tally
from mtl.together import refuse_none
from mtl.unheard import CHARS, PHONEMES, TASK, Ear, learn, listener, recognise, spellings


@dataclass
class Config:
    """Recognise words that were never heard."""

    words: Path | None = None
    """file of words, one a line; none takes 564 English ones"""
    data: Path | None = None
    """manifest of recordings of single words, in the place of `words`"""
    lang: str = "en"
    """language of the words"""
    unheard: int = 164
    """words that nobody says in training"""
    takes: int = 6
    """times that synthetic voices say each of the others"""
    sentences: int = 600
    """sentences that synthetic voices say"""
    arms: str = "phonemes,chars"
    """what the network writes, comma separated"""
    seeds: int = 1
    """choices of unheard words, and initial weights"""
    full: bool = False
    """three seeds of 1,500 steps: hours"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/unheard_words")
    """folder for figures; a run started again with it does what is left"""
    ear: Ear = field(default_factory=Ear)
    fit: Fit = field(default_factory=lambda: Fit(steps=500, dry_run=False))


class Cell(NamedTuple):
    """One run."""

    arm: str
    data: str
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Learn and test all arms, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "unheard_words")
    if config.full:
        config.seeds, config.fit.steps = 3, 1500
    if config.smoke:
        config.seeds, config.takes, config.sentences, config.fit.steps = 1, 1, 0, 2
        config.ear = replace(config.ear, dim=16, depth=2, seconds=4.0)
    refuse_none(seeds=config.seeds, takes=config.takes)
    arms = [word.strip() for word in config.arms.split(",") if word.strip()]
    if strange := [arm for arm in arms if arm not in (PHONEMES, CHARS)]:
        raise ValueError(f"--arms {strange[0]!r}: choose from {PHONEMES}, {CHARS}")
    if config.words and config.data:
        raise ValueError(f"--words {config.words} and --data {config.data}: give one")
    parts = {seed: heard(config, seed) for seed in range(config.seeds)}
    cache = Cache()

    def run(cell: Cell) -> dict[str, Any]:
        part, settings = parts[cell.seed], replace(config.fit, seed=cell.seed)
        torch.manual_seed(cell.seed)
        model = listener(cell.arm, part.train[cell.data], config.ear)
        fitted = learn(model, part.train[cell.data], config.ear, settings, cache)
        tests, wanted = Speech(part.tests, model, cache=cache), [str(u.label) for u in part.tests]
        head = model.head(TASK)
        among = {"unheard": part.unheard, "all": part.words}
        figures = {
            name: recognise(model, tests, wanted, spellings(head, words, config.lang))
            for name, words in among.items()
        }
        return {"among": figures, "untrained": fitted.skipped}

    key = contents(config.words or "", config.data or "")
    key += [config.lang, config.unheard, config.takes, config.sentences]
    folder = config.out / digest(*key, config.smoke, config.ear, config.fit.decisive()) / "cells"
    cells = [Cell(arm, d, seed) for seed in parts for d in parts[seed].train for arm in arms]
    results = study(cells, run, folder, title="unheard words")
    report = Report("unheard_words", config.fit.seed, {}, start_processes().num_processes)
    tell(report, results, parts[0])
    report.publish(config, config.out, started)


def heard(config: Config, seed: int) -> Heard:
    """Give what to learn from and what to tell."""
    sizes = config.takes, config.sentences
    if config.data is not None:
        return recorded(config.data, config.lang, config.unheard, seed, *sizes)
    words, unheard = read_words(config.words), config.unheard
    if config.smoke:
        words, unheard = words[:10], 4
    return synthetic(words, choose(words, unheard, seed), config.lang, *sizes)


def tell(report: Report, results: list[Result], part: Heard) -> None:
    """Add the table, of the first guess and the best five, and who is better."""
    sizes = {"unheard": len(part.unheard), "all": len(part.words)}
    found = [
        Result(cell | {"among": f"{name}: {sizes[name]}"}, own, problem)
        for cell, figures, problem, _ in results
        for name, own in (figures["among"].items() if figures else [("unheard", None)])
    ]
    tally(report, found, "among {among}".format_map, "{arm}, {data}".format_map)
    tally(report, found, "among {among}".format_map, "{arm}, {data}, best five".format_map, "top")
    for name in dict.fromkeys(result.cell["among"] for result in found):
        a, b = ({"arm": arm, "among": name} for arm in (PHONEMES, CHARS))
        for data in part.train:
            text = f"phonemes beat characters ({data}, among {name})"
            report.claims.append(judge(text, found, a | {"data": data}, b | {"data": data}))
        if len(part.train) > 1:
            first, *_, last = part.train
            text = f"recordings of other words help ({last}, among {name})"
            report.claims.append(judge(text, found, a | {"data": last}, a | {"data": first}))
    report.notes += skips(results, "untrained", "training utterances")


if __name__ == "__main__":
    launch(main)
