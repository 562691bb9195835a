import importlib

import pytest
import torch
from gradients import weigh
from scipy.special import softmax

MODULE = importlib.import_module("mtl.balance.dwa")
WINDOW = 4


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(MODULE, "WINDOW", WINDOW)


def run(losses, kept=None):
    kept = MODULE.fresh(losses.shape[1]) if kept is None else kept
    return [weigh("dwa", torch.eye(len(now)).double(), kept, now) for now in losses]


def test_weights_follow_the_ratio_of_mean_losses():
    losses = torch.rand(5 * WINDOW, 3).double() + 0.5
    found = run(losses)
    means = losses.view(5, WINDOW, 3).mean(1)
    for index, weights in enumerate(found):
        done = (index + 1) // WINDOW  # windows, this step's included
        expected = torch.ones(3).double()
        if done >= 2:
            ratio = (means[done - 1] / means[done - 2]).numpy()
            expected = torch.from_numpy(3 * softmax(ratio / 2))
        torch.testing.assert_close(weights, expected)


def test_a_task_that_does_not_get_better_counts_more():
    losses = torch.ones(2 * WINDOW, 2).double()
    losses[WINDOW:, 0] = 0.5
    first, second = run(losses)[-1].tolist()
    assert first < 1 < second
    assert first + second == pytest.approx(2)


def test_windows_hold_a_tasks_own_losses():
    """A task seen in every other step fills them half as fast, with the same averages."""
    losses = torch.rand(4 * WINDOW, 2).double() + 0.5
    halved = losses.clone()
    halved[::2, 1] = torch.nan
    kept, dense = MODULE.fresh(2), MODULE.fresh(1)
    run(halved, kept)
    run(halved[1::2, 1:], dense)
    for name in ("older", "newer"):
        torch.testing.assert_close(kept[name][1:], dense[name])


@pytest.mark.parametrize("wild", [0.0, -1.0, 1e-300])
def test_losses_that_have_no_ratio_give_weights_all_the_same(wild):
    losses = torch.ones(2 * WINDOW, 2).double()
    losses[:WINDOW, 0] = wild
    weights = run(losses)[-1]
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(2)
