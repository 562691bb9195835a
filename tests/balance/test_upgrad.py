import numpy as np
import pytest
import torch
from gradients import NASTY, TASKS, assert_same, rows, step, weigh
from scipy.optimize import minimize


def project(gradient, gradients):
    """The nearest vector that has no negative product with any gradient, by a general solver."""
    found = minimize(
        lambda x: ((x - gradient) ** 2).sum() / 2,
        gradient,
        jac=lambda x: x - gradient,
        constraints={"type": "ineq", "fun": lambda x: gradients @ x, "jac": lambda x: gradients},
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    return found.x


@pytest.mark.parametrize("tasks", TASKS)
def test_it_is_the_mean_of_the_projections(tasks):
    for seed in range(2):
        gradients = rows(tasks, seed, width=20)
        vectors = gradients.numpy()
        expected = np.mean([project(vector, vectors) for vector in vectors], axis=0)
        assert_same(step("upgrad", gradients), expected)
        products = gradients @ gradients.T
        assert (products < 0).any(), "nothing to project"


def test_gradients_that_agree_are_averaged():
    gradients = rows(8).abs()
    torch.testing.assert_close(step("upgrad", gradients), gradients.mean(0))


def test_the_step_grows_with_a_gradient():
    """Linear under scaling, the paper's third property: in each row's length, others' as they are."""
    gradients = rows(3)
    steps = [
        step("upgrad", gradients * torch.tensor([factor, 1.0, 1.0])[:, None])
        for factor in (1.0, 2.0, 3.0)
    ]
    torch.testing.assert_close(steps[2] - steps[1], steps[1] - steps[0])
    assert (steps[1] - steps[0]).norm() > 0.1 * steps[0].norm()


def test_of_opposite_gradients_nothing_is_left():
    gradients = NASTY["opposite and unequal"]
    found = step("upgrad", gradients)
    assert abs(gradients[0] @ found) < 1e-9 * gradients[0].norm() * found.norm()
    assert found @ gradients[2] > 0
    assert (weigh("upgrad", gradients) > 0).all()
