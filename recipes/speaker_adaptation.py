"""Speaker adaptation: a recogniser gets better for one person from a few utterances. Which way is best?

    accelerate launch recipes/speaker_adaptation.py
    accelerate launch recipes/speaker_adaptation.py --adapt lhuc,full --conservative 0.5
    accelerate launch recipes/speaker_adaptation.py --model DIR --data speakers.jsonl

A method is what learns (full input top bias lora lin lhuc adapter: see `mtl/adapt.py`), joined by + with
others and with kl, l2sp, unsupervised or replay. Every delta is tested on other utterances of the speaker,
and on other people as if they were this one: what was forgotten. Without `--model` it is what
recipes/multilingual_asr.py saved, trained first where that is absent; without `--data` the speakers are
espeak-ng's whispered, creaky, aged, childlike and distorted voices.

Results (one busy core, default model; CER in per cent, mean of whisper, whisperf, Demonic, kaukovalta,
UniRobot and ian, 40 utterances each, one seed; in brackets the delta on ordinary voices, which have 1.19
without it, as everybody has who is heard under another name; commit 18c5467, unsupervised 10a5531, with 40
utterances cfc3a9d):

utterances            0            1            5           10           40    kB
unadapted     20.4 (1.2)
lin                       8.3 (1.7)    4.3 (4.5)    3.5 (6.5)    2.9 (8.8)    26
input                    11.0 (1.4)    5.2 (1.9)    3.9 (2.2)    2.7 (2.5)  2165
full                     13.5 (1.4)    7.5 (2.1)    5.6 (2.3)    3.7 (2.2)  7981
full+kl                  17.5 (1.3)                 9.4 (1.4)    6.4 (1.5)  7981
top                      19.1 (1.2)                13.8 (1.7)   12.1 (1.7)  1950
lhuc                     19.2 (1.2)                16.2 (1.5)   15.1 (1.5)     2
lin+unsupervised                                   15.7 (2.1)   13.5 (2.6)    26
... with --settings.lm                              5.2 (4.0)                 26

The language model is a bigram of the words that the recogniser was trained on, by `mtl lm` (commit
0dc6997); one word in six of the test is not among them. Three draws of the utterances (cfc3a9d), 1 and 10
of them: lin 8.4 and 3.4, full 13.8 and 5.4. With 1 utterance also (95da692): lhuc+lin 8.3, lora 14.0,
full+replay 14.2, full+l2sp 14.6, adapter 16.6, input+kl 17.3, bias 18.2, lin+unsupervised 19.8,
lhuc+unsupervised 20.7 (0.3 more than without, -0.2 to 1.0 over voices): nothing harms beyond its interval.

The best closes 63, 84, 88 and 92 % of the gap to ordinary voices. True: input beats full with 10 (1.7, 0.9
to 2.8), full beats top with 10 (8.3, 2.8 to 15.3), lin beats full with 1 (three draws: 5.4, 2.0 to 10.1)
and with 5 (3.2, 1.1 to 5.4). False: lhuc beats full with 1 (-5.7, -12.0 to -0.5), full+kl beats full with
40 (-2.7, -5.4 to -0.8).
The default, two voices by three methods, took 236 s on two idle cores (efb49b6).
"""

import time
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from mtl import Model
from mtl.adapt import Adapt, read_method
from mtl.checkpoint import digest
from mtl.config import launch, parse
from mtl.delta import parts
from mtl.device import start_processes
from mtl.plots import curves
from mtl.report import Report
from mtl.speakers import VOICES, advice, made_speakers, paired, read_speakers, refuse_strange, treat
from mtl.study import Result, contents, study
from mtl.tally import lines, over_examples, tally

METHODS = (
    "full,input,top,bias,lora,lin,lhuc,adapter,lhuc+lin,full+kl,full+l2sp,full+replay,input+kl,"
    "input+unsupervised,lhuc+unsupervised"
)
CLAIMS = [  # fewer errors, more errors, with how many utterances
    *(("input", "full", 10), ("full", "top", 10), ("lhuc", "full", 1), ("lhuc", "full", 5)),
    *(("lin", "full", 1), ("lin", "full", 5), ("full+kl", "full", 40), ("full+kl", "lhuc", 40)),
]


@dataclass
class Config:
    """Adapt a recogniser to one speaker after the other, by several methods, with few and many utterances."""

    model: str = ""
    """folder or hub id of a model that mtl saved; none takes runs/multilingual_asr/model"""
    data: list[Path] = field(default_factory=list)
    """manifests of the speakers to adapt to, with texts; none makes unusual voices"""
    test: list[Path] = field(default_factory=list)
    """manifests of these speakers and of others to test on; none keeps half of what each said"""
    source: list[Path] = field(default_factory=list)
    """manifests that the model was trained on, for replay"""
    lang: str = "de"
    """language of the made voices"""
    voices: str = "whisper,ian"
    """made voices, comma separated"""
    adapt: str = "lin,input,full"
    """methods to compare, comma separated"""
    counts: str = "1,5,10,40"
    """utterances to adapt with, comma separated"""
    conservative: float = 0.0
    """share of the unadapted posteriors in what every method learns"""
    seeds: int = 1
    """choices of utterances"""
    full: bool = False
    """all methods, ten voices, three seeds: hours"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/speaker_adaptation")
    """folder for figures; a run started again with it does what is left"""
    settings: Adapt = field(default_factory=Adapt)


class Cell(NamedTuple):
    """One run."""

    method: str
    speaker: str
    count: int
    seed: int


def main(argv: list[str] | None = None) -> None:
    """Get a network and speakers, adapt in every way, print and write one table."""
    started, about = time.monotonic(), (__doc__ or "").split("\n")[0]
    config = parse(Config, about, argv, "speaker_adaptation")
    if config.full:
        config.adapt, config.seeds, config.voices = METHODS, 3, ",".join(VOICES)
    if config.smoke:
        config.counts, config.settings.steps = "1,2", 2
        config.voices = config.voices.split(",")[0]
    config.settings.conservative = config.conservative or config.settings.conservative
    words = [word.strip() for word in config.adapt.split(",")]
    methods = {word: read_method(word, config.settings) for word in words}
    numbers = [word.strip() for word in config.counts.split(",")]
    if config.seeds < 1 or not all(map(str.isdecimal, numbers)):
        found = f"--counts {config.counts!r} --seeds {config.seeds}"
        raise ValueError(f"{found}: give numbers such as 1,10, and at least 1 seed")
    counts = sorted({*map(int, numbers)} - {0})
    given, made = (config.data, config.test, config.source), (config.lang, config.voices.split(","))
    speakers = read_speakers(*given) if config.data else made_speakers(*made, config.smoke)
    base = Model.from_pretrained(config.model or recogniser(config))
    refuse_strange(base, speakers)

    def run(cell: Cell) -> dict[str, Any]:
        settings = replace(methods.get(cell.method, config.settings), seed=cell.seed)
        return treat(base, speakers, cell.speaker, cell.count, settings)

    cells = [Cell("none", name, 0, 0) for name in speakers.pools]
    cells += [
        Cell(method, name, count, seed)
        for count in counts
        for name, said in speakers.pools.items()
        for seed in range(config.seeds)
        for method in methods
        if count <= len(said)
    ]
    key = [parts(base, ["stems", "trunk"]), config.lang, *given, config.smoke]
    key += contents(*(path for paths in given for path in paths))
    folder = config.out / digest(*key, replace(config.settings, threads=0)) / "cells"
    results = study(cells, run, folder, title="adapting")
    report = Report("speaker_adaptation", config.settings.seed, {}, start_processes().num_processes)
    tell(report, results)
    report.publish(config, config.out, started)


def recogniser(config: Config) -> str:
    """Give the multilingual recipe's model, trained first where it is absent."""
    out = config.out.parent / ("multilingual_smoke" if config.smoke else "multilingual_asr")
    if not (out / "model").is_dir():
        smoke = ["--smoke"] if config.smoke else []
        import_module("multilingual_asr").main(["--no-baseline", "--out", str(out), *smoke])
    return str(out / "model")


def tell(report: Report, results: list[Result]) -> None:
    """Add the table, the curves, the advice and the claims."""
    for row, figure in (("{method}", "value"), ("others after {method}", "others")):
        tally(report, results, row.format_map, lambda c: f"{c['count']} utterances", figure)
    for figure, whose in (("value", "the speaker's own"), ("lost", "other people's")):
        plot = curves(lines(results, "count", "method", figure), "utterances", "cer", percent=True)
        report.figures.append((plot, f"{whose} errors: mean and range over voices and seeds"))
    report.notes += advice(results)
    for better, worse, count in CLAIMS:
        examples = paired(results, (worse, better), count)
        if examples[0]:
            claim = f"{better} has fewer errors than {worse} with {count} utterances"
            report.claims.append(over_examples(claim, *examples))


if __name__ == "__main__":
    launch(main)
