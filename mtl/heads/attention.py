"""attention: a transformer decoder writes symbol by symbol. Vaswani et al. 2017. Topic: sequence labelling.

It learns beside a CTC head, on the same label, and judges with it what was said (Watanabe et al. 2017):

    head = CTC(symbols)
    Task("de", "speech", head)
    Task("de-attention", "speech", Attention(describe(head)), weight=0.3, label="de", auxiliary=True)

Differs: both scores together rank whole texts, not their beginnings.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Features, Labels, pad
from mtl.decoder import Decoder, Keys
from mtl.head import Head, Prediction, Scores
from mtl.ops import collapse, valid
from mtl.registry import construct

END = 0  # stands before and behind every text; the blank of CTC, which no text holds


class Text(NamedTuple):
    """Symbol numbers, and the log-probability that they are written and then the end."""

    ids: tuple[int, ...]
    score: float


class Attention(Head):
    """Probabilities of each symbol, and of the end, given the frames and the symbols before.

    `like` describes (`mtl.registry.describe`) the CTC head whose labels and symbols it shares. `scores` gives
    what the decoder looks at, as probabilities need a text: `loss` and `predict` run it. `beam` is how many
    texts a search follows at once; none gets longer than CTC could spell. Raises ValueError for a head
    without symbols, and for settings out of range.
    """

    def __init__(
        self,
        like: dict[str, Any],
        depth: int = 2,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.1,
        smoothing: float = 0.1,
        beam: int = 4,
    ) -> None:
        super().__init__()
        self.like, self.depth, self.heads, self.expansion = like, depth, heads, expansion
        self.dropout, self.smoothing, self.beam = dropout, smoothing, beam
        self._ctc: Any = construct("heads", like)
        if not hasattr(self._ctc, "symbols"):
            raise ValueError(f"a head {like['name']!r} has no symbols: describe one such as ctc")
        if not 0 <= smoothing < 1 or beam < 1:
            raise ValueError(f"smoothing is {smoothing}, a share below 1; beam {beam}, at least 1")
        self.metrics = self._ctc.metrics

    def build(self, dim: int) -> None:
        """Make the decoder. Raises ValueError where `heads` do not divide `dim`, or it is odd."""
        sizes = dim, self.depth, self.heads, self.expansion, self.dropout
        self.norm = nn.LayerNorm(dim)
        self.decoder = Decoder(len(self._ctc.symbols) + 1, *sizes)

    def encode(self, label: Any) -> Tensor:
        """Turn a text into symbol numbers (U,), as the CTC head does."""
        encoded: Tensor = self._ctc.encode(label)
        return encoded

    def reference(self, label: Any) -> Any:
        """Write a label as the CTC head does."""
        return self._ctc.reference(label)

    def scores(self, f: Features) -> Scores:
        """Give the frames (B, T, dim) that the decoder looks at, normalised."""
        return Scores(self.norm(f.x), f.lengths)

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give nats per symbol, the end counted, with smoothed labels (B,)."""
        logs, targets, counted = self._taught(scores, labels)
        each = F.cross_entropy(logs.mT, targets, reduction="none", label_smoothing=self.smoothing)
        return (each * counted).sum(1) / counted.sum(1)

    def likelihood(self, scores: Scores, labels: Labels) -> Tensor:
        """Give the log-probability of each label and its end (B,) in nats."""
        logs, targets, counted = self._taught(scores, labels)
        return (logs.gather(2, targets[..., None])[..., 0] * counted).sum(1)

    def predict(self, scores: Scores) -> list[Prediction]:
        """Take the likeliest text that a beam search finds; the confidence is as in `joint`."""
        return [self._prediction(found[0]) for found in self.search(scores, self.beam)]

    @torch.no_grad()
    def joint(
        self,
        scores: Scores,
        ctc: Scores,
        weight: float = 0.3,
        more: Sequence[Sequence[Sequence[int]]] = (),
    ) -> list[Prediction]:
        """Take the text of the highest (1 - weight) log p(attention) + weight log p(CTC).

        It is one of those that a beam search of this head finds, the best path of `ctc`, the scores
        (B, T, V) of the CTC head, and `more` of each example (its n-best, say). The confidence is the
        geometric mean of the attention's probabilities of symbols and end, 0 where nothing is written. Raises
        ValueError for a weight outside [0, 1].
        """
        if not 0 <= weight <= 1:
            raise ValueError(f"weight is {weight}; it is the share of CTC, 0 to 1")
        listed: list[list[tuple[int, ...]]] = []
        for row, found in enumerate(self.search(scores, self.beam)):
            frames = None if ctc.lengths is None else int(ctc.lengths[row])
            path = collapse(ctc.x[row, :frames].argmax(-1).tolist(), END)
            texts = [*(text.ids for text in found), path, *(more[row] if more else ())]
            listed.append(list(dict.fromkeys(map(tuple, texts))))
        counts = [len(texts) for texts in listed]
        rows = torch.arange(len(listed)).repeat_interleave(torch.tensor(counts))
        labels = _labels([ids for texts in listed for ids in texts], scores.x.device)
        written = self.likelihood(_rows(scores, rows), labels)
        total = (1 - weight) * written
        if weight:  # else what CTC cannot spell would be 0 times infinity
            total = total + weight * spelled(_rows(ctc, rows), labels)
        chosen = [int(each.argmax()) for each in torch.split(total, counts)]
        return [
            self._prediction(Text(texts[best], float(own[best])))
            for texts, own, best in zip(listed, torch.split(written, counts), chosen, strict=True)
        ]

    @torch.no_grad()
    def search(self, scores: Scores, beam: int) -> list[list[Text]]:
        """Give up to `beam` texts of each example by beam search, the likeliest first."""
        count, frames = scores.x.shape[:2]
        lengths = torch.full((count,), frames) if scores.lengths is None else scores.lengths
        longest = self._ctc.frames(lengths).to(scores.x.device)
        first = torch.arange(0, count * beam, beam, device=longest.device)[:, None]  # of each beam
        repeated = _rows(scores, first.repeat(1, beam).flatten() // beam)
        memory = self.decoder.memory(repeated.x, repeated.lengths)
        texts = torch.full((count * beam, 1), END, device=longest.device)
        totals = torch.full((count, beam), -torch.inf, device=longest.device)
        totals[:, 0] = 0.0  # all would begin alike: one begins
        found: list[list[Text]] = [[] for _ in range(count)]
        past: list[Keys] = []
        for length in range(int(longest.max()) + 1):
            logs, past = self.decoder(texts[:, -1:], memory, past)
            logs = logs.view(count, beam, -1)
            _keep(found, texts[:, 1:].view(count, beam, length), totals + logs[..., END])
            grown = totals[..., None] + logs[..., END + 1 :]
            grown = grown.masked_fill((length >= longest)[:, None, None], -torch.inf)
            totals, places = grown.flatten(1).topk(beam)
            if all(map(_done, found, totals[:, 0].tolist(), [beam] * count)):
                break
            parents = (first + places // grown.shape[2]).flatten()
            symbols = places.view(-1, 1) % grown.shape[2] + END + 1
            texts = torch.cat([texts[parents], symbols], 1)
            past = [(keys[parents], values[parents]) for keys, values in past]
        return found

    def _taught(self, scores: Scores, labels: Labels) -> tuple[Tensor, Tensor, Tensor]:
        """Give log-probabilities (B, U + 1, V) behind beginnings of the labels, what follows, what counts."""
        if labels.lengths is None:
            raise ValueError("an attention head needs the lengths of the labels")
        known = labels.values.masked_fill(~valid(labels.lengths, labels.values.shape[1]), END)
        memory = self.decoder.memory(scores.x, scores.lengths)
        logs, _ = self.decoder(F.pad(known, (1, 0), value=END), memory)
        counted = valid(labels.lengths + 1, logs.shape[1]).to(logs.dtype)
        return logs, F.pad(known, (0, 1), value=END), counted

    def _prediction(self, text: Text) -> Prediction:
        confidence = math.exp(text.score / (len(text.ids) + 1)) if text.ids else 0.0
        return Prediction(self._ctc.decode(torch.tensor(text.ids)), confidence)


def spelled(ctc: Scores, labels: Labels) -> Tensor:
    """Give the log-probability (B,) that CTC spells each label, -inf where the frames are too few."""
    count, frames = ctc.x.shape[:2]
    lengths = torch.full((count,), frames) if ctc.lengths is None else ctc.lengths
    if labels.lengths is None:
        raise ValueError("CTC needs the lengths of the labels")
    logs = ctc.x.transpose(0, 1)
    return -F.ctc_loss(logs, labels.values, lengths, labels.lengths, END, reduction="none")


def _rows(scores: Scores, rows: Tensor) -> Scores:
    rows = rows.to(scores.x.device)
    return Scores(scores.x[rows], None if scores.lengths is None else scores.lengths[rows])


def _labels(texts: Sequence[Sequence[int]], device: torch.device) -> Labels:
    values = pad([torch.tensor(text or (END,)) for text in texts])
    return Labels(values.to(device), torch.tensor([len(text) for text in texts], device=device))


def _keep(found: list[list[Text]], texts: Tensor, scores: Tensor) -> None:
    """Add the texts (B, beam, U) that ended with `scores` (B, beam), and keep the best `beam`."""
    for its, written, reached in zip(found, texts.tolist(), scores.tolist(), strict=True):
        ended = zip(written, reached, strict=True)
        its += [Text(tuple(ids), score) for ids, score in ended if score > -math.inf]
        its.sort(key=lambda text: -text.score)
        del its[len(reached) :]


def _done(found: list[Text], best: float, beam: int) -> bool:
    """Say whether no text that still grows can be among the best: probabilities only fall."""
    return best == -math.inf or (len(found) >= beam and found[-1].score >= best)
