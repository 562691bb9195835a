import numpy as np
import pytest
import torch
from gradients import TASKS, assert_same, rows, state, step, weigh


def project(gradients, order):
    """Algorithm 1 of the paper on the vectors; `order[i]` is the order for task i."""
    total = np.zeros(gradients.shape[1])
    for i, gradient in enumerate(gradients):
        part = gradient.copy()
        for j in order[i]:
            if j != i and part @ gradients[j] < 0:
                part -= part @ gradients[j] / (gradients[j] @ gradients[j]) * gradients[j]
        total += part
    return total


def orders(tasks, index):
    rng = np.random.default_rng(index)
    return rng.permuted(np.tile(np.arange(tasks), (tasks, 1)), axis=1)


@pytest.mark.parametrize("tasks", TASKS)
def test_it_is_the_sum_of_the_projected_gradients(tasks):
    kept = state("pcgrad", tasks)
    for index in range(3):
        gradients = rows(tasks, index)
        expected = project(gradients.numpy(), orders(tasks, index))
        assert_same(step("pcgrad", gradients, kept=kept), expected)
    assert kept["step"] == 3


def test_every_step_draws_another_order():
    kept = state("pcgrad", 8)
    first, second = (weigh("pcgrad", rows(8), kept) for _ in range(2))
    assert not torch.allclose(first, second)
    drawn = {tuple(orders(8, index)[0]) for index in range(50)}
    assert len(drawn) > 45


def test_two_tasks_are_not_harmed():
    gradients = torch.tensor([[1.0, 0.0], [-5.0, 1.0]]).double()
    found = step("pcgrad", gradients)
    assert (gradients @ found >= 0).all()
    assert gradients[0] @ gradients.sum(0) < 0, "the plain sum would do"


def test_gradients_that_agree_are_added():
    gradients = rows(8).abs()
    torch.testing.assert_close(step("pcgrad", gradients), gradients.sum(0))


def test_a_gradient_is_not_projected_onto_itself():
    """Two projections turn the first by 100 degrees, so that it points away from where it was."""
    angles = torch.deg2rad(torch.tensor([0.0, 140.0, 190.0])).double()
    gradients = torch.stack([angles.cos(), angles.sin()], 1)
    kept = state("pcgrad", 3)
    for index in range(20):
        expected = project(gradients.numpy(), orders(3, index))
        torch.testing.assert_close(step("pcgrad", gradients, kept=kept), torch.from_numpy(expected))
