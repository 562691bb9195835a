"""ctc: characters from frames without an alignment. Graves et al. 2006. Topic: sequence labelling."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Features, Labels
from mtl.head import Head, Prediction, Scores
from mtl.ops import valid
from mtl.text import TextRules, encode, normalise

BLANK = 0


class CTC(Head):
    """Log-probabilities (B, T * upsample, V) of blank (0) and the `symbols` (1 to V - 1, in order).

    A space separates words and is a symbol like others. A symbol of several characters, such as `<unk>` of
    a foreign checkpoint, has its place in the scores, and is never written or read. `upsample` frames of
    scores per trunk frame let a slow trunk spell fast speech. `rules` are the keywords of
    `mtl.text.TextRules`, None for its defaults. Raises ValueError for symbols that repeat or are empty.

    >>> head = CTC(symbols=[" ", "a", "b"])
    >>> head.encode("Ab, a!").tolist()
    [2, 3, 1, 2]
    """

    metrics: tuple[str, ...] = ("cer", "wer")

    def __init__(
        self, symbols: list[str], upsample: int = 1, rules: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        if wrong := sorted(s for s, count in Counter(symbols).items() if not s or count > 1):
            raise ValueError(f"symbols {wrong} repeat or are empty")
        if upsample < 1:
            raise ValueError(f"upsample is {upsample}; it must be at least 1")
        self.symbols, self.upsample, self.rules = list(symbols), upsample, rules
        self._rules = TextRules(**rules or {})
        self._index = {symbol: index for index, symbol in enumerate(symbols, BLANK + 1)}

    def build(self, dim: int) -> None:
        """Make the output layer."""
        self.output = nn.Linear(dim, (len(self.symbols) + 1) * self.upsample)

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the score frames."""
        return lengths * self.upsample

    def encode(self, label: Any) -> Tensor:
        """Turn a text into symbol numbers (U,).

        Raises `mtl.text.SymbolError` for symbols outside the vocabulary, ValueError where the rules
        leave nothing of the text.
        """
        text = self.reference(label)
        if not text:
            raise ValueError(f"text {label!r} is empty after normalising: drop this example")
        return torch.tensor(encode(self.split(text), self._index))

    def reference(self, label: Any) -> str:
        """Write a text by the rules."""
        return normalise(label, self._rules)

    def split(self, text: str) -> Sequence[str]:
        """Split a text, written by the rules, into symbols: its characters."""
        return text

    def join(self, symbols: list[str]) -> str:
        """Write symbols as a text; those of several characters are never written."""
        return "".join(symbol for symbol in symbols if len(symbol) == 1)

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """Turn symbol numbers (U,) into a text; blanks and symbols that are never written are skipped.

        >>> CTC(symbols=["a", "b"]).decode(torch.tensor([1, 0, 2, 2]))
        'abb'
        """
        numbers = ids.tolist() if isinstance(ids, Tensor) else ids
        return self.join([self.symbols[index - 1] for index in numbers if index != BLANK])

    def needs(self, label: Tensor) -> int:
        """Count the score frames that a label (U,) needs: a blank must part repeated symbols.

        >>> CTC(symbols=["a", "b"]).needs(torch.tensor([1, 1, 2]))
        4
        """
        return len(label) + int((label[1:] == label[:-1]).sum())

    def scores(self, f: Features) -> Scores:
        """Compute log-probabilities (B, T * upsample, V), in float32 whatever the features are."""
        # In 32 bit: more exact, and a bfloat16 kernel is compiled anew for every number of rows, which
        # differs by language and step; that took longer than the product itself.
        with torch.autocast(f.x.device.type, enabled=False):
            logits = self.output(f.x.float())
        logits = logits.view(logits.shape[0], -1, len(self.symbols) + 1)
        return Scores(logits.log_softmax(-1), self.frames(f.lengths))

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give nats per symbol (B,); 0 where the frames are too few for the label (see `needs`)."""
        if scores.lengths is None or labels.lengths is None:
            raise ValueError("a CTC loss needs the lengths of the scores and of the labels")
        losses = F.ctc_loss(
            scores.x.transpose(0, 1),
            labels.values,
            scores.lengths,
            labels.lengths,
            blank=BLANK,
            reduction="none",
            zero_infinity=True,
        )
        return losses / labels.lengths.clamp(min=1)

    def predict(self, scores: Scores) -> list[Prediction]:
        """Take the best symbol of each frame, merge repeats, drop blanks.

        The confidence is the geometric mean of the probabilities of the symbols that are written, each at
        its first frame; it is 0 where none is, so that choosing by confidence never chooses silence.
        """
        logs, path = scores.x.max(-1)
        starts = path != F.pad(path, (1, 0), value=BLANK)[:, :-1]
        written = starts & (path != BLANK)
        if scores.lengths is not None:
            written &= valid(scores.lengths, path.shape[1])
        means = (logs * written).sum(1) / written.sum(1).clamp(min=1)
        confidences = (means.exp() * written.any(1)).tolist()
        rows = zip(path, written, confidences, strict=True)
        return [Prediction(self.decode(ids[mask]), confidence) for ids, mask, confidence in rows]
