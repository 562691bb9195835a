import numpy as np
import pytest
import torch
from gradients import TASKS, assert_same, rows, state, step, weigh

from mtl.balance.gradvac import BETA


def turn(gradients, targets, order):
    """Algorithm 1 of the paper on the vectors; moves `targets`."""
    total = np.zeros(gradients.shape[1])
    for i, gradient in enumerate(gradients):
        part = gradient.copy()
        for j in order[i]:
            if j == i:
                continue
            length, other = np.linalg.norm(part), np.linalg.norm(gradients[j])
            now, aim = part @ gradients[j] / (length * other), targets[i, j]
            if now < aim:
                across, wanted = np.sqrt(1 - now**2), np.sqrt(1 - aim**2)
                part += length * (aim * across - now * wanted) / (other * wanted) * gradients[j]
                reached = part @ gradients[j] / (np.linalg.norm(part) * other)
                assert reached == pytest.approx(aim, abs=1e-9)
            targets[i, j] = (1 - BETA) * aim + BETA * now
        total += part
    return total


@pytest.mark.parametrize("tasks", TASKS)
def test_it_is_the_sum_of_the_turned_gradients(tasks):
    kept, targets = state("gradvac", tasks), np.zeros((tasks, tasks))
    start = np.random.default_rng(5).uniform(-0.3, 0.6, (tasks, tasks))
    np.fill_diagonal(start, 0)
    targets += start
    kept["targets"].copy_(torch.from_numpy(start))
    for index in range(4):
        gradients = rows(tasks, index)
        rng = np.random.default_rng(index)
        order = rng.permuted(np.tile(np.arange(tasks), (tasks, 1)), axis=1)
        expected = turn(gradients.numpy(), targets, order)
        assert_same(step("gradvac", gradients, kept=kept), expected)
        np.testing.assert_allclose(kept["targets"].numpy(), targets, atol=1e-10)
    assert kept["step"] == 4
    assert not np.allclose(targets, start)


def test_the_first_step_is_pcgrads():
    torch.testing.assert_close(weigh("gradvac", rows(8)), weigh("pcgrad", rows(8)))


def test_targets_of_absent_tasks_stay():
    kept = state("gradvac", 3)
    kept["targets"].fill_(0.25)
    gradients = rows(3)
    gradients[1] = 0
    weigh("gradvac", gradients, kept)
    assert (kept["targets"][1] == 0.25).all()
    assert (kept["targets"][:, 1] == 0.25).all()
    assert kept["targets"][0, 2] != 0.25


def test_tasks_that_were_always_alike_may_part():
    kept = state("gradvac", 2)
    gradient = rows(1)[0]
    for _ in range(5):
        weigh("gradvac", torch.stack([gradient, gradient]), kept)
    kept["targets"].fill_(1.0)  # where it leads after many more
    weights = weigh("gradvac", rows(2), kept)
    assert (weights.abs() < 1e5).all()
