"""Gradients to weigh: random ones, with conflicts and unlike lengths, and such as break solvers."""

import importlib

import torch

TASKS = [2, 3, 8]


def rows(tasks, seed=0, width=50):
    """(tasks, width): they share a direction that half of them go against; lengths differ tenfold."""
    g = torch.Generator().manual_seed(1000 * tasks + seed)
    found = torch.randn(tasks, width, generator=g).double()
    signs = torch.where(torch.arange(tasks) % 2 == 0, 1.0, -0.5)
    found += 0.7 * signs[:, None] * torch.randn(width, generator=g)
    return found * 10 ** torch.rand(tasks, 1, generator=g).double()


def module(name):
    return importlib.import_module(f"mtl.balance.{name}")


def state(name, tasks):
    return module(name).fresh(tasks) if hasattr(module(name), "fresh") else {}


def weigh(name, gradients, kept=None, losses=None):
    """The weights (T,) of the method, from a fresh state unless one is `kept`."""
    tasks = len(gradients)
    losses = torch.ones(tasks).double() if losses is None else losses
    kept = state(name, tasks) if kept is None else kept
    return getattr(module(name), name)(losses, gradients, gradients @ gradients.T, kept)


def step(name, gradients, **given):
    """The step (P,): the weighted sum of the gradients."""
    return weigh(name, gradients, **given) @ gradients


def assert_same(found, expected):
    """Same direction and length."""
    expected = torch.as_tensor(expected)
    assert torch.cosine_similarity(found, expected, dim=0) >= 0.9999
    assert abs(found.norm() / expected.norm() - 1) < 1e-3


def _nasty():
    three, eight = rows(3), rows(8)
    flat = torch.randn(8, 3, generator=torch.Generator().manual_seed(1)).double()
    scales = 10 ** torch.linspace(-12, 12, 8).double()[:, None]
    lost, endless = three.clone(), three.clone()
    lost[1], endless[1] = torch.nan, torch.inf
    return {
        "one task": rows(1),
        "no gradient at all": torch.zeros(3, 4).double(),
        "a zero gradient": three * torch.tensor([1.0, 0.0, 1.0])[:, None],
        "a vanishing gradient": three * torch.tensor([1.0, 1e-160, 1.0])[:, None],
        "a gradient that is not a number": lost,
        "an infinite gradient": endless,
        "equal gradients": three[[0, 0, 1]],
        "equal directions": three[[0, 0, 1]] * torch.tensor([1.0, 5.0, 1.0])[:, None],
        "opposite gradients": torch.stack([three[0], -three[0]]),
        "opposite and unequal": torch.stack([three[0], -3 * three[0], three[1]]),
        "one dimension": three[:1] * torch.tensor([1.0, -2.0, 3.0])[:, None],
        "more tasks than dimensions": flat,
        "no mean": eight - eight.mean(0),
        "lengths from 1e-12 to 1e12": eight * scales,
        "singular, of unlike lengths": flat * scales,
        "single precision": (flat.float() / 3).double(),
    }


NASTY = _nasty()
