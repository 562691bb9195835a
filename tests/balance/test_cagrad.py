import numpy as np
import pytest
import torch
from gradients import NASTY, TASKS, assert_same, rows, step, weigh
from scipy.optimize import minimize

from mtl.balance.cagrad import C


def search(gradients):
    """Algorithm 1 of the paper on the vectors, by a general solver."""
    scale = np.linalg.norm(gradients, axis=1).max()
    scaled = gradients / scale
    mean = scaled.mean(0)
    radius = C * np.linalg.norm(mean)

    def dual(w):
        combined = w @ scaled
        return combined @ mean + radius * np.linalg.norm(combined)

    def slope(w):
        combined = w @ scaled
        return scaled @ (mean + radius * combined / np.linalg.norm(combined))

    found = minimize(
        dual,
        np.full(len(scaled), 1 / len(scaled)),
        jac=slope,
        bounds=[(0, 1)] * len(scaled),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    combined = found.x @ scaled
    return scale * (mean + radius * combined / np.linalg.norm(combined)) / (1 + C**2), found.fun


@pytest.mark.parametrize("tasks", TASKS)
def test_it_is_the_step_of_the_papers_dual(tasks):
    for seed in range(3):
        gradients = rows(tasks, seed)
        assert_same(step("cagrad", gradients), search(gradients.numpy())[0])


@pytest.mark.parametrize("tasks", TASKS)
def test_the_worst_off_task_gains_what_the_dual_promises(tasks):
    gradients = rows(tasks)
    best = step("cagrad", gradients) * (1 + C**2)
    mean, longest = gradients.mean(0), gradients.norm(dim=1).max()
    assert (best - mean).norm() == pytest.approx(C * mean.norm().item())
    promised = search(gradients.numpy())[1] * longest**2
    assert (gradients @ best).min() == pytest.approx(promised.item(), rel=1e-6)


def test_no_direction_nearby_is_better_for_the_worst_off():
    gradients, generator = rows(8), np.random.default_rng(0)
    mean = gradients.mean(0)
    best = (gradients @ step("cagrad", gradients)).min() * (1 + C**2)
    for _ in range(200):
        way = torch.from_numpy(generator.normal(size=50))
        other = mean + C * mean.norm() * way / way.norm()
        assert (gradients @ other).min() < best


@pytest.mark.parametrize("kind", NASTY)
def test_it_stays_near_the_mean(kind):
    gradients = NASTY[kind]
    gradients = gradients[(gradients.norm(dim=1) > 1e-140) & gradients.isfinite().all(1)]
    if len(gradients):
        best, mean = step("cagrad", gradients) * (1 + C**2), gradients.mean(0)
        rounding = 1e-7 * gradients.norm(dim=1).max()
        assert (best - mean).norm() <= C * mean.norm() * (1 + 1e-6) + rounding


def test_without_a_mean_the_weights_are_even():
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).double()
    torch.testing.assert_close(weigh("cagrad", gradients), torch.ones(2).double() / 2 / (1 + C**2))


def test_where_nothing_helps_a_conflict_the_rest_goes_on():
    gradients = torch.tensor([[1.0, 0.1], [-1.0, 0.1], [0.2, 9.0]]).double()
    gradients[:2, 1] = 0
    best = step("cagrad", gradients) * (1 + C**2)
    torch.testing.assert_close(best, torch.tensor([0.0, 3.0]).double(), atol=1e-5, rtol=1e-5)


def test_a_conflict_far_longer_than_what_all_may_gain():
    """Only the last direction helps the first two; its share of the mean is small, its part is not."""
    gain = 0.001
    gradients = torch.tensor([[1.0, 0.0, gain], [-1.0, 0.0, gain], [0.0, 9.0, 0.0]]).double()
    mean = gradients.mean(0)
    expected = mean + C * mean.norm() * torch.tensor([0.0, 0.0, 1.0])
    assert_same(step("cagrad", gradients) * (1 + C**2), expected)


def test_gradients_on_one_line():
    """The farthest point of the hull is the longest gradient, where rounding decides."""
    for seed in range(40):
        sides = torch.randn(8, 1, generator=torch.Generator().manual_seed(seed)).double()
        found, mean = step("cagrad", sides * rows(1, seed)), sides.mean() * rows(1, seed)[0]
        along = found @ mean / (mean @ mean) * (1 + C**2)
        expected = 1 + C if (sides * sides.mean() > 0).all() else 1 - C
        assert along.item() == pytest.approx(expected, abs=1e-6)
