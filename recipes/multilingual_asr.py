"""Multilingual speech recognition: one shared trunk, a CTC head per language. Huang et al. 2013.

    accelerate launch recipes/multilingual_asr.py
    accelerate launch recipes/multilingual_asr.py --data train.jsonl --test test.jsonl

Without `--data` it makes its own corpus (extra `corpus`): spoken numbers, dates, times and prices, five
languages in full and one with 60 utterances, test voices and texts never heard in training. The language
with little data is also trained alone: the same network, stopped where its dev set says.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState
from rich.console import Console

from mtl import Model, Stream, Task, evaluate, fit
from mtl.config import Fit, launch, parse, write
from mtl.data.augment import Augment
from mtl.data.cache import Cache
from mtl.data.manifest import Utterance
from mtl.data.speech import Speech, choose_subsample, describe_skips, screen
from mtl.data.splits import Source, Splits
from mtl.evaluate import Evaluation
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.report import Report, compare
from mtl.stems.logmel import LogMel
from mtl.text import TextRules, normalise, symbols
from mtl.trunks.conformer import Conformer

CONSOLE = Console(stderr=True)


@dataclass
class Net:
    """The network."""

    dim: int = 144
    """width of the trunk"""
    depth: int = 4
    """conformer blocks"""
    dropout: float = 0.1
    """dropout"""
    subsample: int = 0
    """10 ms frames per trunk frame; 0 takes the coarsest that can spell every language"""
    inner: str = "b2"
    """blocks on which each head's loss is added at a third of its weight (Lee and Watanabe 2021)"""


@dataclass
class Config(Source):
    """Train one trunk with a head per language, and the low-resource language alone beside it."""

    share: float = 0.07
    """share of the low-resource language in the batches"""
    batch_seconds: float = 72.0
    """seconds of audio per step, over all processes"""
    baseline: bool = True
    """train the low-resource language alone as well"""
    full: bool = False
    """train every language alone as well"""
    out: Path = Path("runs/multilingual_asr")
    """folder for checkpoints, model and figures; a run started again with it resumes"""
    net: Net = field(default_factory=Net)
    fit: Fit = field(default_factory=lambda: Fit(steps=3000, average=10, save_every=50))
    alone: Fit = field(
        default_factory=lambda: Fit(steps=1200, average=5, save_every=40, eval_every=80, patience=5)
    )


def main(argv: list[str] | None = None) -> None:
    """Read or make the data, train, evaluate on unheard voices, print and write the figures."""
    started, config = time.monotonic(), parse(Config, (__doc__ or "").split("\n")[0], argv)
    state, cache = PartialState(), Cache()
    CONSOLE.quiet = not state.is_main_process
    if config.smoke:
        _shrink(config)
    splits = config.read()
    write(config, config.out / "config.yaml")
    joint, model, notes = _train(config, config.fit, splits, cache, "multilingual")
    if state.is_main_process:
        model.save_pretrained(config.out / "model")
    report = Report("multilingual_asr", config.fit.seed, joint.tasks(), state.num_processes)
    report.notes = [*splits.notes, *notes]
    low = [lang for lang in splits.low if config.baseline]
    for lang in splits.languages if config.full else low if len(splits.languages) > 1 else []:
        single, _, _ = _train(config, config.alone, splits.only(lang), cache, f"{lang}-alone")
        report.comparisons.setdefault("alone", {})[lang] = single.tasks()[lang]
        text = f"shared layers {'help' if lang in splits.low else 'do not hurt'} {lang} (CER)"
        report.claims.append(compare(text, joint, single, lang, "cer"))
    report.notes += [f"worst {lang}: {row.reference!r} heard as {row.prediction!r}"
                     for lang in splits.languages for row in joint.worst(lang, 1)]  # fmt: skip
    report.seconds = time.monotonic() - started
    if state.is_main_process:
        report.write(config.out / "metrics.json")
        report.show()
        CONSOLE.print(f"{report.seconds:.0f} s; model and metrics.json are in {config.out}")


def _train(
    config: Config, settings: Fit, splits: Splits, cache: Cache, name: str
) -> tuple[Evaluation, Model, list[str]]:
    """Train and evaluate one model on all languages of `splits`."""
    torch.manual_seed(settings.seed)
    model = build(config.net, splits.train)
    kept, skips = screen(splits.train, model)
    notes = describe_skips(skips, len(splits.train))
    for note in notes:
        CONSOLE.print(note, markup=False)
    augment = Augment(time_masks=2, time_frames=25, bin_masks=2, bins=15, seed=settings.seed)
    mix = dict.fromkeys(splits.low, config.share) if len(splits.languages) > 1 else "proportional"
    data = Speech(kept, model, augment=augment, cache=cache)
    stream = Stream(data, config.batch_seconds, mix=mix)
    dev = {"speech": Speech(splits.dev, model, cache=cache)}
    done = fit(model, {"speech": stream}, settings, dev=dev, out=config.out / name, title=name)
    notes += [f"skipped {example}: {why}" for example, why in done.skipped.items()]
    return evaluate(model, {"speech": Speech(splits.test, model, cache=cache)}), model, notes


def build(net: Net, utterances: list[Utterance]) -> Model:
    """Make the model that these utterances need: a head per language, each with its own symbols."""
    rules, texts = TextRules(), {}
    for utterance in utterances:
        texts.setdefault(utterance.lang, []).append(normalise(utterance.text, rules))
    subsample, lines = choose_subsample(utterances, rules)
    for line in lines if not net.subsample else []:
        CONSOLE.print(f"{line}: taking {subsample}x", markup=False)
    tasks = [Task(lang, "speech", CTC(symbols(texts[lang]))) for lang in sorted(texts)]
    for block in net.inner.split(",") if net.inner else []:
        tasks += [
            Task(f"{lang}-{block}", "speech", lang, block, weight=0.33, label=lang)
            for lang in sorted(texts)
        ]
    if len(texts) > 1:
        tasks.append(Task("language", "speech", Classify(sorted(texts)), weight=0.1))
    stem = LogMel(net.dim, subsample=net.subsample or subsample)
    return Model({"speech": stem}, Conformer(net.dim, net.depth, dropout=net.dropout), tasks)


def _shrink(config: Config) -> None:
    """Make everything tiny."""
    config.fit.steps, config.alone.steps, config.net.dim, config.net.depth = 8, 8, 32, 2
    config.net.inner, config.alone.eval_every, config.batch_seconds = "b1", 4, 20.0


if __name__ == "__main__":
    launch(main)
