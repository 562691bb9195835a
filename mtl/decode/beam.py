"""Beam: prefix beam search for CTC, with an n-gram model, a lexicon and hot words. Graves et al. 2006."""

import gc
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.decode.hotwords import HotWords
from mtl.decode.lexicon import lexicon, spell_all
from mtl.decode.lm import SPACE, UNK, vocabulary
from mtl.head import Head, Prediction, Scores

Unit = Literal["auto", "words", "symbols"]
BLANK = 0
SPACES = (SPACE, "|", "\u2581")  # how models of symbols name a space
START = "\u2581"  # opens a word: it is the first character of a piece
FAR = -1e6  # log-probability of what cannot be; infinity would become NaN where two are added


@dataclass(frozen=True)
class Search:
    """How a beam search decides. Scores are natural logarithms, so that weights compare with probabilities.

    Raises ValueError for numbers out of range.
    """

    beam: int = 50
    """texts kept after each frame"""
    nbest: int = 1
    """texts given"""
    symbols: int = 20
    """symbols tried in each frame, the most probable"""
    threshold: float = 25.0
    """nats below the best text of a frame at which a text is dropped"""
    lm: str = ""
    """file of an n-gram model, ARPA or KenLM binary: see `mtl lm`"""
    unit: Unit = "auto"
    """what its n-grams are of; auto finds out"""
    lm_weight: float = 0.5
    """share of the model's log-probability in the score"""
    word_score: float = 0.0
    """added for each word; positive values make up for the short texts that a model prefers"""
    lexicon: str = ""
    """file of the words that may be written, a line for each, with its symbols behind it where it is not
    spelled as written; without it, a model of words allows its own"""
    hotwords: tuple[str, ...] = ()
    """words, or several words in a row, that are expected"""
    hotword_weight: float = 5.0
    """added for each hot word found"""

    def __post_init__(self) -> None:
        for name in ("beam", "nbest", "symbols"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give 1 or more")
        if not 0 < self.threshold < -FAR:
            raise ValueError(f"threshold is {self.threshold}; give nats above 0, such as 25")
        for name in ("lm_weight", "word_score", "hotword_weight"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; give a finite number")
        if self.unit not in get_args(Unit):
            raise ValueError(f"unit is {self.unit!r}; choose from {', '.join(get_args(Unit))}")


class Hypothesis(NamedTuple):
    """A text that the search found, its score, how sure the head alone is (0 to 1), and its symbols."""

    text: str
    score: float
    confidence: float
    symbols: list[int]


class Beam:
    """A beam search to take the place of `CTC.predict`: `Scores` in, a `Prediction` for each example out.

    The score of a text is log p(symbols | sound), summed over all alignments, + `lm_weight` times
    log p(text) of the n-gram model, </s> included, + `word_score` for each word and `hotword_weight` for each
    hot word. A model of symbols scores the symbols one by one. A model of words, or a lexicon, allows
    nothing but its words, with spaces between them: texts that differ in how many spaces there are count as
    one. A head without a space then writes one word at most. Otherwise the symbols are free.

    The confidence is the head's alone, so that it does not depend on the weights: p(symbols | sound) to the
    power of one over their number. It is 0 where there are none, and where the sound ends inside a word of
    the lexicon, which is left out. Raises ImportError without the extra 'lm', ValueError for files that are
    missing or do not fit the head, `mtl.decode.lexicon.HotWordError` for hot words that it cannot spell.
    """

    def __init__(self, head: Head, search: Search | None = None) -> None:
        self.head, self.search = head, search or Search()
        self._symbols: list[str] = getattr(head, "symbols", [])
        if not self._symbols:
            raise ValueError(
                f"a {type(head).__name__} head has no symbols: a beam search needs CTC"
            )
        self._space = 1 + self._symbols.index(" ") if " " in self._symbols else 0
        self._gap = self._space or 1 + len(
            self._symbols
        )  # what ends a word: a column more if need be
        known = vocabulary(_file(self.search, "lm")) if self.search.lm else []
        by_words = bool(_file(self.search, "lexicon")) or self._is_of_words(known)
        if by_words and any(symbol.startswith(START) for symbol in self._symbols):
            raise ValueError(
                "a head of pieces cannot be held to words: give an n-gram model of its pieces "
                "(`mtl lm --unit symbols --model ...`)"
            )
        self._words: list[str] = []
        self._decoder = self._by_words(known) if by_words else self._by_symbols(set(known))

    def __call__(self, scores: Scores) -> list[Prediction]:
        """Decide: the best text of each example; an empty one where there are no frames."""
        return [
            Prediction(found[0].text, found[0].confidence) if found else Prediction("", 0.0)
            for found in self.hypotheses(scores)
        ]

    def hypotheses(self, scores: Scores) -> list[list[Hypothesis]]:
        """Give up to `nbest` texts of each example, the best first."""
        x = scores.x.detach().float().cpu()
        lengths = [x.shape[1]] * len(x) if scores.lengths is None else scores.lengths.tolist()
        return [self._search(row[:length]) for row, length in zip(x, lengths, strict=True)]

    def _search(self, logs: Tensor) -> list[Hypothesis]:
        """Search the frames (T, V) of one example."""
        if not len(logs):
            return []
        logs = logs.nan_to_num(nan=FAR).clamp(min=FAR)
        with _no_collection():
            (found,) = self._decoder(self._closed(logs)[None])
        best: dict[str, Hypothesis] = {}
        for one in found:
            symbols = self._tidy(one.tokens.tolist())
            sure = _confidence(logs, symbols) if one.score > FAR / 2 else 0.0
            words = " ".join(self._words[int(word)] for word in one.words)
            text = words if self._words else self.head.decode(torch.tensor(symbols))  # type: ignore
            best.setdefault(text, Hypothesis(text, one.score, sure, symbols))
        return list(best.values())

    def _closed(self, logs: Tensor) -> Tensor:
        """Add a frame that ends the last word, where the search is by words (T + 1, V or V + 1)."""
        if not self._words:
            return logs.contiguous()
        framed = F.pad(logs, (0, int(not self._space), 0, 1), value=FAR)
        framed[-1, self._gap] = 0.0
        return framed

    def _tidy(self, symbols: Sequence[int]) -> list[int]:
        """Take out the spaces that part no words."""
        if not self._words:
            return list(symbols)
        parts = [list(run) for gap, run in groupby(symbols, self._gap.__eq__) if not gap]
        between = [self._space] * bool(self._space)
        return [symbol for part in parts for symbol in (*part, *between)][: -len(between) or None]

    def _is_of_words(self, known: Sequence[str]) -> bool:
        """Say whether the n-grams are of words: they have no name for a space, or for most symbols."""
        if not known or self.search.unit != "auto":
            return bool(known) and self.search.unit == "words"
        names = set(known)
        if self._space:
            return not names.intersection(SPACES)
        return 2 * len(names.intersection(self._symbols)) < len(self._symbols)

    def _by_symbols(self, known: set[str]) -> Any:
        """Build the search over free symbols."""
        from mtl.decode.fusion import ctc_decoder

        search, head = self.search, self.head
        texts = ["", *(_text(head, number) for number in range(1, 1 + len(self._symbols)))]
        spelled = spell_all(search.hotwords, lambda word: head.encode(word).tolist())
        hotwords = ["".join(texts[number] for number in word).strip() for word in spelled]
        space = next((name for name in SPACES if name in known.difference(self._symbols)), "\0 ")
        names = ["\0", *(space if symbol == " " else symbol for symbol in self._symbols)]
        hot = HotWords(hotwords, search.hotword_weight, any(" " in text for text in texts))
        python = bool(hotwords) or search.word_score != 0
        lm = self._lm(names, texts, hot if python else None, search.word_score)
        # The blank as its silence: flashlight takes whatever is silence for said already at the start.
        return ctc_decoder(lexicon=None, sil_token="0", **lm, **self._options())

    def _by_words(self, known: Sequence[str]) -> Any:
        """Build the search over the words of the lexicon, or of the model."""
        from mtl.decode.fusion import ctc_decoder

        search = self.search
        entries, hotwords = lexicon(search.lexicon, known, search.hotwords, self.head)
        words = {entry.name: entry.text for entry in reversed(entries)}
        number = {name: str(index) for index, name in enumerate(words)}
        self._words = list(words.values())
        texts = [f"{text} " for text in self._words]
        hot = HotWords(hotwords, search.hotword_weight) if hotwords else None
        lm = self._lm([*words, UNK], [*texts, ""], hot, 0.0)
        lines = [" ".join([number[e.name], *map(str, e.spelling), str(self._gap)]) for e in entries]
        with tempfile.TemporaryDirectory() as folder:
            files = {"lexicon": str(Path(folder, "lexicon")), "lm_dict": str(Path(folder, "words"))}
            Path(files["lexicon"]).write_text("\n".join(lines))
            Path(files["lm_dict"]).write_text("\n".join([*number.values(), UNK]))
            more = {"sil_token": str(self._gap), "word_score": search.word_score}
            return ctc_decoder(**files, **lm, **more, **self._options())

    def _lm(
        self, names: list[str], texts: list[str], hot: HotWords | None, word_score: float
    ) -> dict[str, Any]:
        """Give KenLM, or in Python what it cannot do, and the weight of its scores."""
        from mtl.decode.fusion import LN10, Fusion, ken_lm

        lm = ken_lm(self.search.lm, names) if self.search.lm else None
        weight = LN10 * self.search.lm_weight
        if hot is None:
            return {"lm": lm, "lm_weight": weight}
        return {"lm": Fusion(texts, hot, lm, weight, word_score), "lm_weight": 1.0}

    def _options(self) -> dict[str, Any]:
        """Give what both searches have in common; symbols go by their numbers, which need no quoting."""
        search, most = self.search, max(self._gap, len(self._symbols))
        sizes = {"nbest": search.nbest, "beam_size": search.beam, "beam_size_token": search.symbols}
        tokens = [str(number) for number in range(most + 1)]
        limits = {"beam_threshold": search.threshold, "log_add": True, "blank_token": "0"}
        return {"tokens": tokens, **sizes, **limits}


def _file(search: Search, name: str) -> str:
    path: str = getattr(search, name)
    if path and not Path(path).is_file():
        raise ValueError(f"{name} {path!r}: no such file")
    return path


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let Python not look again and again for cycles among the many texts of a search: there are none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _text(head: Any, number: int) -> str:
    """Give what a symbol adds to a text, for hot words and to count words."""
    symbol: str = head.symbols[number - 1]
    text: str = head.decode(torch.tensor([number]))
    return f" {text.strip()}" if symbol == " " or symbol.startswith(START) else text


def _confidence(logs: Tensor, symbols: Sequence[int]) -> float:
    """Give the geometric mean, by symbol, of the probability that (T, V) spells the symbols."""
    if not symbols:
        return 0.0
    frames, count = torch.tensor([len(logs)]), torch.tensor([len(symbols)])
    loss = F.ctc_loss(logs[:, None], torch.tensor([symbols]), frames, count, BLANK, "sum")
    return min(math.exp(-loss.item() / len(symbols)), 1.0)
