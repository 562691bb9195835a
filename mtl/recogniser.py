"""Recogniser: the model that a set of utterances needs, a CTC head per language on one trunk."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtl.data.manifest import Utterance
from mtl.data.speech import choose_subsample
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.load import takes_images
from mtl.model import Model
from mtl.stems.frames import Frames
from mtl.stems.logmel import LogMel
from mtl.text import TextRules, normalise, symbols
from mtl.trunks.conformer import Conformer

LABELS = {"text", "language", "speaker", "phonemes", "label"}  # names that other labels have


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
    inner: str = "auto"
    """blocks, comma separated, on which each head learns as well, at a third of its weight; auto: b2 of the
    conformer, none of a pretrained trunk"""
    bins: int = 0
    """width of precomputed frames; 0 computes 80 log-mel bins from audio"""
    trunk: str = ""
    """folder or hub id of a pretrained trunk, which takes the place of the conformer and of the stem"""

    def __post_init__(self) -> None:
        least = {"dim": 1, "depth": 1, "subsample": 0, "bins": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"net.{name} is {getattr(self, name)}; give {low} or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"net.dropout is {self.dropout}; it is a share, 0 to below 1")


def recogniser(
    utterances: Sequence[Utterance], net: Net | None = None, rules: TextRules | None = None
) -> tuple[Model, list[str]]:
    """Build an untrained model for the languages of `utterances`; the list says what was chosen.

    Each language gets its own symbols, those of its training texts. With several languages a head tells
    them apart. Heads on inner blocks are shared with the outer ones (intermediate CTC, Lee and Watanabe
    2021) and only train. Raises ValueError where a language has no text.
    """
    net, rules = net or Net(), rules or TextRules()
    texts: dict[str, list[str]] = {}
    for utterance in utterances:
        texts.setdefault(utterance.lang, []).append(normalise(utterance.text, rules))
    if silent := [lang for lang, found in texts.items() if not any(found)]:
        raise ValueError(f"no training utterance of {silent} has a text")
    if taken := sorted(lang for lang in texts if lang in LABELS or "." in lang):
        raise ValueError(f"languages {taken} in the manifest: write codes such as en or zh-tw")
    stem, trunk, notes = _encoders(utterances, net, rules)
    tasks = [Task(lang, "speech", CTC(symbols(texts[lang]))) for lang in sorted(texts)]
    auto = "" if net.trunk else "b2"
    blocks = (auto if net.inner == "auto" else net.inner).split(",")
    inner = [(lang, block) for block in blocks if block for lang in sorted(texts)]
    tasks += [
        Task(f"{lang}-{block}", "speech", lang, block, weight=0.33, label=lang, auxiliary=True)
        for lang, block in inner
    ]
    if len(texts) > 1:
        tasks.append(Task("language", "speech", Classify(sorted(texts)), weight=0.1))
    return Model({"speech": stem}, trunk, tasks), notes


def _encoders(
    utterances: Sequence[Utterance], net: Net, rules: TextRules
) -> tuple[Encoder, Encoder, list[str]]:
    """Build the stem and trunk, or load them."""
    if net.trunk:
        from mtl.pretrained import pretrained  # takes seconds: it imports transformers

        found = pretrained(net.trunk)
        if takes_images(found.stem):
            raise ValueError(f"trunk {net.trunk} sees pictures; the data are speech")
        return found.stem, found.trunk, [f"trunk {found.what}"]
    subsample, notes = choose_subsample(utterances, rules)
    subsample = net.subsample or subsample
    notes = [f"{note}: {subsample}x is taken" for note in notes]
    frames = Frames(net.bins, net.dim, subsample) if net.bins else None
    stem = frames or LogMel(net.dim, subsample=subsample)
    return stem, Conformer(net.dim, net.depth, dropout=net.dropout), notes
