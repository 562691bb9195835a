import itertools
import math
import time

import pytest
import torch
import torch.nn.functional as F

from mtl.decode.candidates import Candidates
from mtl.head import Scores
from mtl.ops import collapse


def some_logs(examples, frames, symbols, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(examples, frames, symbols, generator=g).mul(2).log_softmax(-1)


def test_probabilities_are_the_sum_over_all_paths():
    logs = some_logs(1, 5, 4)[0]
    sums = {}
    for path in itertools.product(range(4), repeat=5):
        spelled = tuple(collapse(list(path)))
        sums[spelled] = sums.get(spelled, 0.0) + math.exp(
            sum(logs[t, s] for t, s in enumerate(path))
        )
    words = {str(w): [list(w)] for w in sums if w}
    found = Candidates(words).scores(Scores(logs[None]))[0].exp()
    assert len(words) == len(sums) - 1 > 100
    expected = torch.tensor([sums[w] for w in sums if w])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_words_score_as_ctc_of_torch_whatever_the_padding():
    logs, lengths = some_logs(3, 30, 6, seed=1), torch.tensor([30, 22, 9])
    spellings = {"one": [[1, 2, 2, 3]], "two": [[1, 2]], "three": [[5, 5, 5, 4, 1]], "four": [[4]]}
    found = Candidates(spellings).scores(Scores(logs, lengths))
    for row, length in enumerate(lengths.tolist()):
        for column, (way,) in enumerate(spellings.values()):
            loss = F.ctc_loss(
                logs[row, :length, None],
                torch.tensor([way]),
                torch.tensor([length]),
                torch.tensor([len(way)]),
                reduction="none",
            )
            assert found[row, column].item() == pytest.approx(-loss.item(), rel=1e-4)


def test_several_spellings_add_up_and_a_word_said_twice_alike_counts_once():
    scores = Scores(some_logs(2, 8, 4, seed=2))
    apart = Candidates({"a": [[1, 2]], "b": [[3]], "c": [[1]]}).scores(scores).exp()
    found = Candidates({"x": [[1, 2], [3], [3]], "c": [[1]]}).scores(scores).exp()
    torch.testing.assert_close(found[:, 0], apart[:, 0] + apart[:, 1])
    torch.testing.assert_close(found[:, 1], apart[:, 2])


def test_predictions_are_shares_and_the_best_come_first():
    search = Candidates({"a": [[1]], "ab": [[1, 2]], "long": [[1, 2, 1, 2, 1]]})
    scores = Scores(some_logs(4, 4, 3, seed=3))
    logs = search.scores(scores)
    assert (logs[:, 2] == -torch.inf).all(), "five symbols do not fit into four frames"
    for said, row, best in zip(search(scores), logs, search.best(scores, 9), strict=True):
        assert said.value == best[0] and set(best) == {"a", "ab", "long"}
        assert said.confidence == pytest.approx(row.exp().max().item() / row.exp().sum().item())


def test_no_frames_say_nothing():
    found = Candidates({"a": [[1]], "b": [[2]]})(Scores(torch.zeros(1, 0, 3)))
    assert found[0].confidence == 0.0


def test_ten_thousand_words_are_no_trouble():
    g = torch.Generator().manual_seed(0)
    words = {str(n): [torch.randint(1, 40, (8,), generator=g).tolist()] for n in range(10_000)}
    search, scores = Candidates(words), Scores(some_logs(1, 25, 40))
    started = time.process_time()
    search.scores(scores)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("spellings", [{}, {"a": []}, {"a": [[]]}])
def test_words_that_cannot_be_said_are_refused(spellings):
    with pytest.raises(ValueError, match=r"no candidates|word 'a' has no spelling"):
        Candidates(spellings)
