"""Transitive: a target too far from its source is reached through domains in between.

    accelerate launch recipes/transitive.py
    accelerate launch recipes/transitive.py --data usps.npz mnist.npz mnist_m.npz

Only the source has labels. The chain of domains is chosen by proxy A-distances, each step at most `--close`,
and a classifier goes along it: at every domain it guesses, and learns anew from what it is surest of. Where
no chain is close enough, the transfer is refused. Beside it: the source's classifier as it is, the same in
one step to the target ("direct"), all domains at once, and one that learns from the target's labels.

Embedded are scikit-learn's digits, turned by 0 to 90 degrees in ten domains of different digits; capitals are
there to be passed by. A classical classifier does (support vectors on pixels), in seconds.
"""

import functools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mtl.checkpoint import digest
from mtl.config import launch, parse
from mtl.device import start_processes
from mtl.report import Report
from mtl.studies.transit import (
    ANGLES,
    ARMS,
    AT_ONCE,
    CHAIN,
    DIRECT,
    SOURCE_ONLY,
    Journey,
    read,
    turned,
)
from mtl.studies.varied import given
from mtl.study import Result, contents, study
from mtl.tally import judge, tally
from mtl.together import refuse_none


@dataclass
class Config:
    """Go from a labelled domain to a far one."""

    data: list[Path] = field(default_factory=list)
    """.npz files and folders of the same classes, a domain each; none turns digits"""
    source: str = ""
    """the domain whose labels are learnt from; none takes the first"""
    target: str = ""
    """the domain to reach; none takes the last"""
    close: float = 1.3
    """A-distance of a step, at most; domains that nothing tells apart have 0, the furthest 2"""
    most: int = 1000
    """pictures of a domain, at most"""
    seeds: int = 10
    """choices of pictures"""
    full: bool = False
    """50 choices of pictures"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/transitive")
    """folder for figures; a run started again with it does what is left"""


class Cell(NamedTuple):
    """One way, with one choice of pictures."""

    arm: str
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Choose the chain, go along it, and compare."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "transitive")
    if config.full:
        config.seeds = 50
    if config.smoke:
        config.seeds = 1
    refuse_none(seeds=config.seeds, most=config.most)
    if not 0 < config.close <= 2:
        raise ValueError(f"--close is {config.close}; A-distances are from 0 to 2")
    problems = given(config.data) if config.data else {}
    source = config.source or next(iter(problems), str(ANGLES[0]))
    target = config.target or next(reversed(problems), str(ANGLES[-1]))

    @functools.cache
    def journey(seed: int) -> Journey:
        known = turned(seed, config.smoke)
        if problems:
            known = read(problems, target, config.most, seed)
        return Journey(known, source, target, config.close, seed)

    def run(cell: Cell) -> dict[str, Any]:
        made = journey(cell.seed)
        return made.run(cell.arm) | {"refused": made.refusal() if cell.arm == CHAIN else ""}

    key = contents(*config.data)
    key += [source, target, config.close, config.most, config.smoke]
    folder = config.out / digest(*key) / "cells"
    cells = [Cell(arm, seed) for seed in range(config.seeds) for arm in ARMS]
    results = study(cells, run, folder, title="transitive")
    report = Report("transitive", 0, {}, start_processes().num_processes)
    _tell(report, results, f"{source} to {target}")
    report.publish(config, config.out, started)


def _tell(report: Report, results: list[Result], title: str) -> None:
    """Add the table, the chain, the refusal without one, and the claims."""
    tally(report, results, lambda cell: title, "{arm}".format_map)
    for name in ("way", "refused"):
        said = [figures[name] for _, figures, *_ in results if figures and figures[name]]
        if said and name == "way":
            report.notes.append(f"the first chain: {', '.join(said[0])}")
        elif said:
            report.notes.append(f"without domains in between: {said[0]}")
    for arm in (CHAIN, AT_ONCE, DIRECT):
        claim = f"{arm}: more of the target is right than by the source's classifier as it is"
        report.claims.append(judge(claim, results, {"arm": arm}, {"arm": SOURCE_ONLY}))
    claim = "chain: more of the target is right than in one step"
    report.claims.append(judge(claim, results, {"arm": CHAIN}, {"arm": DIRECT}))


if __name__ == "__main__":
    launch(main)
