import numpy as np
import pytest
import torch
from gradients import NASTY, TASKS, assert_same, rows, step, weigh
from scipy.optimize import minimize


def search(gradients):
    """The shortest convex combination, by a general solver on the vectors."""
    scaled = gradients / np.linalg.norm(gradients, axis=1).max()
    even = np.full(len(scaled), 1 / len(scaled))
    found = minimize(
        lambda w: ((w @ scaled) ** 2).sum(),
        even,
        jac=lambda w: 2 * scaled @ (w @ scaled),
        bounds=[(0, 1)] * len(scaled),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return found.x @ gradients


def excess(gradients, weights):
    """How much shorter the step could be: 0 at the optimum (Frank and Wolfe's gap), by the scales."""
    found, lengths = weights @ gradients, gradients.norm(dim=1)
    gap = found @ found - gradients @ found
    return (gap / (lengths * lengths.min())).max().item()


@pytest.mark.parametrize("tasks", TASKS)
def test_it_is_the_shortest_step_of_the_hull(tasks):
    for seed in range(3):
        gradients = rows(tasks, seed)
        assert_same(step("mgda", gradients), search(gradients.numpy()))
        assert excess(gradients, weigh("mgda", gradients)) < 1e-12


def test_two_tasks_have_a_closed_form():
    first, second = rows(2)
    share = ((second - first) @ second / ((first - second) @ (first - second))).clamp(0, 1)
    expected = torch.stack([share, 1 - share])
    torch.testing.assert_close(weigh("mgda", torch.stack([first, second])), expected)


@pytest.mark.parametrize("kind", NASTY)
def test_it_is_exact_where_solvers_break(kind):
    gradients, weights = NASTY[kind], weigh("mgda", NASTY[kind])
    there = (gradients.norm(dim=1) > 1e-140) & gradients.isfinite().all(1)
    assert (weights >= 0).all()
    assert (weights[~there] == 0).all()
    if there.any():
        assert weights.sum() == pytest.approx(1)
        assert excess(gradients[there], weights[there]) < 1e-12


def test_a_hundred_tasks():
    gradients = rows(100, width=300)
    weights = weigh("mgda", gradients)
    assert excess(gradients, weights) < 1e-12
    assert (weights > 0).sum() > 2


def test_all_improve_alike_that_count():
    gradients = rows(8)
    weights = weigh("mgda", gradients)
    found = weights @ gradients
    gains = (gradients @ found)[weights > 0]
    torch.testing.assert_close(gains, (found @ found).expand_as(gains))


def test_a_gradient_of_zero_does_not_stop_the_others():
    gradients = rows(3)
    stopped = torch.cat([gradients, torch.zeros(1, 50).double()])
    assert_same(step("mgda", stopped), step("mgda", gradients))
