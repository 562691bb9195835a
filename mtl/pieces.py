"""pieces: parts of words that texts are spelled in, by sentencepiece. Kudo and Richardson 2018.

Byte-pair merges (Sennrich et al. 2016) or a unigram model (Kudo 2018). A piece that begins a word begins with
`▁` (U+2581).
"""

import base64
import binascii
import io
from collections.abc import Iterable
from typing import Any, Literal

from mtl.text import SymbolError

SPACE = "\u2581"
RESERVED = {SPACE, "\u2585"}  # sentencepiece's signs for a space and for what it does not know


class Splitter:
    """A trained model that splits texts; `pieces` lists what it may split them into.

    Raises ValueError for what is no such model, ImportError without sentencepiece.
    """

    def __init__(self, model: str) -> None:
        self._processor = _package().SentencePieceProcessor()
        try:
            self._processor.load_from_serialized_proto(base64.b64decode(model, validate=True))
        except (binascii.Error, RuntimeError, TypeError) as error:
            raise ValueError(f"pieces {model!r:.40} is no sentencepiece model in base64") from error
        processor = self._processor
        ids = range(processor.get_piece_size())
        odd = (processor.is_unknown, processor.is_control, processor.is_unused)
        self.pieces: list[str] = [
            processor.id_to_piece(index) for index in ids if not any(test(index) for test in odd)
        ]
        self._known = set(self.pieces)

    def split(self, text: str) -> list[str]:
        """Split a text; characters that training never saw come singly.

        Raises `SymbolError` for the two signs that sentencepiece has use for itself.
        """
        _check(text)
        found: list[str] = self._processor.encode(text, out_type=str)
        return [part for piece in found for part in ([piece] if piece in self._known else piece)]


def train(texts: Iterable[str], kind: Literal["bpe", "unigram"], size: int) -> str:
    """Train on normalised texts, and give the model in base64, the same for equal texts.

    All characters are pieces, so each text can be spelled. There are fewer pieces than `size` where the
    texts hold no more. Raises ValueError where their characters alone are more, `SymbolError` as
    `Splitter.split` does, ImportError without sentencepiece.
    """
    lines = list(texts)
    for line in lines:
        _check(line)
    letters = set("".join(lines)) - {" "} | {SPACE}
    if size < len(letters):
        raise ValueError(
            f"{size} pieces are too few: the texts hold {len(letters)} characters; "
            f"give {kind}:{len(letters)} or more"
        )
    written = io.BytesIO()
    _package().SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=written,
        model_type=kind,
        vocab_size=size + 1,  # the unknown one, which no head gets
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",  # the texts are normalised by our own rules
        remove_extra_whitespaces=False,
        max_sentence_length=2
        ** 30,  # the most: longer ones are dropped, by default above 4,192 bytes
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,  # with more, sums are rounded in another order each time
        minloglevel=2,
    )
    return base64.b64encode(written.getvalue()).decode()


def _check(text: str) -> None:
    if found := sorted(RESERVED & set(text)):
        names = ", ".join(f"{char!r} (U+{ord(char):04X})" for char in found)
        raise SymbolError(f"{text!r} has {names}, which sentencepiece reserves: remove it")


def _package() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        message = "pieces of words (bpe, unigram) need sentencepiece: pip install 'mtl[symbols]'"
        raise ImportError(message) from error
    return sentencepiece
