import numpy as np
import pytest
import torch
from gradients import TASKS, assert_same, rows, step


def align(gradients):
    """All singular values of the gradients' matrix made the smallest that is not zero."""
    left, values, right = np.linalg.svd(gradients, full_matrices=False)
    rank = int((values > 1e-3 * values[0]).sum())
    return values[rank - 1] * left[:, :rank] @ right[:rank]


@pytest.mark.parametrize("tasks", TASKS)
def test_it_is_the_sum_of_the_aligned_gradients(tasks):
    for seed in range(3):
        gradients = rows(tasks, seed)
        aligned = align(gradients.numpy())
        assert_same(step("aligned", gradients), aligned.sum(0))
        gains = aligned @ aligned.sum(0)
        np.testing.assert_allclose(gains, gains[0])


@pytest.mark.parametrize("kind", ["twice", "sum"])
def test_dependent_gradients_are_aligned_in_their_span(kind):
    first, second, third = rows(3)
    last = first if kind == "twice" else second + third
    gradients = torch.stack([first, second, third, last])
    assert_same(step("aligned", gradients), align(gradients.numpy()).sum(0))


def test_orthogonal_gradients_become_as_long_as_the_shortest():
    gradients = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 20.0]]).double()
    torch.testing.assert_close(step("aligned", gradients), torch.tensor([0.5] * 3).double())


def test_noise_does_not_set_the_length():
    gradients = torch.cat([rows(3), rows(3)[:1]])
    noisy = gradients + 1e-5 * rows(4, seed=9)
    assert_same(step("aligned", noisy), align(gradients.numpy()).sum(0))
