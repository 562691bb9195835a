import numpy as np
import pytest
import torch
from gradients import TASKS, assert_same, rows, step, weigh


def closed_form(gradients):
    """The paper's: alpha_2..T = g_1 U' (D U')^-1 with differences D of gradients and U of directions."""
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    apart, turned = gradients[0] - gradients[1:], units[0] - units[1:]
    rest = gradients[0] @ turned.T @ np.linalg.inv(apart @ turned.T)
    return np.array([1 - rest.sum(), *rest])


@pytest.mark.parametrize("tasks", TASKS)
def test_it_is_the_closed_form(tasks):
    for seed in range(3):
        gradients = rows(tasks, seed)
        weights = closed_form(gradients.numpy())
        assert abs(weights).sum() < 10, "beyond it the scale differs"
        assert_same(step("imtl", gradients), weights @ gradients.numpy())


@pytest.mark.parametrize("tasks", TASKS)
def test_parts_along_all_gradients_are_equal(tasks):
    gradients = rows(tasks)
    parts = gradients @ step("imtl", gradients) / gradients.norm(dim=1)
    torch.testing.assert_close(parts, parts.mean().expand(tasks))
    assert parts[0] > 0


def test_lengths_do_not_change_the_direction():
    gradients = rows(3)
    scaled = gradients * torch.tensor([1.0, 1e3, 1e-3])[:, None]
    found, other = step("imtl", gradients), step("imtl", scaled)
    assert torch.cosine_similarity(found, other, dim=0) > 1 - 1e-9


def test_the_step_stays_downhill_where_the_closed_form_goes_uphill():
    """The third gradient lies between the others, and is so short that its negative weight decides."""
    gradients = torch.tensor([[1.0, 0.0, 0.1], [0.0, 1.0, 0.1], [0.01, 0.01, 0.0]]).double()
    uphill = closed_form(gradients.numpy()) @ gradients.numpy()
    assert (gradients.numpy() @ uphill < 0).all()
    found = step("imtl", gradients)
    assert (gradients @ found > 0).all()
    assert_same(found / found.norm(), -uphill / np.linalg.norm(uphill))
    assert weigh("imtl", gradients).abs().sum() == pytest.approx(10)


def test_gradients_that_cannot_all_gain_stand_still():
    gradients = torch.tensor([[1.0, 0.0], [-3.0, 0.0]]).double()
    torch.testing.assert_close(weigh("imtl", gradients), torch.tensor([0.75, 0.25]).double())
