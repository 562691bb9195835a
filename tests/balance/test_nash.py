import pytest
import torch
from gradients import NASTY, TASKS, assert_same, rows, step, weigh
from scipy.optimize import root

from mtl.balance.nash import RIDGE


@pytest.mark.parametrize("tasks", TASKS)
def test_every_weight_is_the_inverse_of_its_tasks_gain(tasks):
    for seed in range(3):
        gradients = rows(tasks, seed)
        weights = weigh("nash", gradients)
        assert (weights > 0).all()
        gains = gradients @ (weights @ gradients)
        torch.testing.assert_close(gains, 1 / weights, rtol=1e-4, atol=0)


def test_it_is_the_root_that_a_general_solver_finds():
    gradients = rows(3)
    products = (gradients @ gradients.T).numpy()
    start = 1 / gradients.norm(dim=1).numpy()
    found = root(lambda w: w * (products @ w) - 1, start)
    assert found.success
    assert_same(step("nash", gradients), found.x @ gradients.numpy())


@pytest.mark.parametrize("tasks", TASKS)
def test_scales_do_not_change_the_step(tasks):
    gradients = rows(tasks)
    scales = torch.logspace(-5, 5, tasks).double()[:, None]
    found = step("nash", gradients)
    assert_same(step("nash", gradients * scales), found)
    assert found.norm() == pytest.approx(tasks**0.5, rel=1e-4)


def test_orthogonal_gradients_count_by_their_inverse_lengths():
    gradients = torch.diag(torch.tensor([3.0, 0.5, 20.0])).double()
    torch.testing.assert_close(step("nash", gradients), torch.ones(3).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", NASTY)
def test_tasks_that_cannot_agree_get_weights_all_the_same(kind):
    gradients, weights = NASTY[kind], weigh("nash", NASTY[kind])
    there = (gradients.norm(dim=1) > 1e-140) & gradients.isfinite().all(1)
    shares = weights[there] * gradients[there].norm(dim=1)
    assert (shares > 0).all()
    assert (shares <= (len(shares) / RIDGE) ** 0.5).all()
    assert (weights[~there] == 0).all()
    if there.any():
        assert (weights[there] @ gradients[there]).norm() <= 1.0001 * there.sum() ** 0.5


@pytest.mark.parametrize("seed", [133, *range(10)])
def test_it_converges_where_all_lie_almost_on_one_line(seed):
    """Newton's steps alone would leave the positive numbers (with the first seed)."""
    g = torch.Generator().manual_seed(seed)
    sides = torch.randn(8, 1, generator=g).sign().double()
    gradients = sides * torch.eye(3)[0] + 0.1 * torch.randn(8, 3, generator=g).double()
    units = gradients / gradients.norm(dim=1, keepdim=True)
    shares = weigh("nash", units)
    assert (shares > 0).all()
    gains = units @ (shares @ units) + RIDGE * shares
    torch.testing.assert_close(gains, 1 / shares, rtol=1e-5, atol=0)
