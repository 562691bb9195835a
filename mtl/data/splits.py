"""Splits: train, dev and test utterances of several languages, from manifests or the own corpus."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mtl.data.manifest import ManifestError, Utterance, hold_out, read_manifest

CORPUS = "en=1500,de=1500,fr=1500,es=1500,it=1500"
SMALL = 12  # utterances per language of a smoke run


@dataclass
class Source:
    """Where a recipe's utterances come from: its first settings."""

    data: list[Path] = field(default_factory=list)
    """training manifests (JSON lines), one or several; none makes the embedded corpus"""
    dev: list[Path] = field(default_factory=list)
    """manifests that choose the weights; none holds out a tenth of the training data"""
    test: list[Path] = field(default_factory=list)
    """manifests to report on; none reports on the dev part, and says so"""
    hold_out: Literal["speakers", "utterances"] = "speakers"
    """what the dev part holds out where none is given"""
    languages: str = ""
    """comma separated, each with =COUNT to cap it; default: all of `data`, or the corpus' own"""
    low_resource: str = ""
    """language=COUNT that gets little training data; the embedded corpus takes nl=60"""
    smoke: bool = False
    """seconds instead of minutes: a tiny corpus, network and few steps, whatever else is asked"""

    def read(self) -> "Splits":
        """Read manifests, or make the embedded corpus where `data` names none.

        Raises ManifestError for a language that the manifests lack or an id that two of them share.
        """
        own = not self.data
        low = parse_counts(self.low_resource or ("nl=60" if own else ""))
        if bare := [lang for lang, count in low.items() if not count]:
            raise ValueError(
                f"--low-resource {bare[0]}: give its training utterances, such as {bare[0]}=60"
            )
        caps = parse_counts(self.languages or (CORPUS if own else "")) | low
        if own:
            parts = _corpus(caps, self.smoke)
        else:
            wanted = set(caps) if self.languages else set()
            parts = [_read(paths, wanted) for paths in (self.data, self.dev, self.test)]
        _check_languages(parts[0], caps)
        notes = []
        if not parts[1]:
            parts[0], parts[1] = hold_out(parts[0], speakers=self.hold_out == "speakers")
            notes.append(_held_out(parts[0], parts[1], self.hold_out))
        if not parts[2]:
            parts[2] = parts[1]
            notes.append("no test manifest: the figures are of dev, which chose the weights")
        parts[0] = _capped(parts[0], caps)
        notes += _only_trained(parts, low)
        notes += _leaks(parts[0], parts[2])
        return Splits(parts[0], parts[1], parts[2], low, notes)


@dataclass(frozen=True)
class Splits:
    """Utterances by part; `low` caps the training data of some languages; `notes` say what was done."""

    train: list[Utterance]
    dev: list[Utterance]
    test: list[Utterance]
    low: Mapping[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def languages(self) -> list[str]:
        """List the languages of the training part."""
        return sorted({utterance.lang for utterance in self.train})

    def only(self, *languages: str) -> "Splits":
        """Keep some languages."""
        train, dev, test = (
            [utterance for utterance in part if utterance.lang in languages]
            for part in (self.train, self.dev, self.test)
        )
        return replace(self, train=train, dev=dev, test=test)


def parse_counts(text: str) -> dict[str, int]:
    """Read "en=1500,nl": no count (0) is no cap.

    >>> parse_counts("en=1500,nl")
    {'en': 1500, 'nl': 0}
    """
    counts = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        lang, _, count = part.partition("=")
        if count and not (count.isdigit() and int(count)):
            raise ValueError(f"{part!r}: write language=utterances, such as nl=60")
        counts[lang] = int(count or 0)
    return counts


def _held_out(train: Sequence[Utterance], dev: Sequence[Utterance], by: str) -> str:
    """Say how many utterances were held out by what, and of which languages not by whole speakers."""
    note = f"dev: {len(dev)} training utterances held out by {by}"
    voices = ({(u.lang, u.speaker) for u in part} for part in (train, dev))
    langs = sorted({lang for lang, _ in set.intersection(*voices)}) if by == "speakers" else []
    more = f", by utterances where there are fewer than 3: {', '.join(langs)}"
    return note + (more if langs else "")


def _read(paths: Sequence[Path], wanted: set[str]) -> list[Utterance]:
    real = [path.resolve() for path in paths]
    if twice := [path for path, place in zip(paths, real, strict=True) if real.count(place) > 1]:
        raise ManifestError(f"{twice[-1]} is given twice: name each manifest once")
    found = [utterance for path in paths for utterance in read_manifest(path)]
    seen: dict[str, str] = {}
    for utterance in found:
        if utterance.id in seen:
            places = f"{seen[utterance.id]} and {utterance.where}"
            raise ManifestError(f"id {utterance.id!r} stands in {places}: give each its own")
        seen[utterance.id] = utterance.where
    return [utterance for utterance in found if not wanted or utterance.lang in wanted]


def _check_languages(train: Sequence[Utterance], wanted: Mapping[str, int]) -> None:
    known = sorted({utterance.lang for utterance in train})
    if missing := sorted(set(wanted) - set(known)):
        raise ManifestError(f"no training utterance in {missing}; there are: {', '.join(known)}")


def _only_trained(parts: list[list[Utterance]], low: Mapping[str, int]) -> list[str]:
    """Drop dev and test utterances of languages without training data, and say so.

    Raises ManifestError where nothing is left, or nothing of a low-resource language: better now than
    after the training.
    """
    trained = {utterance.lang for utterance in parts[0]}
    notes = []
    for place, name in ((2, "test"), (1, "dev")):
        kept = [utterance for utterance in parts[place] if utterance.lang in trained]
        left = Counter(u.lang for u in parts[place] if u.lang not in trained)
        parts[place] = kept
        if left:
            counts = ", ".join(f"{lang} {count}" for lang, count in sorted(left.items()))
            notes.append(f"{name}: left out utterances of languages not trained on: {counts}")
        found = {utterance.lang for utterance in kept}
        if missing := sorted(set(low) - found if found else trained):
            raise ManifestError(
                f"no {name} utterance of {missing}: give --{name} manifests that have some"
            )
    return notes


def _corpus(caps: Mapping[str, int], small: bool) -> list[list[Utterance]]:
    from mtl.data.espeak import check
    from mtl.data.synthetic import languages, make_corpus

    for lang, count in caps.items():
        check("language", lang, languages())
        if not count:
            raise ValueError(f"{lang}: the embedded corpus needs a count, such as {lang}=1500")
    counts = {lang: min(count, SMALL) for lang, count in caps.items()} if small else dict(caps)
    made = make_corpus(counts, dev=4, test=4) if small else make_corpus(counts)
    return [read_manifest(path) for path in made.values()]


def _capped(utterances: Sequence[Utterance], caps: Mapping[str, int]) -> list[Utterance]:
    """Keep a fixed random choice of each capped language, whatever the order of the manifest."""
    kept: set[str] = set()
    for lang in {utterance.lang for utterance in utterances}:
        ids = sorted((u.id for u in utterances if u.lang == lang), key=_shuffled)
        kept.update(ids[: caps.get(lang) or len(ids)])
    return [utterance for utterance in utterances if utterance.id in kept]


def _shuffled(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def _leaks(train: Sequence[Utterance], test: Sequence[Utterance]) -> list[str]:
    """Say how many test texts also occur in training: such figures measure memory as well."""
    known = {(utterance.lang, utterance.text) for utterance in train if utterance.text.strip()}
    count = sum((utterance.lang, utterance.text) in known for utterance in test)
    return [f"{count} of {len(test)} test texts also occur in training"] if count else []
