"""Unheard: words that nobody said in training are told by how they are pronounced; also in new languages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtl.articulation import articulation, nearest
from mtl.config import Fit
from mtl.data import espeak
from mtl.data.augment import Augment
from mtl.data.cache import Cache
from mtl.data.manifest import Utterance
from mtl.data.render import spoken_code
from mtl.data.speech import Speech, choose_subsample, raw_labels, screen
from mtl.decode.candidates import Candidates
from mtl.fit import Fitted, fit
from mtl.head import Head, Prediction, Scores, Task
from mtl.heads.ctc import CTC
from mtl.heads.phoneme import Phoneme
from mtl.heads.upm import UPM
from mtl.languages import SPEECH
from mtl.model import Model
from mtl.phones import WORD, phones
from mtl.predict import predict
from mtl.stems.logmel import LogMel
from mtl.stream import Stream
from mtl.trunks.conformer import Conformer
from mtl.vocabulary import make_head

CHARS, PHONEMES, ATTRIBUTES = "chars", "phonemes", "attributes"  # what is written
TASK, INNER = "said", 0.33  # weight of the head on an inner block
SHOWN = 5  # words of which one may be right
Spellings = dict[str, list[list[int]]]


@dataclass
class Ear:
    """The network that hears."""

    dim: int = 144
    """width of the trunk"""
    depth: int = 4
    """conformer blocks"""
    dropout: float = 0.1
    """dropout"""
    seconds: float = 36.0
    """audio per step"""
    speeds: tuple[float, ...] = (1.0,)
    """speeds at which training utterances are played, multiples of 0.05"""

    def __post_init__(self) -> None:
        for name in ("dim", "depth", "seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"ear.{name} is {getattr(self, name)}; it must be above 0")
        Augment(speeds=tuple(self.speeds))  # raises for speeds that cannot be


def listener(kind: str, utterances: Sequence[Utterance], ear: Ear) -> Model:
    """Build an untrained network with one CTC head for all languages, on the trunk's end and on block b2.

    It writes characters, phones, or phones by their attributes. Drawn from torch's random state.
    """
    label = "text" if kind == CHARS else "phonemes"
    said = [str(raw_labels(utterance)[label]) for utterance in utterances]
    head = make_head(said, "chars" if kind == CHARS else "phones")
    if kind == ATTRIBUTES:
        head = UPM(head.symbols, articulation(head.symbols))
    needs = {u.id: head.needs(head.encode(text)) for u, text in zip(utterances, said, strict=True)}
    subsample, _ = choose_subsample(utterances, lambda utterance: needs[utterance.id])
    tasks = [Task(TASK, SPEECH, head, label=label)]
    if ear.depth > 2:
        inner = Task(f"{TASK}-b2", SPEECH, TASK, "b2", weight=INNER, label=label, auxiliary=True)
        tasks.append(inner)
    trunk = Conformer(ear.dim, ear.depth, dropout=ear.dropout)
    return Model({SPEECH: LogMel(ear.dim, subsample=subsample)}, trunk, tasks)


def learn(
    model: Model, utterances: Sequence[Utterance], ear: Ear, config: Fit, cache: Cache | None = None
) -> Fitted:
    """Train on the utterances that the model can use, with SpecAugment; languages in equal shares."""
    augment = Augment(2, 25, bin_masks=2, bins=15, speeds=tuple(ear.speeds), seed=config.seed)
    data = Speech(screen(utterances, model)[0], model, augment=augment, cache=cache)
    stream = Stream(data, ear.seconds, mix="uniform")
    return fit(model, {SPEECH: stream}, config, show=False)


def spellings(head: Head, words: Sequence[str], lang: str, alike: bool = True) -> Spellings:
    """Spell words, or numbers in words, in the symbols of a head: {word: [spelling, ...]}.

    A head of attributes is taken to the phones of these words first. Phones that another head lacks are
    replaced by the one that is made most alike, or where not `alike` left out, as letters are. Between words
    a space may be heard or not. Words that nothing is left of are no candidates; raises ValueError where
    none is.
    """
    assert isinstance(head, CTC)
    if not isinstance(head, Phoneme):
        return _some({word: [_letters(head, word)] for word in words})
    code = spoken_code(lang)
    cut = {word: phones(espeak.ipa(word, code), head.stress) for word in words}
    inventory = sorted({phone for each in cut.values() for phone in each} | {WORD})
    if isinstance(head, UPM):
        head.speak(inventory, articulation(inventory))
    known = [symbol for symbol in head.symbols if symbol != WORD]
    near = (
        nearest(inventory, known) if alike else dict(zip(head.symbols, head.symbols, strict=True))
    )
    near[WORD] = WORD
    number = {symbol: place for place, symbol in enumerate(head.symbols, 1)}
    found: Spellings = {}
    for word, each in cut.items():
        symbols = [near[phone] for phone in each if phone in near]
        whole = [number[symbol] for symbol in symbols if symbol in number]
        run = [number[symbol] for symbol in symbols if symbol != WORD]
        found[word] = [whole] if whole == run else [whole, run]
    return _some(found)


def _letters(head: CTC, word: str) -> list[int]:
    """Spell a word in the letters that a head has."""
    known = "".join(letter for letter in head.reference(word) if letter in head.symbols).strip()
    spelling: list[int] = head.encode(known).tolist() if known else []
    return spelling


def _some(found: Spellings) -> Spellings:
    """Drop the words that have an empty spelling."""
    kept = {word: ways for word, ways in found.items() if all(ways)}
    if not kept:
        raise ValueError(f"the head has none of the symbols of {', '.join(list(found)[:5])}")
    return kept


def recognise(
    model: Model,
    data: Speech,
    wanted: Sequence[str],
    candidates: Mapping[str, Sequence[Sequence[int]]],
) -> dict[str, Any]:
    """Tell which of the candidates each utterance is, and compare with the words `wanted`.

    Gives the accuracy, as `mtl.tally` takes it, with a row (right, 1, speaker) for each utterance, and
    under "top" that of the best five. What cannot be read counts as wrong.
    """
    search = Candidates(candidates)

    def best(scores: Scores) -> list[Prediction]:
        return [Prediction(words, 0.0) for words in search.best(scores, SHOWN)]

    answers = predict(model, data, SPEECH, tasks=[TASK], decoders={TASK: best})
    said = [answer.predictions[TASK].value if answer.predictions else [] for answer in answers]
    ranks = [
        words.index(word) if word in words else SHOWN
        for words, word in zip(said, wanted, strict=True)
    ]
    speakers = data.column("speaker")
    rates = {}
    for name, most in (("first", 1), ("top", SHOWN)):
        counts: list[Any] = [
            [float(rank < most), 1.0, who] for rank, who in zip(ranks, speakers, strict=True)
        ]
        value = sum(row[0] for row in counts) / len(counts)
        rates[name] = {"metric": "accuracy", "value": value, "n": len(counts), "counts": counts}
    return rates["first"] | {"top": rates["top"]}
