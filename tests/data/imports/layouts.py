"""Sound files of known samples, and an import whose result is checked in every way that there is."""

from typing import NamedTuple

import numpy as np
import soundfile

from mtl.data.audio import read_audio
from mtl.data.check import find_defects
from mtl.data.importing import Choices, import_manifest
from mtl.data.imports import Ask
from mtl.data.manifest import read_manifest

HZ = 16000
_numbers = iter(range(10**6))


def sound(path, seconds=0.5, hz=HZ, channels=1):
    """Write noise that no other file holds; give the samples (n,), the mean of the channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(next(_numbers))
    samples = rng.integers(-9000, 9000, (round(seconds * hz), channels), dtype=np.int16)
    soundfile.write(path, samples, hz)
    return (samples / 32768).mean(axis=1)


def tone(path, seconds=0.5, hz=HZ):
    """Write a tone, for codecs that keep the shape only; give the samples (n,)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    turns = np.arange(round(seconds * hz)) / hz * (300 + 7 * next(_numbers))
    samples = 0.4 * np.sin(2 * np.pi * turns)
    opus = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, samples, hz, **opus)
    return samples


def heard(utterance, hz=HZ):
    """The samples that training would read."""
    return read_audio(utterance.audio, hz, utterance.offset, utterance.seconds)


def same(utterance, samples, hz=HZ):
    """Whether an utterance reads as `samples`, to 16 bits."""
    read = heard(utterance, hz)
    assert read.shape == samples.shape
    np.testing.assert_allclose(read, samples, atol=1 / 32768)
    return True


class Brought(NamedTuple):
    utterances: dict
    skips: list
    report: object

    @property
    def kinds(self):
        """The kinds of the skips, by place."""
        return {skip.where: skip.kind for skip in self.skips}

    def words(self, *names):
        """Some fields of all utterances, by id."""
        return {
            name: tuple(getattr(utterance, field) for field in names)
            for name, utterance in self.utterances.items()
        }


def bring(name, source, out=None, lang="", untranscribed=False, **asked):
    """Import, and check the manifest as a user would."""
    out = out or source.parent / "out" / "train.jsonl"
    skips = []
    report = import_manifest(
        name,
        Ask(str(source), **asked),
        out,
        Choices(lang, untranscribed),
        lambda report, skip: skips.append(skip) if skip else None,
    )
    utterances = read_manifest(out)
    assert report.kept == len(utterances)
    assert report.skips.total() == len(skips)
    if not untranscribed:
        defects = list(find_defects(out))
        assert not defects, defects
    if skips:
        assert len(report.skipped.read_text("utf-8").splitlines()) == len(skips)
    else:
        assert not out.with_suffix(".skipped.tsv").exists()
    return Brought({u.id: u for u in utterances}, skips, report)
