import itertools
import math

import pytest
import torch

from mtl.decode.align import (
    AlignError,
    Span,
    align,
    frames_per_second,
    geometric_mean,
    greedy,
    placed,
    symbols,
    words,
)
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.stems.logmel import LogMel
from mtl.stems.waveform import Waveform
from mtl.trunks.transformer import Transformer


def collapse(path):
    return [symbol for symbol, _ in itertools.groupby(path) if symbol]


def runs(path):
    """Spans as (symbol, start, end), by plain Python."""
    found, start = [], 0
    for symbol, group in itertools.groupby(path):
        end = start + len(list(group))
        found += [(symbol, start, end)] if symbol else []
        start = end
    return found


def sure_of(path, symbols, sharp=6.0):
    noise = torch.rand(len(path), symbols, generator=torch.Generator().manual_seed(len(path)))
    return (sharp * torch.eye(symbols)[torch.tensor(path)] + noise).log_softmax(-1)


def places(spans):
    return [tuple(span[:3]) for span in spans]


@pytest.mark.parametrize("seed", range(8))
def test_a_known_path_is_recovered(seed):
    rng = torch.Generator().manual_seed(seed)
    path = torch.randint(4, (30,), generator=rng).repeat_interleave(
        torch.randint(1, 4, (30,), generator=rng)
    )
    scores = sure_of(path.tolist(), 5)
    spans = align(scores, torch.tensor(collapse(path.tolist())))
    assert places(spans) == runs(path.tolist())
    for span in spans:
        mean = scores[span.start : span.end, span.symbol].mean().exp()
        assert span.confidence == pytest.approx(float(mean), rel=1e-5)
    assert greedy(scores) == spans  # it is also the best path of all


@pytest.mark.parametrize("label", [[1], [1, 1], [1, 2], [2, 1, 2], [1, 1, 2], [2, 2, 2]])
def test_no_other_path_is_better(label):
    rng = torch.Generator().manual_seed(sum(label) + len(label))
    scores = torch.randn(6, 3, generator=rng).log_softmax(-1)
    paths = [p for p in itertools.product(range(3), repeat=6) if collapse(p) == label]
    best = max(paths, key=lambda path: sum(float(scores[t, s]) for t, s in enumerate(path)))
    assert places(align(scores, torch.tensor(label))) == runs(best)


def test_as_many_frames_as_symbols_are_enough():
    scores = torch.zeros(5, 3).log_softmax(-1)
    assert places(align(scores, torch.tensor([1, 1, 2, 1]))) == [
        (1, 0, 1),
        (1, 2, 3),
        (2, 3, 4),
        (1, 4, 5),
    ]
    assert align(scores, torch.tensor([], dtype=torch.long)) == []
    assert greedy(torch.tensor([[0.0, -9.0]] * 3)) == []


@pytest.mark.parametrize(
    ("frames", "label", "says"),
    [
        (3, [1, 2, 1, 2], r"4 symbols \(with repeats\) but 3 frames: too short"),
        (3, [1, 1, 2], r"4 symbols \(with repeats\) but 3 frames: too short"),
        (0, [1], "1 symbols .* but 0 frames"),
        (9, [1, 3, 7], r"the label holds \[3, 7\]; these scores know symbols 1 to 2"),
        (9, [1, 0], r"the label holds \[0\]"),
        (9, [-1], r"the label holds \[-1\]"),
    ],
)
def test_what_cannot_be_aligned_is_named(frames, label, says):
    with pytest.raises(AlignError, match=says):
        align(torch.zeros(frames, 3), torch.tensor(label))


def test_scores_that_allow_no_path_are_named():
    impossible = torch.tensor([[0.0, -math.inf, -math.inf]] * 4)
    with pytest.raises(AlignError, match="probability of 0"):
        align(impossible, torch.tensor([1]))
    with pytest.raises(AlignError, match="hold NaN"):
        align(torch.full((4, 3), math.nan), torch.tensor([1]))
    with pytest.raises(AlignError, match=r"shape \(1, 4, 3\).*give one example"):
        align(torch.zeros(1, 4, 3), torch.tensor([1]))


def test_words_are_parted_by_spaces():
    head = CTC([" ", "a", "b", "<unk>"])
    ids = [1, 2, 3, 1, 1, 4, 1, 3, 4, 2, 1]
    spans = [Span(symbol, t, t + 1, 0.5) for t, symbol in enumerate(ids)]
    assert [word[:3] for word in words(spans, head)] == [("ab", 1, 3), ("ba", 7, 10)]
    found = [word[:3] for word in symbols(spans, head)]
    assert found == [("a", 1, 2), ("b", 2, 3), ("b", 7, 8), ("a", 9, 10)]
    assert words([], head) == symbols([], head) == []


class Pieces:
    """Parts of words, as sentencepiece writes them."""

    symbols = ["▁the", "▁", "▁c", "at", "s"]

    def decode(self, ids):
        return "".join(self.symbols[i - 1] for i in ids.tolist()).replace("▁", " ").strip()


def test_pieces_begin_words():
    spans = [Span(symbol, t, t + 1, 1.0) for t, symbol in enumerate([1, 3, 4, 5, 2, 4])]
    found = [word[:3] for word in words(spans, Pieces())]
    assert found == [("the", 0, 1), ("cats", 1, 4), ("at", 5, 6)]
    assert [word.text for word in symbols(spans, Pieces())] == ["the", "c", "at", "s", "at"]


def test_confidence_of_a_word_is_the_geometric_mean():
    spans = [Span(1, 0, 1, 0.5), Span(2, 1, 2, 0.125)]
    (word,) = words(spans, CTC(["a", "b"]))
    assert word.confidence == pytest.approx(0.25)
    assert word.record() == {"word": "ab", "start": 0, "end": 2, "confidence": 0.25}
    assert geometric_mean([0.0, 1.0]) == 0


@pytest.mark.parametrize("subsample", [1, 2, 3, 4])
def test_score_frames_are_counted_in_seconds(subsample):
    stem = LogMel(8, bins=8, subsample=subsample)
    tasks = [Task("cy", "speech", CTC(["a"])), Task("nl", "speech", CTC(["a"], upsample=2))]
    model = Model({"speech": stem}, Transformer(8, 1, heads=2), tasks)
    assert frames_per_second(model, "cy") == pytest.approx(100 / subsample, rel=1e-4)
    assert frames_per_second(model, "nl") == pytest.approx(200 / subsample, rel=1e-4)


def test_score_frames_of_samples():
    class Every320(Transformer):
        def frames(self, lengths):
            return (lengths - 400) // 320 + 1  # wav2vec 2.0

    model = Model(
        {"speech": Waveform()}, Every320(4, 1, heads=1), [Task("cy", "speech", CTC(["a"]))]
    )
    assert frames_per_second(model, "cy") == pytest.approx(50)


def test_placed_spans_are_in_seconds():
    (span,) = placed([Span(3, 5, 10, 0.5)], 25.0, offset=2.0)
    assert span == (3, 2.2, 2.4, 0.5)
