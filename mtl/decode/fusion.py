"""Fusion: what a language model, hot words and the number of words add to the score of a growing text."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from mtl.decode.hotwords import HotWords

try:
    from flashlight.lib.text.decoder import LMState
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary
    from torchaudio.models.decoder import CTCDecoderLM, ctc_decoder
except (ImportError, RuntimeError) as error:
    raise ImportError("a beam search needs flashlight-text: pip install 'mtl[lm]'") from error

__all__ = ["Fusion", "ctc_decoder", "ken_lm"]
LN10 = math.log(10)  # KenLM gives decimal logarithms


def ken_lm(path: str, names: Sequence[str]) -> Any:
    """Load a KenLM model, ARPA or binary, as the decoder asks it: by the numbers of `names`.

    Raises ValueError for a file that KenLM cannot read.
    """
    try:
        with _silence():
            return KenLM(path, Dictionary(list(names)))
    except RuntimeError as error:
        raise ValueError(f"{path}: KenLM cannot read it: {str(error).splitlines()[-1]}") from error


@contextmanager
def _silence() -> Iterator[None]:
    """Keep KenLM's progress bar from the terminal; its errors are exceptions."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Node(LMState):  # type: ignore[misc]
    """A text so far: what the model and the hot words keep of it, and its continuations by number."""

    __slots__ = ("hot", "inside", "ken", "next")

    def __init__(self, ken: Any, hot: int, inside: bool) -> None:
        super().__init__()
        self.ken, self.hot, self.inside = ken, hot, inside
        self.next: dict[int, tuple[Node, float]] = {}


class Fusion(CTCDecoderLM):  # type: ignore[misc]
    """A language model in Python, for what KenLM alone cannot do: hot words, and a score for each word.

    The decoder's unit number n (a symbol, or a word of a lexicon) adds `texts[n]` to the text. `lm`, of
    `ken_lm`, scores the units, times `lm_weight`; None scores nothing. Over symbols the decoder asks once for
    each symbol that may follow a text of its beam: ten times slower than KenLM alone. Over words it is rare.
    """

    def __init__(
        self, texts: Sequence[str], hot: HotWords, lm: Any, lm_weight: float, word_score: float
    ) -> None:
        super().__init__()
        self._texts, self._hot = list(texts), hot
        self._lm, self._lm_weight, self._word_score = lm, lm_weight, word_score

    def start(self, start_with_nothing: bool) -> Node:
        """Begin a text."""
        ken = self._lm and self._lm.start(start_with_nothing)
        # The root keeps all its continuations: the decoder would let go of what Python knows of them.
        self._root = Node(ken, self._hot.start, False)
        return self._root

    def score(self, state: Node, usr_token_idx: int) -> tuple[Node, float]:
        """Give the text with a unit more, and what that adds to the score."""
        found = state.next.get(usr_token_idx)
        if found is None:
            found = state.next[usr_token_idx] = self._longer(state, usr_token_idx)
        return found

    def finish(self, state: Node) -> tuple[Node, float]:
        """Give what the end of the text adds to the score."""
        gain = self._hot.end(state.hot)
        if self._lm is not None:
            gain += self._lm_weight * self._lm.finish(state.ken)[1]
        return state, gain

    def _longer(self, state: Node, unit: int) -> tuple[Node, float]:
        text, ken = self._texts[unit], None
        hot, gain = self._hot.read(state.hot, text)
        if self._lm is not None:
            ken, log = self._lm.score(state.ken, unit)
            gain += self._lm_weight * log
        if self._word_score:
            gain += self._word_score * _begun(text, state.inside)
        return Node(ken, hot, not text.endswith(" ") if text else state.inside), gain


@cache
def _begun(text: str, inside: bool) -> int:
    """Count the words that begin in a part of a text, which may begin inside a word.

    >>> _begun("ab a", inside=True), _begun("ab a", inside=False)
    (1, 2)
    """
    return len(text.split()) - (inside and bool(text) and not text.startswith(" "))
