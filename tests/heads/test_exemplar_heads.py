"""Prototypes, attention to examples and pairs: each by loops over the examples."""

import math

import pytest
import torch

from mtl.heads.matching import Matching
from mtl.heads.prototype import Prototype, prototype
from mtl.heads.siamese import Siamese

OWNERS = torch.tensor([0, 1, 1, 2, 0, 1])


def problem():
    torch.manual_seed(0)
    return torch.randn(4, 3), torch.randn(6, 3)


def test_prototypes_are_means_and_logits_squared_distances():
    queries, support = problem()
    means = [support[way == OWNERS].mean(0) for way in range(3)]
    torch.testing.assert_close(prototype(support, OWNERS, 3), torch.stack(means))
    found = Prototype().compare(queries, support, OWNERS, 3)
    for q, way in ((q, way) for q in range(4) for way in range(3)):
        expected = -sum((a - b) ** 2 for a, b in zip(queries[q], means[way], strict=True))
        assert found[q, way].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_attention_is_a_softmax_over_examples(scale):
    queries, support = problem()
    found = Matching(scale=scale).compare(queries, support, OWNERS, 3).exp()
    for q in range(4):
        weights = [
            math.exp(scale * torch.nn.functional.cosine_similarity(queries[q], row, dim=0).item())
            for row in support
        ]
        for way in range(3):
            own = sum(w for w, owner in zip(weights, OWNERS.tolist(), strict=True) if owner == way)
            assert found[q, way].item() == pytest.approx(own / sum(weights), rel=1e-4)


def siamese_head():
    head = Siamese()
    head.build(3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([-1.0, 0.5, -2.0]))
        head.bias.fill_(0.3)
    return head


def pair(head, a, b):
    w = head.weight.tolist()
    logit = sum(w[i] * abs(a[i].item() - b[i].item()) for i in range(3)) + head.bias.item()
    return 1 / (1 + math.exp(-logit))


def test_pairs_are_averaged_within_a_class():
    queries, support = problem()
    head = siamese_head()
    found = head.compare(queries, support, OWNERS, 3).exp()
    for q, way in ((q, way) for q in range(4) for way in range(3)):
        each = [pair(head, queries[q], row) for row in support[way == OWNERS]]
        assert found[q, way].item() == pytest.approx(sum(each) / len(each), rel=1e-4)


def test_pairs_of_one_class_count_as_much_as_others():
    queries, support = problem()
    head, targets = siamese_head(), [0, 2, 1, 1]
    found = head.lacking(queries, torch.tensor(targets), support, OWNERS, 3)
    for q, target in enumerate(targets):
        own = [-math.log(pair(head, queries[q], row)) for row in support[target == OWNERS]]
        others = [-math.log(1 - pair(head, queries[q], row)) for row in support[target != OWNERS]]
        expected = (sum(own) / len(own) + sum(others) / len(others)) / 2
        assert found[q].item() == pytest.approx(expected, rel=1e-4)
