"""Fine-tuning: what to train of a pretrained trunk, and what keeps it from forgetting.

    accelerate launch recipes/fine_tune.py
    accelerate launch recipes/fine_tune.py --trunk facebook/wav2vec2-base --data train.jsonl --test test.jsonl
    accelerate launch recipes/fine_tune.py --trunk torchvision:resnet18/DEFAULT --data FOLDER --counts 10,100

Without `--trunk` a small network learns drawn digits and capitals first; without `--data` it is then tuned
to handwritten digits. The ways stand in `mtl/ways.py`; each gets the same steps, rate and examples.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtl import Model
from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.data.digits import digits, glyphs
from mtl.data.images import hold_out
from mtl.device import start_processes
from mtl.plots import curves
from mtl.pretrained import pretrained
from mtl.problem import Pictures, Problem, build, figures, kept, learn, read_problem
from mtl.report import Report
from mtl.study import Result, study
from mtl.tally import lines, over_seeds, tally
from mtl.ways import OLD, WAYS, onto, tune


@dataclass
class Config:
    """Tune a pretrained trunk in several ways, with few and with more examples."""

    trunk: str = ""
    """folder or hub id, or torchvision:NAME, torchaudio:NAME; none trains one first"""
    data: list[Path] = field(default_factory=list)
    """a folder with a folder per class, an .npz file, or speech manifests"""
    test: list[Path] = field(default_factory=list)
    """the same to test on; none holds out a part"""
    ways: str = ",".join(WAYS)
    """what to compare, comma separated"""
    counts: str = "2,5,20,80"
    """training examples of each class (or language), comma separated; 0 is all"""
    k: int = 1
    """blocks that `first` and `last` train"""
    seeds: int = 3
    """choices of training examples"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/fine_tune")
    """folder for figures and the trunk; a run started again with it does what is left"""
    fit: Fit = field(default_factory=lambda: Fit(steps=150, dry_run=False))
    source: Fit = field(default_factory=lambda: Fit(steps=600, lr=4e-3, dry_run=False))


class Cell(NamedTuple):
    """One run."""

    way: str
    count: int
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Get a trunk, run every way with every number of examples, print and write one table."""
    started, config = time.monotonic(), parse(Config, (__doc__ or "").split("\n")[0], argv)
    if config.smoke:
        config.counts, config.seeds, config.fit.steps, config.source.steps = "2", 1, 2, 2
    counts = [int(count) for count in config.counts.split(",")]
    ways = [way.strip() for way in config.ways.split(",")]
    bench = Bench(config)
    cells = [Cell(w, c, seed) for c in counts for seed in range(config.seeds) for w in ways]
    results = study(cells, bench.run, bench.folder / "cells", title="fine-tuning")
    report = Report("fine_tune", config.fit.seed, {}, start_processes().num_processes)
    _tell(report, results)
    report.notes += [bench.what, *bench.problem.notes]
    report.publish(config, config.out, started)


class Bench:
    """Runs cells."""

    def __init__(self, config: Config) -> None:
        self.config = config
        given = read_problem(config.data, config.test) if config.data else None
        train, test = hold_out(digits(), 0.5)
        self.problem: Problem = given or Pictures(train, test[:50] if config.smoke else test)
        self.source: Problem | None = None
        self.trunk = config.trunk
        fits = [fit.decisive() for fit in (config.fit, config.source)]
        key = digest(config.trunk, config.data, config.test, config.k, config.smoke, *fits)
        self.folder = config.out / key  # other settings give other figures
        if not config.trunk:
            pictures = glyphs(100 if config.smoke else 4000)
            self.source, self.trunk = (
                Pictures(*hold_out(pictures, 0.2)),
                str(self.folder / "source"),
            )
            kept(Path(self.trunk), self._learn_source)
        self.what = pretrained(self.trunk).what

    def _learn_source(self) -> Model:
        assert self.source is not None
        torch.manual_seed(self.config.source.seed)
        model = build(self.source)
        learn(model, self.source, self.source.train, self.config.source)
        return model

    def run(self, cell: Cell) -> dict[str, Any]:
        """Tune in the cell's way; evaluate on the target and, where it is ours, on the source."""
        torch.manual_seed(cell.seed)
        model, problem = onto(self.trunk, self.problem), self.problem
        items = problem.few(cell.count, cell.seed)
        tune(
            model, problem, items, cell.way, replace(self.config.fit, seed=cell.seed), self.config.k
        )
        found = figures(model, problem, problem.test)
        if self.source is not None:
            found[OLD] = figures(model, self.source, self.source.test, OLD)["value"]
        return found


def _tell(report: Report, results: list[Result]) -> None:
    """Add the table, the curves and the claim."""
    tally(report, results, lambda c: c["way"], lambda c: f"{c['count']} examples")
    tally(report, results, lambda c: c["way"], lambda c: f"source after {c['count']}", OLD)
    plotted = lines(results, "count", "way")
    metric = next((r.figures["metric"] for r in results if r.figures), "")
    plot = curves(plotted, "training examples", metric, percent=True)
    report.figures.append((plot, "mean and range over seeds"))
    if {"full", "scratch"} <= set(plotted):
        sign = 1 if metric == "accuracy" else -1
        gains = {
            count: [sign * (a - b) for a, b in zip(full, plotted["scratch"][count], strict=True)]
            for count, full in plotted["full"].items()
        }
        few, many = min(gains), max(gains)
        for count in gains:
            text = f"fine-tuning beats scratch with {count:.0f} examples"
            report.claims.append(over_seeds(text, gains[count]))
        text = f"it gains more with {few:.0f} examples than with {many:.0f}"
        more = [a - b for a, b in zip(gains[few], gains[many], strict=True)]
        report.claims.append(over_seeds(text, more))


if __name__ == "__main__":
    launch(main)
