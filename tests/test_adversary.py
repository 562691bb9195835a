"""Losses of discriminators and generators, against torch's own and by differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtl.adversary import least_squares, logistic, scale_gradient, still


@pytest.mark.parametrize("real", [True, False])
def test_they_are_those_of_the_papers(real):
    scores = torch.randn(4, 3, 2)
    wanted = torch.full_like(scores, float(real))
    each = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none")
    torch.testing.assert_close(logistic(scores, real), each.mean((1, 2)))
    each = F.mse_loss(scores, wanted, reduction="none")
    torch.testing.assert_close(least_squares(scores, real), each.mean((1, 2)))


def test_a_generator_that_is_seen_through_still_learns():
    """Its loss is -log D, not log (1 - D), whose gradient dies where D is sure."""
    scores = torch.tensor([[-12.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(logistic(scores, True), scores)
    assert gradient.item() == pytest.approx(-1, abs=1e-4)
    (dead,) = torch.autograd.grad(-logistic(scores, False), scores)
    assert abs(dead.item()) < 1e-4


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("loss", [logistic, least_squares])
def test_gradients_are_right(loss, real):
    scores = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    # They compute in float32.
    compared = {"eps": 1e-2, "atol": 1e-2, "rtol": 1e-2}
    assert torch.autograd.gradcheck(lambda x: loss(x, real).double(), scores, **compared)


def test_a_still_network_hands_gradients_on_and_keeps_none():
    network, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(2, 3)
    for _ in range(2):
        given = x.clone().requires_grad_()
        found = still(network, given)
        torch.testing.assert_close(found, network(x))
        found.sum().backward()
        plain = x.clone().requires_grad_()
        (wanted,) = torch.autograd.grad(network(plain).sum(), plain)
        torch.testing.assert_close(given.grad, wanted)
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("scale", [0.0, 0.25, 1.0, 3.0])
def test_a_gradient_is_scaled_and_what_it_belongs_to_is_not(scale):
    x = torch.randn(5, requires_grad=True)
    y = scale_gradient(x, scale)
    assert torch.equal(y, x)
    if scale:
        (gradient,) = torch.autograd.grad((y * torch.arange(5.0)).sum(), x)
        torch.testing.assert_close(gradient, scale * torch.arange(5.0))
