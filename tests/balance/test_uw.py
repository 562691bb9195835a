import pytest
import torch
from gradients import module, weigh

from mtl.balance.uw import BOUND, RATE, fresh


def run(losses, steps, kept=None):
    kept = fresh(losses.shape[-1]) if kept is None else kept
    for index in range(steps):
        now = losses[index] if losses.dim() > 1 else losses
        weights = weigh("uw", torch.eye(len(now)).double(), kept, now)
    return weights, kept


def test_it_descends_on_the_likelihood():
    losses = torch.rand(50, 3).double() + 0.5
    s = torch.zeros(3).double().requires_grad_()
    for now in losses:
        objective = (torch.exp(-s) * now + s).sum()
        s.data -= RATE * torch.autograd.grad(objective, s)[0]
    weights, kept = run(losses, 50)
    torch.testing.assert_close(kept["s"], s.detach())
    torch.testing.assert_close(weights, torch.exp(-s).detach())


def test_a_steady_loss_ends_with_its_inverse_as_weight():
    losses = torch.tensor([20.0, 1.0, 0.05]).double()
    weights, _ = run(losses, 1500)
    torch.testing.assert_close(weights, 1 / losses, rtol=1e-3, atol=0)


def test_a_wild_loss_moves_one_step_and_a_missing_one_none():
    weights, kept = run(torch.tensor([1e9, torch.nan, torch.inf, 1.0]).double(), 1)
    assert kept["s"].tolist() == pytest.approx([RATE, 0, 0, 0])
    assert weights[1:].tolist() == [1, 1, 1]


def test_losses_at_zero_and_below_do_not_run_away():
    steps = int(3 * BOUND / RATE)
    _, kept = run(torch.tensor([0.0, -5.0, 1e9]).double(), steps)
    assert kept["s"].tolist() == [-BOUND, -BOUND, BOUND]


def test_it_does_not_look_at_gradients():
    assert not module("uw").GRADIENTS
