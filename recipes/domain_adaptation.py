"""Domains: what is learnt from a labelled source is to hold for a target without labels. Which method helps?

    accelerate launch recipes/domain_adaptation.py
    accelerate launch recipes/domain_adaptation.py --source mnist.npz --target mnist_m.npz --method dann,dan
    accelerate launch recipes/domain_adaptation.py --source train.jsonl --target fsdd.jsonl
    accelerate launch recipes/domain_adaptation.py --speech --channel reverberant

"source-only" learns from the source, "target-only" from the target's labels, the methods from the source and
the target's inputs: in steps of as many labelled examples, and as many steps, with the same network. Nothing
is chosen on target labels, which only target-only and the test see: the figures are of the last step, with
each method's own settings; but DANN's weight is 0.05, as at 1 its classifier falls far below chance, which
can be seen without labels. The embedded default's contrast, rate and steps were set while target accuracies
were in sight: it shows the methods, and measures none. Validators say what one would choose without labels.

Embedded are scikit-learn's digits, and others of them over coloured patches; with `--speech`, digits of
synthetic voices, and others through a channel. Real pictures are brought to 28 pixels, and learnt by the
network of Ganin et al. 2016 (its stem pads, its optimizer is AdamW).
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from mtl.across import tell
from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.crossing import measure
from mtl.device import start_processes
from mtl.fit import fit
from mtl.report import Report
from mtl.shift import SOURCE_ONLY, TARGET_ONLY, adapting, read_shift, spoken, weights_of, written
from mtl.study import study
from mtl.together import refuse_none


@dataclass
class Config:
    """Adapt a network from one domain to another by several methods."""

    source: list[Path] = field(default_factory=list)
    """manifests with labels, an .npz file or a folder of classes; none takes what is embedded"""
    target: list[Path] = field(default_factory=list)
    """the same of the other domain; its labels are for target-only and the test alone"""
    test: list[Path] = field(default_factory=list)
    """the same to test the target on; none takes the test part, or holds some out"""
    speech: bool = False
    """embedded speech (extra `corpus`) in the place of digits"""
    channel: Literal["noisy", "telephone", "reverberant"] = "telephone"
    """what embedded speech of the target comes through"""
    method: str = "ddc,dan,coral,cmd,dann,sdt"
    """methods of mtl/methods, comma separated"""
    weights: str = "dann=0.05"
    """their strengths where not their own; at 1 the features outrun DANN's classifier under AdamW"""
    network: Literal["lenet", "resnet"] = "lenet"
    """what learns pictures; a conformer learns speech"""
    batch: int = 32
    """pictures, or utterances of average length, of each domain per step"""
    most: int = 2000
    """test examples of each domain, at most"""
    seeds: int = 3
    """initial weights, and orders of the examples"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/domain_adaptation")
    """folder for figures; a run started again with it does what is left"""
    fit: Fit = field(default_factory=lambda: Fit(steps=300, lr=5e-4, dry_run=False))


class Cell(NamedTuple):
    """One run."""

    arm: str
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Train all arms, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "domain_adaptation")
    if config.smoke:
        config.seeds, config.most, config.fit.steps, config.fit.log_every = 1, 30, 2, 1
    refuse_none(seeds=config.seeds, batch=config.batch, most=config.most)
    weights = weights_of(config.weights)
    arms = [word.strip() for word in config.method.split(",") if word.strip()]
    for arm in {*arms, *weights}:
        adapting(arm, ["b1", "b2"], weights.get(arm))  # raises now, not after the first runs
    files = (config.source, config.target, config.test)
    if config.speech and any(files):
        raise ValueError("--speech is embedded: leave out --source, --target and --test")
    if any(files):
        shift = read_shift(*files, config.most)
    elif config.speech:
        shift = spoken(config.channel, config.most, config.smoke)
    else:
        shift = written(config.most)

    def run(cell: Cell) -> dict[str, Any]:
        torch.manual_seed(cell.seed)
        model = shift.network(config.network)
        streams = shift.streams(model, cell.arm, config.batch, cell.seed)
        methods = {}
        if cell.arm in arms:
            blocks = list(model.trunk.blocks)
            methods[cell.arm] = adapting(cell.arm, blocks, weights.get(cell.arm))
        settings = replace(config.fit, seed=cell.seed)
        fitted = fit(model, streams, settings, methods=methods, show=False)
        return measure(shift, fitted, drawn=not cell.seed)

    key = [*files, config.speech and config.channel, config.smoke, config.weights, config.network]
    key += [config.batch, config.most, config.fit.decisive(), config.fit.log_every]
    folder = config.out / digest(*key) / "cells"
    every = dict.fromkeys([SOURCE_ONLY, *arms, TARGET_ONLY])
    cells = [Cell(arm, seed) for seed in range(config.seeds) for arm in every]
    results = study(cells, run, folder, title="domains")
    report = Report("domain_adaptation", config.fit.seed, {}, start_processes().num_processes)
    tell(report, results)
    report.notes += shift.notes
    report.publish(config, config.out, started)


if __name__ == "__main__":
    launch(main)
