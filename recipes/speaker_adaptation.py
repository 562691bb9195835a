"""Speaker adaptation: a recogniser meets an unusual voice. Which layers should learn from it?

    accelerate launch recipes/speaker_adaptation.py
    accelerate launch recipes/speaker_adaptation.py --model runs/multilingual_asr/model --data speakers.jsonl

Each speaker's first utterances adapt a copy of the network, the others test it; what the copy then makes of
ordinary voices shows what was forgotten. Without `--model` a German network is trained first; without
`--data` the speakers are espeak-ng's whispered, creaky, aged, childlike and distorted voices.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mtl import Model
from mtl.checkpoint import digest
from mtl.config import Fit, launch, parse
from mtl.data.manifest import Utterance, read_manifest
from mtl.data.synthetic import FAR_VOICES, make_voice
from mtl.device import start_processes
from mtl.problem import Recordings, figures, languages, learn, trained
from mtl.report import Report
from mtl.study import study
from mtl.tally import over_examples, tally
from mtl.tune.layers import bottom, top

DEV_VOICES = ("zac", "klatt")  # chose steps and rate; never reported
WAYS = ("none", "input side", "top side", "all")


@dataclass
class Config:
    """Adapt a recogniser to one speaker after the other, by different layers."""

    model: str = ""
    """folder or hub id of a model that mtl saved; none trains a German one"""
    data: list[Path] = field(default_factory=list)
    """manifests of the speakers, with texts; none makes unusual voices"""
    voices: str = ",".join(voice for voice in FAR_VOICES if voice not in DEV_VOICES)
    """made voices, comma separated"""
    utterances: int = 10
    """of each speaker to adapt on; the others test"""
    smoke: bool = False
    """seconds instead of minutes, with figures that mean nothing"""
    out: Path = Path("runs/speaker_adaptation")
    """folder for figures and the network; a run started again with it does what is left"""
    fit: Fit = field(default_factory=lambda: Fit(steps=150, lr=3e-4, dry_run=False))
    base: Fit = field(default_factory=lambda: Fit(steps=1000, dry_run=False))


class Cell(NamedTuple):
    """One run."""

    way: str
    speaker: str


def main(argv: list[str] | None = None) -> None:
    """Get a network and speakers, adapt in every way, print and write one table."""
    started, config = time.monotonic(), parse(Config, (__doc__ or "").split("\n")[0], argv)
    if config.smoke:
        config.voices, config.utterances, config.fit.steps, config.base.steps = "whisper", 4, 2, 2
    clinic = Clinic(config)
    cells = [Cell(way, speaker) for speaker in clinic.speakers for way in WAYS]
    results = study(cells, clinic.run, clinic.folder / "cells", title="adapting")
    report = Report("speaker_adaptation", config.fit.seed, {}, start_processes().num_processes)
    tally(report, results, lambda c: c["speaker"], lambda c: c["way"])
    counts: dict[str, list[Any]] = {way: [] for way in WAYS}
    for result in results:
        found = (result.figures or {}).get("counts", [])
        counts[result.cell["way"]] += [[*row[:2], result.cell["speaker"]] for row in found]
    for way, rows in counts.items():
        rate = sum(row[0] for row in rows) / sum(row[1] for row in rows)
        report.comparisons[way]["all speakers"] = {"cer": rate, "n": len(rows)}
    tally(report, results, lambda c: "ordinary voices after it", lambda c: c["way"], "others")
    for better, worse in (("input side", "top side"), ("input side", "all"), ("all", "none")):
        claim = f"{better} has fewer errors than {worse}"
        report.claims.append(over_examples(claim, counts[worse], counts[better]))
    report.publish(config, config.out, started)


class Clinic:
    """Runs cells."""

    def __init__(self, config: Config) -> None:
        self.config = config
        fits = [fit.decisive() for fit in (config.fit, config.base)]
        key = digest(config.model, config.data, config.utterances, config.smoke, *fits)
        self.folder = config.out / key  # other settings give other figures
        self._corpus = (
            None if config.model else languages(counts=(24, 4) if config.smoke else (1500, 60))
        )
        self.model_folder = config.model or self._train()
        self.speakers = self._speakers()

    def _train(self) -> str:
        """Train the German network."""
        assert self._corpus is not None
        base = self.config.base
        folder = self.config.out / "networks" / digest(self.config.smoke, base.decisive())
        trained(folder, self._corpus[0], base)
        return str(folder)

    def _speakers(self) -> dict[str, list[Utterance]]:
        """Collect each speaker's utterances."""
        found: dict[str, list[Utterance]] = {}
        if self.config.data:
            for utterance in (u for path in self.config.data for u in read_manifest(path)):
                found.setdefault(utterance.speaker, []).append(utterance)
        else:
            known = {u.text for u in self._corpus[0].train} if self._corpus else set()
            count = (2 if self.config.smoke else 5) * self.config.utterances
            for voice in self.config.voices.split(","):
                found[voice] = read_manifest(make_voice("de", voice, count, exclude=known))
        if short := [name for name, said in found.items() if len(said) <= self.config.utterances]:
            raise ValueError(
                f"{short} have {self.config.utterances} utterances or fewer: none is left to test"
            )
        return found

    def run(self, cell: Cell) -> dict[str, Any]:
        """Adapt a copy to a speaker, and test it on the speaker and on ordinary voices."""
        said = self.speakers[cell.speaker]
        own = Recordings(said[: self.config.utterances], said[self.config.utterances :])
        model = Model.from_pretrained(self.model_folder)
        if cell.way != "none":
            if cell.way == "input side":
                bottom(model, 1)
            elif cell.way == "top side":
                top(model, 1)
            learn(model, own, own.train, self.config.fit)
        found = figures(model, own, own.test)
        if self._corpus:
            found["others"] = figures(model, self._corpus[0], self._corpus[0].test)
        return found


if __name__ == "__main__":
    launch(main)
