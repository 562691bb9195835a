"""Recogniser: the model that a set of utterances needs, CTC heads of its languages on one trunk."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from mtl.data.manifest import Utterance
from mtl.data.speech import choose_subsample
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.attention import Attention
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.heads.pieces import Pieces
from mtl.languages import PHONEMES, SPEECH
from mtl.load import takes_images
from mtl.members import LANG, numbers
from mtl.model import Model
from mtl.polyglot import BY_LANGUAGE, Told, by_language, untell
from mtl.registry import describe
from mtl.stems.frames import Frames
from mtl.stems.logmel import LogMel
from mtl.text import TextRules, normalise
from mtl.trunks.conformer import Conformer
from mtl.vocabulary import TEXTS, ctc_head, make_head, parse_symbols, renewed, replace_head

TARGETS = ("chars", "phonemes", "both")
INNER = 0.33  # weight of heads on inner blocks
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
    """width of precomputed frames; 0 computes log-mel bins from audio, 80, or 40 below 16 kHz"""
    hz: int = 16000
    """sampling rate of the audio; 8000 suits telephones, which carry half the spectrum"""
    trunk: str = ""
    """folder or hub id of a pretrained trunk, which takes the place of the conformer and of the stem"""
    init: str = ""
    """folder or hub id of a saved recogniser to go on from: its trunk, and the heads of these languages"""
    symbols: str = "chars"
    """what texts are spelled in: chars, or bpe:500 or unigram:500 for so many pieces of words; with `init`,
    chars leaves the saved heads as they are"""
    target: Literal["chars", "phonemes", "both"] = "chars"
    """what is learnt: symbols of texts; phonemes, which need a lexicon to become texts; or texts at the top
    and phonemes on the inner blocks"""
    shared: bool = False
    """one head, with one set of symbols, for all languages; its task is called text"""
    attention: float = 0.0
    """weight of an attention decoder beside each CTC head, such as 0.3; 0: none"""
    language: str = "none"
    """what tells the trunk which language it hears: vector, adapter, lhuc or none; with `init`, none leaves
    a saved model's as it is"""

    def __post_init__(self) -> None:
        least = {"dim": 1, "depth": 1, "subsample": 0, "bins": 0, "hz": 1000, "attention": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"net.{name} is {getattr(self, name)}; give {low} or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"net.dropout is {self.dropout}; it is a share, 0 to below 1")
        if self.target not in TARGETS:
            raise ValueError(f"net.target is {self.target!r}; choose from {', '.join(TARGETS)}")
        if self.target == "phonemes" and (self.shared or self.symbols != "chars"):
            raise ValueError(
                "net.target phonemes has no symbols of texts: leave net.symbols and net.shared out"
            )
        if self.target == "both" and not self.inner:
            raise ValueError("net.target both needs an inner block for the phonemes: net.inner b2")
        if self.language not in ("none", *BY_LANGUAGE):
            known = ", ".join(("none", *BY_LANGUAGE))
            raise ValueError(f"net.language is {self.language!r}; choose from {known}")
        if self.trunk and self.init:
            raise ValueError(f"net.trunk {self.trunk} and net.init {self.init}: give one")
        parse_symbols(self.symbols, TEXTS, "net.symbols")

    def shrink(self, dim: int, depth: int) -> None:
        """Make it tiny, unless it goes on from one that was made before."""
        if not (self.trunk or self.init):
            self.dim, self.depth = dim, depth


def recogniser(
    utterances: Sequence[Utterance], net: Net | None = None, rules: TextRules | None = None
) -> tuple[Model, list[str]]:
    """Build an untrained model for the languages of `utterances`; the list says what was chosen.

    Each language gets a head with its own symbols, those of its training texts, unless one is shared. With
    several languages a head tells them apart. Heads on inner blocks are shared with the outer ones
    (intermediate CTC, Lee and Watanabe 2021) and only train, as do attention heads (see `mtl.joint`). Raises
    ValueError where a language has no text.
    """
    net, rules = net or Net(), rules or TextRules()
    langs = sorted({utterance.lang for utterance in utterances})
    if taken := [lang for lang in langs if lang in LABELS or "." in lang]:
        raise ValueError(f"languages {taken} in the manifest: write codes such as en or zh-tw")
    said = _ipa(utterances) if net.target == "phonemes" else _texts(utterances, rules)
    if net.shared:
        said = {"text": [text for lang in langs for text in said[lang]]}
    heads, notes = _heads(said, net, rules)
    told = None
    if net.init:
        saved, told, more = _known(net, heads, said)
        stem, trunk = saved.stem(SPEECH), saved.trunk
    else:
        stem, trunk, more = _encoders(utterances, net, heads)
    tasks = [Task(name, SPEECH, head) for name, head in heads.items()]
    if net.init or net.trunk:
        _refuse_other_sizes(net, stem, trunk)
    auto = "b2" if "b2" in trunk.blocks and not net.trunk else ""
    blocks = (auto if net.inner == "auto" else net.inner).split(",")
    within = _heads(_ipa(utterances), net, rules)[0] if net.target == "both" else {}
    tasks += _inner(within or heads, [block for block in blocks if block], within)
    for name, head in heads.items() if net.attention else ():
        beside = Attention(describe(head), dropout=net.dropout)
        task = Task(f"{name}-attention", SPEECH, beside, weight=net.attention, label=name)
        tasks.append(task._replace(auxiliary=True))
    if len(langs) > 1:
        tasks.append(Task("language", SPEECH, Classify(langs), weight=0.1))
    model = Model({SPEECH: stem}, trunk, tasks)
    if told is not None:
        by_language(model, told.way, langs)
        told.give(model)
    elif len(langs) > 1 and net.language != "none":
        by_language(model, net.language, langs)
    elif net.language != "none":
        more = [
            *more,
            f"net.language {net.language} tells nothing: {langs[0]} is the only language",
        ]
    return model, notes + more


def _texts(utterances: Sequence[Utterance], rules: TextRules) -> dict[str, list[str]]:
    """Give the texts of each language."""
    said: dict[str, list[str]] = {}
    for utterance in sorted(utterances, key=lambda utterance: utterance.lang):
        said.setdefault(utterance.lang, []).append(normalise(utterance.text, rules))
    if silent := [lang for lang, found in said.items() if not any(found)]:
        raise ValueError(f"no training utterance of {silent} has a text")
    return said


def _ipa(utterances: Sequence[Utterance]) -> dict[str, list[str]]:
    """Give the phonemes of each language, by task."""
    said: dict[str, list[str]] = {}
    for utterance in sorted(utterances, key=lambda utterance: utterance.lang):
        if not utterance.phonemes:
            raise ValueError(
                f"{utterance.where}: no phonemes to learn; give them in IPA, or net.target chars"
            )
        said.setdefault(f"{utterance.lang}{PHONEMES}", []).append(utterance.phonemes)
    return said


def _heads(
    said: Mapping[str, list[str]], net: Net, rules: TextRules
) -> tuple[dict[str, CTC], list[str]]:
    """Make the head of each task, and say which has fewer pieces than asked for."""
    wanted = parse_symbols(net.symbols).size
    kept = None if rules == TextRules() else asdict(rules)
    heads, notes = {}, []
    for name, lines in said.items():
        symbols = "phones" if name.endswith(PHONEMES) else net.symbols
        try:
            heads[name] = head = make_head(lines, symbols, kept)
        except ValueError as error:
            raise ValueError(f"symbols of {name}: {error}") from error
        if symbols == net.symbols and len(head.symbols) < wanted:
            notes.append(f"{name}: {len(head.symbols)} pieces, as its texts hold no more")
    return heads, notes


def _inner(heads: Mapping[str, CTC], blocks: Sequence[str], owned: Mapping[str, CTC]) -> list[Task]:
    """Let heads learn on inner blocks: shared with the tasks above, or `owned` by the first block."""
    tasks = []
    for block in blocks:
        for name in heads:
            if name in owned and block == blocks[0]:
                tasks.append(Task(name, SPEECH, owned[name], block, weight=INNER))
                continue
            task = Task(f"{name}-{block}", SPEECH, name, block, weight=INNER, label=name)
            tasks.append(task._replace(auxiliary=True))
    return tasks


def _known(
    net: Net, heads: dict[str, CTC], said: Mapping[str, list[str]]
) -> tuple[Model, Told | None, list[str]]:
    """Load a model, and put those of its heads that know a language in the place of new ones.

    A head gets rows for symbols that it lacks. What tells the trunk languages is taken out, and given.
    Raises ValueError where the model is no plain recogniser, or `net` asks for another one.
    """
    saved, notes = Model.from_pretrained(net.init), [f"goes on from {net.init}"]
    told = untell(saved) if LANG in numbers(saved) else None
    if saved.edits or SPEECH not in saved.streams:
        what = ", ".join(edit["name"] for edit in saved.edits) or ", ".join(saved.streams)
        raise ValueError(
            f"net.init {net.init} is no plain recogniser: it has {what}; try net.trunk"
        )
    if told is not None and net.language not in ("none", told.way):
        raise ValueError(
            f"net.language is {net.language}, but {net.init} has {told.way}: leave it out"
        )
    for name in heads:
        if name not in saved.tasks:
            notes.append(f"{name}: new head")
            continue
        head = ctc_head(saved, name)
        kept = net.symbols == Net.symbols and isinstance(head, Pieces)
        if kept:
            notes.append(f"{name}: {len(head.symbols)} pieces, as saved")
        elif type(head) is not type(heads[name]):
            raise ValueError(
                f"net.init: the head {name!r} is a {type(head).__name__}, net.symbols asks for a "
                f"{type(heads[name]).__name__}; see `mtl symbols`"
            )
        grown = renewed(head, said[name], add=True)
        if len(grown.symbols) > len(head.symbols):
            notes.append(str(replace_head(saved, name, grown)))
        heads[name] = ctc_head(saved, name)
    return saved, told, notes


def _refuse_other_sizes(net: Net, stem: Encoder, trunk: Encoder) -> None:
    """Raise ValueError for a size that was asked for, and that a network made before does not have."""
    has = {
        "dim": trunk.dim,
        "depth": len(trunk.blocks),
        "dropout": getattr(trunk, "dropout", None),
        "subsample": getattr(stem, "subsample", None),
        "bins": stem.bins if isinstance(stem, Frames) else 0,
        "hz": getattr(stem, "hz", None),
    }
    for name, own in has.items():
        asked = getattr(net, name)
        if asked not in (getattr(Net, name), own):
            raise ValueError(
                f"net.{name} is {asked}, but {net.init or net.trunk} has {own}: leave it out"
            )


def _needs(utterance: Utterance, heads: Mapping[str, CTC]) -> int:
    """Count the frames that spelling an utterance takes; 0 where it has no text."""
    head = heads.get(utterance.lang) or heads.get("text")
    if head is None:
        head, label = heads[f"{utterance.lang}{PHONEMES}"], utterance.phonemes
    else:
        label = head.reference(utterance.text)
    return head.needs(head.encode(label)) if label else 0


def _encoders(
    utterances: Sequence[Utterance], net: Net, heads: Mapping[str, CTC]
) -> tuple[Encoder, Encoder, list[str]]:
    """Build the stem and trunk, or load them."""
    if net.trunk:
        from mtl.pretrained import pretrained  # takes seconds: it imports transformers

        found = pretrained(net.trunk)
        if takes_images(found.stem):
            raise ValueError(f"trunk {net.trunk} sees pictures; the data are speech")
        return found.stem, found.trunk, [f"trunk {found.what}"]
    subsample, notes = choose_subsample(utterances, lambda u: _needs(u, heads))
    subsample = net.subsample or subsample
    notes = [f"{note}: {subsample}x is taken" for note in notes]
    frames = Frames(net.bins, net.dim, subsample) if net.bins else None
    stem = frames or LogMel(net.dim, net.hz, 80 if net.hz >= 16000 else 40, subsample)
    return stem, Conformer(net.dim, net.depth, dropout=net.dropout), notes
