"""The CTC head against an enumeration of all paths, and its dealings with texts."""

import itertools
import math

import pytest
import torch

from mtl.batch import Features, Labels
from mtl.head import Scores
from mtl.heads.ctc import CTC
from mtl.ops import collapse
from mtl.registry import construct, describe
from mtl.text import SymbolError


def log_probabilities(batch, frames, symbols):
    return torch.randn(batch, frames, symbols).log_softmax(-1)


def path_scores(path, symbols=4):
    """Scores whose best path is `path`, with probability 0.7 at each frame."""
    probabilities = torch.full((1, len(path), symbols), 0.3 / (symbols - 1))
    probabilities[0, range(len(path)), path] = 0.7
    return Scores(probabilities.log(), torch.tensor([len(path)]))


@pytest.mark.parametrize("label", [[1], [2, 1], [1, 1], [2, 2, 1]])
def test_loss_is_the_sum_over_all_paths(label):
    torch.manual_seed(0)
    x = log_probabilities(2, 4, 3)
    lengths = [4, 3]
    labels = Labels(torch.tensor([label, label]), torch.tensor([len(label)] * 2))
    losses = CTC(["a", "b"]).loss(Scores(x, torch.tensor(lengths)), labels)
    for row, frames in enumerate(lengths):
        total = sum(
            math.exp(sum(float(x[row, t, symbol]) for t, symbol in enumerate(path)))
            for path in itertools.product(range(3), repeat=frames)
            if collapse(list(path)) == label
        )
        expected = -math.log(total) / len(label) if total else 0.0
        assert losses[row].item() == pytest.approx(expected, abs=1e-5)


def test_a_label_that_cannot_be_spelled_costs_nothing_and_is_foretold():
    head = CTC(["a", "b"])
    x = log_probabilities(1, 4, 3).requires_grad_()
    for label, needed in ([1, 1, 2], 4), ([1, 1, 1], 5), ([1, 2, 1, 2], 4):
        assert head.needs(torch.tensor(label)) == needed
        labels = Labels(torch.tensor([label]), torch.tensor([len(label)]))
        loss = head.loss(Scores(x, torch.tensor([4])), labels)
        assert (loss.item() == 0) == (needed > 4)
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        assert gradient.isfinite().all() and bool(gradient.any()) == (needed <= 4)


def test_loss_needs_lengths():
    head, x = CTC(["a"]), log_probabilities(1, 4, 2)
    with pytest.raises(ValueError, match="needs the lengths"):
        head.loss(Scores(x), Labels(torch.tensor([[1]]), torch.tensor([1])))


def test_padding_of_scores_and_labels_changes_nothing():
    x, head = log_probabilities(1, 6, 3), CTC(["a", "b"])
    plain = Labels(torch.tensor([[1, 2]]), torch.tensor([2]))
    padded = Labels(torch.tensor([[1, 2, 0, 0]]), torch.tensor([2]))
    alone = head.loss(Scores(x[:, :4], torch.tensor([4])), plain)
    torch.testing.assert_close(head.loss(Scores(x, torch.tensor([4])), padded), alone)
    assert head.predict(Scores(x, torch.tensor([4]))) == head.predict(Scores(x[:, :4]))


@pytest.mark.parametrize(
    ("path", "text", "written"),
    [
        ([2, 2, 0, 2, 3, 3, 0], "aab", 3),
        ([0, 2, 1, 1, 3, 0, 0], "a b", 3),
        ([3], "b", 1),
        ([2, 3, 2, 3], "abab", 4),
    ],
)
def test_greedy_collapses_the_best_path(path, text, written):
    (prediction,) = CTC([" ", "a", "b"]).predict(path_scores(path))
    assert prediction.value == text and len(text) == written
    assert prediction.confidence == pytest.approx(0.7)


def test_confidence_is_the_geometric_mean_of_what_is_written():
    x = torch.tensor([[[0.1, 0.9, 0.0], [0.2, 0.8, 0.0], [0.6, 0.2, 0.2], [0.0, 0.6, 0.4]]])
    (prediction,) = CTC(["a", "b"]).predict(Scores(x.log(), torch.tensor([4])))
    assert prediction.value == "aa"  # frame 2 repeats frame 1 and does not count again
    assert prediction.confidence == pytest.approx(math.sqrt(0.9 * 0.6))


def test_silence_has_no_confidence():
    predictions = CTC(["a"]).predict(Scores(path_scores([0, 0, 1], 2).x, torch.tensor([2])))
    assert predictions == [("", 0.0)]


def test_greedy_agrees_with_collapse():
    torch.manual_seed(0)
    head, x = CTC(["a", "b", "c"]), log_probabilities(20, 30, 4)
    lengths = torch.arange(1, 21)
    for row, prediction in enumerate(head.predict(Scores(x, lengths))):
        path = x[row, : lengths[row]].argmax(-1).tolist()
        assert prediction.value == "".join("abc"[symbol - 1] for symbol in collapse(path))


def test_texts_go_in_and_come_out():
    head = CTC([" ", "'", "a", "b"])
    assert head.reference("  A’b, BA! ") == "a'b ba"
    ids = head.encode("  A’b, BA! ")
    assert ids.tolist() == [3, 2, 4, 1, 4, 3] and ids.dtype == torch.int64
    assert head.decode(ids) == head.decode(ids.tolist()) == "a'b ba"


def test_rules_are_obeyed():
    head = CTC(["A", "a", "."], rules={"case": "keep", "keep": "."})
    assert head.encode("Aa.!").tolist() == [1, 2, 3]


def test_wrong_texts_and_settings_are_named():
    head = CTC(["a"])
    with pytest.raises(SymbolError, match="'ñ'"):
        head.encode("añ")
    with pytest.raises(ValueError, match=r"'\?!' is empty"):
        head.encode("?!")
    with pytest.raises(ValueError, match=r"\['a'\] repeat or are empty"):
        CTC(["a", "a", "bc"])
    with pytest.raises(ValueError, match="upsample is 0"):
        CTC(["a"], upsample=0)


@pytest.mark.parametrize("upsample", [1, 3])
def test_frames_are_multiplied(upsample):
    head = CTC(["a", "b"], upsample=upsample)
    head.build(8)
    scores = head.scores(Features(torch.randn(2, 5, 8), torch.tensor([5, 3])))
    assert scores.x.shape == (2, 5 * upsample, 3)
    assert scores.lengths.tolist() == [5 * upsample, 3 * upsample]
    torch.testing.assert_close(scores.x.exp().sum(-1), torch.ones(2, 5 * upsample))


def test_upsampled_frames_stay_in_order():
    head = CTC(["a", "b"], upsample=2)
    head.build(4)
    x = torch.randn(1, 3, 4)
    scores = head.scores(Features(x, torch.tensor([3]))).x
    alone = head.scores(Features(x[:, 1:2], torch.tensor([1]))).x
    torch.testing.assert_close(scores[:, 2:4], alone)


def test_settings_and_weights_come_back():
    head = CTC([" ", "a"], upsample=2, rules={"case": "keep"})
    head.build(4)
    again = construct("heads", describe(head))
    again.build(4)
    again.load_state_dict(head.state_dict())
    f = Features(torch.randn(1, 3, 4), torch.tensor([3]))
    assert torch.equal(again.scores(f).x, head.scores(f).x)
    assert again.encode("Aa"[1:]).tolist() == [2] and describe(again) == describe(head)


def test_bfloat16_stops_before_the_probabilities():
    torch.manual_seed(0)
    head = CTC(list("abcdefgh"))
    head.build(16)
    f = Features(torch.randn(2, 20, 16), torch.tensor([20, 15]))
    labels = Labels(torch.tensor([[1, 2, 3], [3, 3, 0]]), torch.tensor([3, 2]))
    exact = head.loss(head.scores(f), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = head.scores(f)
        rough = head.loss(scores, labels)
    assert scores.x.dtype == rough.dtype == torch.float32
    torch.testing.assert_close(scores.x.exp().sum(-1), torch.ones(2, 20))
    torch.testing.assert_close(rough, exact, rtol=0.01, atol=0)
    rough.sum().backward()
    assert head.output.weight.grad.abs().sum() > 0


def test_symbols_of_several_characters_are_scored_and_never_written():
    head = CTC(["<s>", "a", "|"], rules={"case": "upper", "keep": "|"})
    head.build(4)
    assert head.scores(Features(torch.zeros(1, 2, 4), torch.tensor([2]))).x.shape == (1, 2, 4)
    assert head.decode(torch.tensor([1, 2, 0, 3, 1])) == "a|"
    assert CTC(["A"], rules={"case": "upper"}).encode("a").tolist() == [1]
