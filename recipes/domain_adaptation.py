"""Domains: what is learnt from a labelled source is to hold for a target without labels. Which method helps?

    accelerate launch recipes/domain_adaptation.py
    accelerate launch recipes/domain_adaptation.py --control concept
    accelerate launch recipes/domain_adaptation.py --source mnist.npz --target mnist_m.npz --fit.steps 10000
    accelerate launch recipes/domain_adaptation.py --speech --target fsdd/train.jsonl --test fsdd/test.jsonl
    accelerate launch recipes/domain_adaptation.py --source amazon --target webcam --network FOLDER

"source-only" learns from the source, "target-only" from the target's labels, the methods from the source and
the target's inputs: in steps of as many labelled examples, and as many steps, with the same network. Only
target-only and the test see a label of the target.

The protocol is that of Ganin et al. 2016 (section 5.2 and figure 4a): their network for digits, the domain
classifier behind its convolutions, batches of 64 and 64, gradient descent with momentum 0.9 and rate 0.01 /
(1 + 10 p)^0.75, reversal by 2 / (1 + exp(-10 p)) - 1 at share p of the steps. Figures are of the last step:
800 with embedded digits, which with their colours are those of other libraries' benchmark; 10,000 between
sets of digits, over which tllib's reversal rises (the paper names none). Pixels lie between -1 and 1, as
tllib has them; the paper says "mean subtraction", but with each picture's mean taken off all six validators
were lower (DANN, seed 100, 3,000 steps). Weights are those of the papers: DDC 0.25, DAN 1, CMD 1, DANN 1, SDT
0.01; CORAL's asks for one that makes both losses alike in the end, which 1 does (0.075 and 0.067 with digits,
0.064 and 0.068 with speech, seed 100). Speech is learnt by a conformer, which plain gradient descent does not
train: AdamW, rate 0.001, 600 steps. It is heard at the lower sample rate of both domains, every utterance
normalised by itself. No target label chose any of this, and seed 100 is not reported.

With `--control` no method can repair the target: "concept" calls every class by the next one's name, "labels"
leaves a tenth of half of the classes, and of an embedded target neither colours nor channel: there is nothing
else to repair. Making the domains alike has to hurt there; the claims are turned round.
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
from mtl.problem import Recordings
from mtl.report import Report
from mtl.shift import (
    PUBLISHED,
    SMALL,
    SOURCE,
    SOURCE_ONLY,
    TARGET,
    TARGET_ONLY,
    Shift,
    adapting,
    for_speech,
    read_shift,
    weights_of,
)
from mtl.studies.contrived import controlled, heard, spoken, written
from mtl.study import contents, study
from mtl.together import refuse_none
from mtl.tune.domain_norm import domain_norm


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
    """embedded digits of synthetic voices (extra `corpus`) for source, and without --target for both"""
    channel: Literal["noisy", "telephone", "reverberant"] = "telephone"
    """what embedded speech of the target comes through"""
    control: Literal["", "concept", "labels"] = ""
    """a change of the target that no method can repair: classes renamed, or half of them made rare"""
    method: str = "ddc,dan,coral,cmd,dann,sdt"
    """methods of mtl/methods, comma separated"""
    weights: str = ""
    """their strengths where not their own, such as coral=10,sdt=0.1"""
    network: str = "lenet"
    """lenet or resnet; or a trunk that `mtl.pretrained` takes, with small --fit.lr"""
    statistics: Literal["separate", "joint", "own"] = "separate"
    """batch norm, where there is one: by each domain's batch, by both together, or with means of its own"""
    batch: int = 64
    """pictures, or utterances of average length, of each domain per step"""
    most: int = 10_000
    """test examples of each domain, at most"""
    seeds: int = 3
    """initial weights, and orders of the examples"""
    full: bool = False
    """five seeds"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/domain_adaptation")
    """folder for figures; a run started again with it does what is left"""
    fit: Fit = field(default_factory=lambda: replace(PUBLISHED, dry_run=False))
    """training; for speech other defaults, see above"""


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
    config.seeds = 5 if config.full else config.seeds
    refuse_none(seeds=config.seeds, batch=config.batch, most=config.most)
    weights = weights_of(config.weights)
    arms = [word.strip() for word in config.method.split(",") if word.strip()]
    for arm in {*arms, *weights}:
        adapting(arm, ["b1", "b2"], weights.get(arm))  # raises now, not after the first runs
    shift = choose(config)
    if isinstance(shift.source, Recordings):
        config.fit = for_speech(config.fit)

    def run(cell: Cell) -> dict[str, Any]:
        torch.manual_seed(cell.seed)
        model = shift.network(config.network)
        methods = {}
        if cell.arm in arms:
            blocks = list(model.trunk.blocks)
            methods[cell.arm] = adapting(cell.arm, blocks, weights.get(cell.arm))
            if config.statistics == "own":
                domain_norm(model, [SOURCE, TARGET])
        streams = shift.streams(model, cell.arm, config.batch, cell.seed)
        settings = replace(config.fit, seed=cell.seed, one_pass=config.statistics == "joint")
        fitted = fit(model, streams, settings, methods=methods, show=False)
        return measure(shift, fitted, drawn=not cell.seed)

    key = contents(*config.source, *config.target, *config.test)
    key += [config.speech and config.channel, config.smoke, config.weights, config.network]
    key += [config.control, config.statistics]
    key += [config.batch, config.most, config.fit.decisive(), config.fit.log_every]
    every = dict.fromkeys([SOURCE_ONLY, *arms, TARGET_ONLY])
    cells = [Cell(arm, seed) for seed in range(config.seeds) for arm in every]
    results = study(cells, run, config.out / digest(*key) / "cells", title="domains")
    report = Report("domain_adaptation", config.fit.seed, {}, start_processes().num_processes)
    tell(report, results, harmful=bool(config.control))
    report.notes += shift.notes
    report.publish(config, config.out, started)


def choose(config: Config) -> Shift:
    """Read or make the two domains."""
    files, bare = (config.source, config.target, config.test), config.control == "labels"
    if config.speech and (config.source or (config.test and not config.target)):
        raise ValueError("--speech is the source: leave out --source; --test goes with --target")
    if config.speech and config.target:
        shift = heard(config.target, config.test, config.most)
    elif config.speech:
        shift = spoken("" if bare else config.channel, config.most, config.smoke)
    elif any(files):
        shift = read_shift(*files, config.most)
    else:
        shift = written(config.most, coloured=not bare)
    shift = controlled(shift, config.control) if config.control else shift
    return shift.small() if config.network in SMALL else shift


if __name__ == "__main__":
    launch(main)
