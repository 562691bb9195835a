"""ConSE: the mix of the likely classes' vectors, by loops."""

import numpy as np
import pytest
import torch

from mtl.batch import Labels
from mtl.head import Scores
from mtl.heads.conse import ConSE, conse

CLASSES = ["lion", "cat", "car", "tiger", "truck"]
VECTORS = [[1.0, 0.1, 0.9], [1.0, 0.0, 0.0], [0.0, 1.0, 0.2], [1.0, 0.0, 0.8], [0.1, 1.0, 0.9]]


def mixed(p, vectors, top):
    order = sorted(range(len(p)), key=lambda index: -p[index])[:top]
    total = sum(p[index] for index in order)
    return sum(p[index] / total * np.array(vectors[index]) for index in order)


@pytest.mark.parametrize("top", [1, 2, 3, 10])
def test_the_mix_and_the_nearest_are_those_of_loops(top):
    torch.manual_seed(0)
    logits = torch.randn(20, 3)
    p = logits.double().softmax(1).tolist()
    expected = [mixed(row, VECTORS, top) for row in p]
    assert np.allclose(
        conse(logits.softmax(1), torch.tensor(VECTORS[:3]), top), expected, atol=1e-6
    )
    head = ConSE(CLASSES, VECTORS, seen=3, top=top)
    cosines = np.array(
        [
            [m @ v / np.linalg.norm(m) / np.linalg.norm(v) for v in np.array(VECTORS)]
            for m in expected
        ]
    )
    assert np.allclose(head.fit_of(Scores(logits)), cosines, atol=1e-6)
    head.penalty = float("inf")
    said = [one.value for one in head.predict(Scores(logits))]
    assert said == [CLASSES[3 + row[3:].argmax()] for row in cosines]
    assert len(set(said)) == 2


def test_half_a_lion_and_half_a_cat_is_a_tiger():
    head = ConSE(CLASSES, VECTORS, seen=3, penalty=float("inf"))
    assert head.predict(Scores(torch.tensor([[2.0, 2.0, -9.0]])))[0].value == "tiger"


def test_the_loss_is_of_classification():
    head = ConSE(CLASSES, VECTORS, seen=3)
    head.build(4)
    assert head.output.out_features == 3
    logits = torch.tensor([[1.0, 2.0, 0.5]])
    expected = np.log(np.exp([1.0, 2.0, 0.5]).sum()) - 0.5
    assert head.loss(Scores(logits), Labels(torch.tensor([2]))).item() == pytest.approx(expected)


def test_zeros_have_no_direction():
    with pytest.raises(ValueError, match="class 'b' has a vector of zeros"):
        ConSE(["a", "b"], [[1.0], [0.0]])
    with pytest.raises(ValueError, match="top is 0"):
        ConSE(["a"], [[1.0]], top=0)
