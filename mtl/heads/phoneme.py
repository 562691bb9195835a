"""phoneme: CTC over phones, from IPA. Graves et al. 2006. Topic: symbols.

A manifest gives an utterance's IPA as `phonemes`, as `mtl.data.espeak.ipa` writes it; a task learns from it
under the label `phonemes`, or `de-phonemes` for German alone.
"""

from typing import Any

from mtl.heads.ctc import CTC
from mtl.phones import WORD, phones

BREAK = "|"  # between words, where phones stand apart by spaces


class Phoneme(CTC):
    """CTC whose symbols are phones (see `mtl.phones.phones`), and " " between words.

    Texts that come out have phones apart by spaces, and words by ` | `. The phone error rate counts phones,
    and with `stress` stress marks, which are symbols then; what parts words does not count. Raises
    ValueError for symbols that are no single phones.

    >>> head = Phoneme([" ", "d", "eː", "n", "ə"])
    >>> head.encode("nˈeː dən").tolist()
    [4, 3, 1, 2, 5, 4]
    >>> head.decode(head.encode("nˈeː dən"))
    'n eː | d ə n'
    """

    metrics = ("per",)

    def __init__(self, symbols: list[str], upsample: int = 1, stress: bool = False) -> None:
        super().__init__(symbols, upsample)
        if wrong := [s for s in symbols if s != WORD and phones(s, stress) != [s]]:
            raise ValueError(
                f"symbol {wrong[0]!r} is {phones(wrong[0], stress)}: give single phones (and {WORD!r})"
            )
        self.stress = stress

    def reference(self, label: Any) -> str:
        """Write IPA as a prediction is written. Raises ValueError for what is no IPA."""
        return self.join(phones(label, self.stress))

    def split(self, text: str) -> list[str]:
        """Split what `reference` wrote."""
        return [WORD if phone == BREAK else phone for phone in text.split()]

    def join(self, symbols: list[str]) -> str:
        """Write phones apart by spaces, and words by ` | `."""
        text = " ".join(BREAK if symbol == WORD else symbol for symbol in symbols)
        words = (word.strip() for word in text.split(BREAK))
        return f" {BREAK} ".join(word for word in words if word)
