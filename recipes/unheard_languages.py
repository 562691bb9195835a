"""Unheard languages: words of a language that nobody taught, by how its phones are made. Li et al. 2020.

    accelerate launch recipes/unheard_languages.py
    accelerate launch recipes/unheard_languages.py --langs cs,de,en,es,fr,it,nl,pl,pt,ru,sv --folds 0
    accelerate launch recipes/unheard_languages.py --data numbers.jsonl --langs all --folds 5

One network learns the phones of some languages and hears words of others, of which it is told how they are
pronounced (espeak-ng) and how their phones are made (PanPhon, extra `phones`). "attributes" computes phones
from learnt attributes (mtl/heads/upm.py), so that new phones have scores; "shared" has one output for each
phone that it heard: a new phone is taken for the one that is made most alike or, in the third column, left
out. Embedded are synthetic voices that say sentences, and others that say the numbers 0 to 199 in languages
left out, told among these 200. Languages are left out one by one, or in `--folds` turns.

`--data` is a manifest of recordings of a few words in many languages: those of the languages that are not
left out are learnt from beside synthetic voices; the words told apart are all that the language has there.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch

from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.data.cache import Cache
from mtl.data.speech import Speech
from mtl.device import start_processes
from mtl.report import Report
from mtl.studies.wordlists import Heard, counted, deal, numbered
from mtl.study import Result, contents, study
from mtl.tally import over_seeds, skips, tally
from mtl.together import refuse_none
from mtl.unheard import ATTRIBUTES, PHONEMES, TASK, Ear, learn, listener, recognise, spellings

NEAREST, LEFT_OUT = "shared, nearest phone", "shared, new phones left out"
WAYS = {ATTRIBUTES: {ATTRIBUTES: True}, PHONEMES: {NEAREST: True, LEFT_OUT: False}}
ALL, MEAN = "all", "mean"


@dataclass
class Config:
    """Recognise words of languages that were never heard."""

    data: Path | None = None
    """manifest of recordings of a few words in many languages; none makes synthetic ones"""
    langs: str = "cs,de,en,es,fr,it,nl,pl"
    """languages, comma separated; all takes those of `data`"""
    folds: int = 4
    """turns in which languages are left out; 0 leaves out one at a time"""
    sentences: int = 300
    """sentences that synthetic voices say in each language"""
    seeds: int = 1
    """initial weights"""
    full: bool = False
    """three seeds of 3,000 steps, one language left out at a time: hours"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/unheard_languages")
    """folder for figures; a run started again with it does what is left"""
    ear: Ear = field(default_factory=Ear)
    fit: Fit = field(default_factory=lambda: Fit(steps=500, dry_run=False))


class Cell(NamedTuple):
    """One run: what is learnt without the languages of a fold."""

    kind: str
    left: tuple[str, ...]
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Learn without each fold of languages, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "unheard_languages")
    if config.full:
        config.seeds, config.folds, config.fit.steps = 3, 0, 3000
    if config.smoke:
        config.seeds, config.sentences, config.fit.steps = 1, 4, 2
        config.langs = "en,nl" if config.data is None else config.langs
        config.ear = replace(config.ear, dim=16, depth=2, seconds=8.0)
    refuse_none(seeds=config.seeds, sentences=config.sentences)
    parts = heard(config)
    turns = [(list(parts)[-1],)] if config.smoke else deal(list(parts), config.folds)
    cache = Cache()

    def run(cell: Cell) -> dict[str, Any]:
        train = [u for lang in parts if lang not in cell.left for u in spoken(parts[lang])]
        torch.manual_seed(cell.seed)
        model = listener(cell.kind, train, config.ear)
        fitted = learn(model, train, config.ear, replace(config.fit, seed=cell.seed), cache)
        figures: dict[str, Any] = {}
        for lang in cell.left:
            part, ways = parts[lang], figures.setdefault(lang, {})
            tests, wanted = (
                Speech(part.tests, model, cache=cache),
                [str(u.label) for u in part.tests],
            )
            for way, alike in WAYS[cell.kind].items():
                said = spellings(model.head(TASK), part.words, lang, alike)
                ways[way] = recognise(model, tests, wanted, said)
        return {"langs": figures, "untrained": fitted.skipped}

    key = contents(config.data or "")
    key += [*parts, config.sentences, config.smoke, config.ear, config.fit.decisive()]
    folder = config.out / digest(*key) / "cells"
    seeds = range(config.seeds)
    cells = [Cell(kind, left, seed) for seed in seeds for left in turns for kind in WAYS]
    results = study(cells, run, folder, title="unheard languages")
    report = Report("unheard_languages", config.fit.seed, {}, start_processes().num_processes)
    tell(report, results)
    report.publish(config, config.out, started)


def heard(config: Config) -> dict[str, Heard]:
    """Give what each language has to learn from and to be tested on."""
    langs = [word.strip() for word in config.langs.split(",") if word.strip()]
    if config.data is not None:
        return counted(config.data, [] if langs == [ALL] else langs, config.sentences)
    if not config.smoke:
        deal(langs, config.folds)  # refuses now, before anything is made
    return numbered(langs, config.sentences, config.smoke)


def spoken(part: Heard) -> list[Any]:
    """Give all that a language has to learn from."""
    return [utterance for said in part.train.values() for utterance in said]


def tell(report: Report, results: list[Result]) -> None:
    """Add the table by language, with the mean over languages, and who is better."""
    found = [
        Result({"lang": lang, "way": way, "seed": cell["seed"]}, own, problem)
        for cell, figures, problem, _ in results
        for lang, ways in (figures or {"langs": {ALL: {cell["kind"]: None}}})["langs"].items()
        for way, own in ways.items()
    ]
    rates: dict[str, dict[str, list[float]]] = {}
    for cell, figures, *_ in found:
        if figures:
            known = rates.setdefault(cell["way"], {}).setdefault(cell["lang"], [])
            known.append(figures["value"])
    means = {way: {lang: mean(each) for lang, each in rows.items()} for way, rows in rates.items()}
    found += [
        Result({"lang": MEAN, "way": way, "seed": 0}, averaged(rows)) for way, rows in means.items()
    ]
    tally(report, found, "{lang}".format_map, "{way}".format_map)
    for other in (NEAREST, LEFT_OUT):
        both = [lang for lang in means.get(ATTRIBUTES, {}) if lang in means.get(other, {})]
        gains = [means[ATTRIBUTES][lang] - means[other][lang] for lang in both]
        report.claims.append(over_seeds(f"over languages, attributes beat {other}", gains))
    report.notes += skips(results, "untrained", "training utterances")


def averaged(rows: Mapping[str, float]) -> dict[str, Any]:
    """Give the mean over languages as a figure."""
    return {"metric": "accuracy", "value": mean(rows.values()), "n": len(rows)}


if __name__ == "__main__":
    launch(main)
