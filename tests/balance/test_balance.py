"""The contract of every file in mtl/balance."""

import inspect
import pkgutil

import pytest
import torch
from gradients import NASTY, module, rows, state, weigh

import mtl.balance

NAMES = sorted(found.name for found in pkgutil.iter_modules(mtl.balance.__path__))
assert len(NAMES) >= 11
GRAMIAN = [name for name in NAMES if module(name).GRADIENTS]
DRAWN = {"pcgrad", "gradvac"}  # the order of the tasks decides which is met first


@pytest.mark.parametrize("name", NAMES)
def test_a_file_holds_a_documented_function_of_its_name(name):
    function = getattr(module(name), name)
    assert list(inspect.signature(function).parameters) == ["losses", "rows", "gramian", "state"]
    assert "-> (T,)" in function.__doc__
    assert ">>> " in function.__doc__
    assert isinstance(module(name).GRADIENTS, bool)
    public = [
        n
        for n, value in vars(module(name)).items()
        if inspect.isfunction(value) and value.__module__ == module(name).__name__ and n[0] != "_"
    ]
    assert set(public) <= {name, "fresh"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", NASTY)
def test_weights_are_finite_and_inputs_stay(name, kind):
    gradients = NASTY[kind].clone()
    losses = torch.arange(len(gradients)).double() * 1e6
    losses[-1] = torch.nan
    gramian = gradients @ gradients.T
    copies = [t.clone() for t in (losses, gradients, gramian)]
    kept = state(name, len(gradients))
    for _ in range(3):
        weights = getattr(module(name), name)(losses, gradients, gramian, kept)
        assert weights.shape == (len(gradients),)
        assert weights.dtype == torch.float64
        assert weights.isfinite().all()
    assert all(value.isfinite().all() for name, value in kept.items() if name not in AVERAGES)
    for before, after in zip(copies, (losses, gradients, gramian), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=0, equal_nan=True)


AVERAGES = {"older", "newer"}  # of DWA: not a number until a window is full


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_not_needed(name):
    gradients = rows(3)
    gramian, losses = gradients @ gradients.T, torch.ones(3).double()
    without = getattr(module(name), name)(losses, None, gramian, state(name, 3))
    assert without.equal(weigh(name, gradients))


@pytest.mark.parametrize("name", NAMES)
def test_absent_tasks_change_nothing_for_the_others(name, monkeypatch):
    monkeypatch.setattr(module(name), "WINDOW", 2, raising=False)
    there, kept, alone = [0, 2, 3], state(name, 5), state(name, 3)
    for seed in range(6):
        few, losses = rows(3, seed), torch.rand(3).double() + 0.5
        gradients, known = torch.zeros(5, 50).double(), torch.zeros(5).double() / 0
        gradients[there], known[there] = few, losses
        found = weigh(name, gradients, kept, known)
        torch.testing.assert_close(found[there], weigh(name, few, alone, losses))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_goes_on_as_if_nothing_had_been(name, monkeypatch):
    monkeypatch.setattr(module(name), "WINDOW", 2, raising=False)
    kept = state(name, 8)
    held = {key: (value, value.shape, value.dtype) for key, value in kept.items()}
    for seed in range(7):
        if seed == 4:
            saved = {key: value.clone() for key, value in kept.items()}
        weights = weigh(name, rows(8, seed), kept, seeded(seed))
    again = [weigh(name, rows(8, seed), saved, seeded(seed)) for seed in range(4, 7)]
    assert again[-1].equal(weights)
    for key, (value, shape, dtype) in held.items():
        assert kept[key] is value
        assert (value.shape, value.dtype) == (shape, dtype)
        assert kept[key].equal(saved[key])
        assert not value.equal(state(name, 8)[key])


def seeded(seed):
    return torch.rand(8, generator=torch.Generator().manual_seed(seed)).double() + 0.1


@pytest.mark.parametrize("name", sorted(set(GRAMIAN) - DRAWN))
def test_the_order_of_the_tasks_does_not_matter(name):
    gradients, order = rows(8), torch.randperm(8)
    torch.testing.assert_close(
        weigh(name, gradients[order]), weigh(name, gradients)[order], rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("name", GRAMIAN)
def test_the_unit_of_the_losses_is_no_matter(name):
    """Weights stay, so the step grows with it; but Nash-MTL's step stays, and its weights shrink."""
    gradients = rows(8)
    factor = 1e5 if name == "nash" else 1.0
    torch.testing.assert_close(weigh(name, 1e-5 * gradients), factor * weigh(name, gradients))


@pytest.mark.parametrize("name", sorted({"mgda", "upgrad", "nash", "imtl"}))
@pytest.mark.parametrize("kind", [*NASTY, "random"])
def test_no_task_is_harmed(name, kind):
    gradients = NASTY.get(kind, rows(8))
    gradients = gradients[(gradients.norm(dim=1) > 0) & gradients.isfinite().all(1)]
    if len(gradients):
        weights = weigh(name, gradients)
        units = gradients / gradients.norm(dim=1, keepdim=True)
        # What cannot be told from zero: rounding in the sum of parts much longer than their sum.
        longest = (weights.abs() * gradients.norm(dim=1)).max()
        assert (units @ (weights @ gradients) >= -1e-6 * longest).all()


@pytest.mark.parametrize("name", GRAMIAN)
def test_one_task_keeps_its_direction(name):
    gradient = rows(1)
    weight = weigh(name, gradient)
    expected = {"nash": 1 / gradient.norm(), "cagrad": 1.4 / 1.16}.get(name, 1.0)
    assert weight.item() == pytest.approx(float(expected), rel=1e-5)
