"""pieces: CTC over parts of words, byte-pair or unigram. Sennrich et al. 2016; Kudo 2018. Topic: symbols."""

from typing import Any

from mtl.heads.ctc import CTC
from mtl.pieces import SPACE, Splitter


class Pieces(CTC):
    """CTC whose symbols are pieces of words; `▁` (U+2581) begins a word.

    `pieces` is the sentencepiece model that splits texts, in base64 (see `mtl.pieces.train`): a saved head
    needs no other file. `symbols` are its pieces, or more: the head keeps a place for the others, and
    characters among them spell what the model has not seen. Raises ValueError where `symbols` lacks a
    piece, ImportError without sentencepiece (extra `symbols`).

    >>> from mtl.pieces import train
    >>> head = Pieces(train(["a cab", "a bad cab"] * 9, "bpe", 8))
    >>> head.decode(head.encode("A bad cab!"))
    'a bad cab'
    """

    def __init__(
        self,
        pieces: str,
        symbols: list[str] | None = None,
        upsample: int = 1,
        rules: dict[str, Any] | None = None,
    ) -> None:
        splitter = Splitter(pieces)
        super().__init__(splitter.pieces if symbols is None else symbols, upsample, rules)
        if lost := [piece for piece in splitter.pieces if piece not in self._index]:
            raise ValueError(
                f"symbols lack {len(lost)} of the {len(splitter.pieces)} pieces of the sentencepiece "
                f"model, such as {lost[0]!r}: the two belong to different heads"
            )
        self.pieces, self._splitter = pieces, splitter

    def split(self, text: str) -> list[str]:
        """Split a text that the rules wrote."""
        return self._splitter.split(text)

    def join(self, symbols: list[str]) -> str:
        """Write pieces as words."""
        return " ".join("".join(symbols).replace(SPACE, " ").split())
