"""The bilinear head: its losses by loops, and why the squared one needs a fixed description."""

import pytest
import torch
from torch.autograd import gradcheck

from mtl.batch import Features, Labels
from mtl.heads.attribute import Attribute, ale, devise, hinge

LOSSES = {"hinge": hinge, "devise": devise, "ale": ale}


def by_hand(name, row, target, margin):
    lacking = [max(0.0, margin - row[target] + s) for m, s in enumerate(row) if m != target]
    rank = sum(each > 0 for each in lacking)
    if name == "hinge":
        return max(0.0, margin - row[target] + max(s for m, s in enumerate(row) if m != target))
    if name == "devise" or rank == 0:
        return sum(lacking)
    return sum(1 / place for place in range(1, rank + 1)) / rank * sum(lacking)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_losses_are_those_of_loops(name, margin):
    torch.manual_seed(0)
    scores, targets = torch.randn(40, 6, dtype=torch.double), torch.arange(40) % 6
    found = LOSSES[name](scores, targets, margin)
    expected = [
        by_hand(name, row, target, margin)
        for row, target in zip(scores.tolist(), targets.tolist(), strict=True)
    ]
    assert found.tolist() == pytest.approx(expected)
    assert gradcheck(
        lambda x: LOSSES[name](x, targets[:5], margin), scores[:5].requires_grad_(True)
    )


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_zero_only_where_the_right_class_wins_by_the_margin(name):
    scores = torch.tensor([[1.0, 0.0, -3.0], [0.9, 0.0, -3.0], [0.0, 5.0, 0.0]])
    found = LOSSES[name](scores, torch.tensor([0, 0, 1]), 1.0)
    assert found[0] == found[2] == 0 and found[1].item() == pytest.approx(0.1)


def test_one_class_has_nothing_to_beat():
    for loss in LOSSES.values():
        assert loss(torch.zeros(2, 1), torch.tensor([0, 0])).tolist() == [0, 0]


def test_scores_are_products_or_distances():
    vectors = [[0.0, 1.0], [2.0, 0.5], [1.0, -1.0]]
    for kind in ("hinge", "squared"):
        torch.manual_seed(0)
        head = Attribute(["a", "b", "c"], vectors, kind=kind)
        head.build(4)
        x = torch.randn(3, 4)
        f, g = head.output(x), torch.tensor(vectors)
        expected = f @ g.T if kind == "hinge" else -(f[:, None] - g[None]).square().sum(-1)
        found = head.scores(Features(x[:, None], torch.ones(3, dtype=torch.long)))
        torch.testing.assert_close(found.x, expected)
        if kind == "squared":
            loss = head.loss(found, Labels(torch.tensor([0, 1, 2])))
            torch.testing.assert_close(loss, (f - g).square().sum(1))


def made(kind, hidden):
    """Train on 6 of 8 classes, whose noisy features are mixes of their vectors."""
    torch.manual_seed(0)
    vectors, mix = torch.randn(8, 6), torch.randn(6, 10)
    seen, unseen = torch.randint(0, 6, (240,)), torch.randint(6, 8, (100,))
    x, new = (vectors[c] @ mix + 3 * torch.randn(len(c), 10) for c in (seen, unseen))
    head = Attribute([str(n) for n in range(8)], vectors, seen=6, kind=kind, hidden=hidden)
    head.build(10)

    def features(rows):
        return Features(rows[:, None], torch.ones(len(rows), dtype=torch.long))

    optimizer = torch.optim.Adam(head.parameters(), 0.02)
    for _ in range(300):
        optimizer.zero_grad()
        loss = head.loss(head.scores(features(x)), Labels(seen)).mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        g = head.embed(head.signatures) if hidden else head.signatures
        told = head.scores(features(x)).x[:, :6].argmax(1)
        guessed = head.scores(features(new)).x[:, 6:].argmax(1) + 6
    right = [(a == b).float().mean().item() for a, b in ((told, seen), (guessed, unseen))]
    return loss.item(), g[:6].var(0).sum().item(), *right


def test_a_learnt_description_collapses_under_the_squared_loss():
    loss, spread, told, guessed = made("squared", hidden=16)
    assert loss < 1e-3 and spread < 1e-3  # everything is one point, which is a perfect score ...
    assert told < 0.3 and guessed < 0.6  # ... and says nothing: chance is 1/6 and 1/2
    for kind, hidden in (("hinge", 16), ("devise", 16), ("squared", 0)):
        _, spread, told, guessed = made(kind, hidden)
        assert spread > 0.3 and told > 0.7, kind
        assert guessed > 0.75 or not hidden, kind


def test_an_unknown_loss_is_named():
    with pytest.raises(ValueError, match=r"kind 'l2' is no loss; choose one of hinge, devise, ale"):
        Attribute(["a"], [[1.0]], kind="l2")
