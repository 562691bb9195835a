"""Fine-tuning: what to train of a pretrained trunk, and what keeps it from forgetting.

    accelerate launch recipes/fine_tune.py
    accelerate launch recipes/fine_tune.py --trunk facebook/wav2vec2-base --data train.jsonl --test test.jsonl

Without `--trunk` a small network learns drawn digits and capitals first; without `--data` it is then tuned
to handwritten digits. The ways stand in `mtl/ways.py`; each gets the same steps, rate and examples.

Results (commit e6f9e81, one core, 177 s; accuracy in per cent, mean of three choices of examples), and what
is left of the 97.5 % on drawn signs after 80 examples of each digit:

examples  scratch  head  last  first  full  l2sp    kl  lora  bitfit  lpft
2            67.9  62.6  73.5   67.4  72.2  70.3  73.4  70.2    62.8  73.1
5            81.8  75.8  84.7   79.0  85.2  83.0  84.8  83.9    76.1  86.2
20           93.8  84.6  93.8   88.5  94.6  94.3  94.1  93.1    85.4  94.4
80           98.4  86.5  97.7   90.6  98.5  98.1  98.1  96.3    87.1  97.8
signs         3.7  97.5  90.3   80.5  74.1  83.3  96.1  87.8    95.9  87.5

Fine-tuning (full) beats scratch: undecided with 2 (+4.3, -3.0 to 11.6), true with 5 (+3.5, 0.4 to 6.5) and
20 (+0.9, 0.5 to 1.2), undecided with 80 (0.0). It gains more with 2 than with 80: undecided.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.data.digits import digits, glyphs
from mtl.data.images import hold_out
from mtl.device import start_processes
from mtl.plots import curves
from mtl.pretrained import pretrained
from mtl.problem import Pictures, Problem, figures, kept, read_problem, trained
from mtl.report import Report
from mtl.study import Result, contents, study
from mtl.tally import differences, judge, lines, over_seeds, skips, tally
from mtl.ways import OLD, WAYS, onto, read_ways, refuse_unfit, tune


@dataclass
class Config:
    """Tune a pretrained trunk in several ways, with few and with more examples."""

    trunk: str = ""
    """folder or hub id, or torchvision:NAME, torchaudio:NAME; none trains one first"""
    data: list[Path] = field(default_factory=list)
    """a folder with a folder per class, an .npz file, or speech manifests, one or several"""
    test: list[Path] = field(default_factory=list)
    """the same to test on; none holds out a part"""
    known: list[Path] = field(default_factory=list)
    """test data of what the trunk's own head does, in the same form: shows what is forgotten"""
    ways: str = ",".join(WAYS)
    """what to compare, comma separated"""
    counts: str = "2,5,20,80"
    """training examples of each class (or language), comma separated; 0 is all"""
    k: int = 1
    """blocks that `first` and `last` train"""
    seeds: int = 3
    """choices of training examples"""
    keep: bool = False
    """save the tuned network of every run as well, in OUT/.../models"""
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
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "fine_tune")
    if config.smoke:
        config.counts, config.seeds, config.fit.steps, config.source.steps = "2", 1, 2, 2
    words, ways = config.counts.split(","), read_ways(config.ways)
    if config.seeds < 1 or not all(word.strip().isdecimal() for word in words):
        found = f"--counts {config.counts!r} --seeds {config.seeds}"
        raise ValueError(f"{found}: give numbers such as 2,20, and at least 1 seed")
    counts = sorted({*map(int, words)}, key=lambda count: (not count, count))  # all are the most
    bench = Bench(config, ways, counts)
    report = Report("fine_tune", config.fit.seed, {}, start_processes().num_processes)
    report.notes.append(bench.what)
    if bench.head is None and "kl" in ways and len(ways) > 1:
        ways.remove("kl")
        report.notes.append("kl is left out: the trunk came without a head")
    cells = [Cell(w, c, seed) for c in counts for seed in range(config.seeds) for w in ways]
    results = study(cells, bench.run, bench.folder / "cells", title="fine-tuning")
    _tell(report, results, bench.problem.metric, counts)
    report.notes += skips(results, "skipped", "test examples, which count as errors")
    report.notes += [*skips(results, "untrained", "training examples"), *bench.problem.notes]
    report.publish(config, config.out, started)


class Bench:
    """Runs cells, in a folder of their own for every choice of settings."""

    def __init__(self, config: Config, ways: list[str], counts: list[int]) -> None:
        self.config, self.name, known = config, config.trunk, config.known
        train, test = hold_out(digits(), 0.5)
        given = read_problem(config.data, config.test) if config.data else None
        self.problem: Problem = given or Pictures(train, test[:50] if config.smoke else test)
        self.source: Problem | None = read_problem(known, known) if known else None
        if 0 not in counts:
            self.problem.few(counts[0], 0)  # without the fewest examples every run would fail
        key = [config.trunk, config.data, config.test, config.k, config.smoke, *known]
        key += contents(*config.data, *config.test)
        self.folder = config.out / digest(*key, config.fit.decisive(), config.source.decisive())
        if not self.name:
            if known or self.problem.stream != "images":
                raise ValueError("the small network sees signs: --known and speech need --trunk")
            self.source = Pictures(*hold_out(glyphs(100 if config.smoke else 4000), 0.2))
            self.name = str(self.folder / "source")
            refuse_unfit(*self.problem.network(), self.problem, ways, config.k)
            trained(Path(self.name), self.source, config.source)
        stem, trunk, self.head, self.what = pretrained(self.name)
        refuse_unfit(stem, trunk, self.problem, ways, config.k)
        if known and self.head is None:
            raise ValueError(f"--known tests a head, but there is none: {self.what}")

    def run(self, cell: Cell) -> dict[str, Any]:
        """Tune in the cell's way; evaluate on the target and, where it is ours, on the source."""
        torch.manual_seed(cell.seed)
        model, problem = onto(self.name, self.problem), self.problem
        items = problem.few(cell.count, cell.seed)
        settings = replace(self.config.fit, seed=cell.seed)
        skipped = tune(model, problem, items, cell.way, settings, self.config.k)
        if self.config.keep:
            kept(self.folder / "models" / f"{cell.way}-{cell.count}-{cell.seed}", lambda: model)
        found = figures(model, problem, problem.test) | {"untrained": skipped}
        if self.source is not None:
            found[OLD] = figures(model, self.source, self.source.test, OLD)
        return found


def _tell(report: Report, results: list[Result], metric: str, counts: list[int]) -> None:
    """Add the table, the curves and the claims."""
    for row, figure in (("{way}", "value"), ("source after {way}", OLD)):
        tally(report, results, row.format_map, lambda c: f"{c['count'] or 'all'} examples", figure)
    plotted = lines([result for result in results if result.cell["count"]], "count", "way")
    plot = curves(plotted, "training examples", metric, percent=True)
    report.figures.append((plot, "mean and range over seeds"))
    if not {"full", "scratch"} <= {result.cell["way"] for result in results}:
        return
    better, worse = ("full", "scratch") if metric == "accuracy" else ("scratch", "full")
    gains = []
    for count in counts:
        a, b = {"way": better, "count": count}, {"way": worse, "count": count}
        text = f"fine-tuning beats scratch with {count or 'all'} examples"
        report.claims.append(judge(text, results, a, b))
        gains.append(differences(results, a, b))
    text = f"it gains more with {counts[0]} examples than with {counts[-1] or 'all'}"
    more = [gain - gains[-1][seed] for seed, gain in gains[0].items() if seed in gains[-1]]
    report.claims += [over_seeds(text, more)] if len(counts) > 1 else []


if __name__ == "__main__":
    launch(main)
