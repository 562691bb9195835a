"""What moves the weights where a method's networks learn on their own terms."""

import pytest
import torch
from torch import nn

from mtl.config import Fit
from mtl.device import make_accelerator
from mtl.method import Adam, Method
from mtl.optimizer import Several, make_optimizer
from mtl.step import Step


class Own(Method):
    """Has a layer that learns by Adam."""

    adam = Adam(lr=3e-3, betas=(0.25, 0.75))

    def build(self, model):
        self.layer = nn.Linear(2, 2)


def step_of(*methods):
    from painting import net

    return Step(net(), {f"m{n}": method for n, method in enumerate(methods)})


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_method_gets_the_adam_it_asks_for_and_the_model_the_run_s(kind):
    step = step_of(Own(), Method())
    made = make_optimizer(step, Fit(optimizer=kind, lr=0.1))
    assert isinstance(made, Several) and type(made.each[0]).__name__.lower() == kind
    mine = {id(p) for p in step.methods["m0"].parameters()}
    held = [{id(p) for group in one.param_groups for p in group["params"]} for one in made.each]
    assert held[1] == mine
    assert held[0] == {id(p) for p in step.model.parameters()}
    (group,) = made.each[1].param_groups
    assert group["betas"] == (0.25, 0.75) and group["scale"] * 0.1 == pytest.approx(3e-3)
    plain = make_optimizer(step_of(Method()), Fit(optimizer=kind))
    assert not isinstance(plain, Several)


def test_rates_set_from_outside_reach_each_optimizer_also_after_loading():
    step = step_of(Own())
    config = Fit(optimizer="sgd", lr=0.5, precision="no")
    prepared = make_accelerator(config).prepare(make_optimizer(step, config))
    for _ in range(2):
        for group in prepared.param_groups:
            group["lr"] = 0.0
        before = [p.clone() for p in step.parameters()]
        for parameter in step.parameters():
            parameter.grad = torch.ones_like(parameter)
        prepared.step()
        assert all(torch.equal(a, b) for a, b in zip(before, step.parameters(), strict=True))
        prepared.load_state_dict(prepared.state_dict())
    state = prepared.state_dict()["each"]
    assert len(state) == 2 and all(each["state"] for each in state)


def test_each_moves_as_it_would_alone():
    torch.manual_seed(0)
    start, gradients = torch.randn(2, 3), torch.randn(4, 2, 3)
    ours = [nn.Parameter(row.clone()) for row in start]
    theirs = [nn.Parameter(row.clone()) for row in start]
    kinds = [lambda p: torch.optim.SGD([p], 0.1, 0.9), lambda p: torch.optim.Adam([p], 0.2)]
    both = Several([kind(p) for kind, p in zip(kinds, ours, strict=True)])
    alone = [kind(p) for kind, p in zip(kinds, theirs, strict=True)]
    for gradient in gradients:
        for parameter, other, row in zip(ours, theirs, gradient, strict=True):
            parameter.grad, other.grad = row.clone(), row.clone()
        both.step()
        for one in alone:
            one.step()
        both.zero_grad()
        assert all(p.grad is None for p in ours)
    for parameter, other in zip(ours, theirs, strict=True):
        assert torch.equal(parameter, other)


def test_descent_bears_weights_that_meet_their_first_gradient_late():
    step = step_of(Method())
    made = make_optimizer(step, Fit(optimizer="sgd", lr=0.1))
    early, late = list(step.model.trunk.parameters())[:2]
    before = late.clone()
    early.grad = torch.ones_like(early)
    made.step()
    late.grad = torch.ones_like(late)
    made.step()
    torch.testing.assert_close(late, before - 0.1)


def test_where_the_model_is_frozen_the_method_still_learns():
    step = step_of(Own())
    step.model.requires_grad_(False)
    made = make_optimizer(step, Fit())
    assert [type(one) for one in made.each] == [torch.optim.Adam]
    step.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing to train: every parameter is frozen"):
        make_optimizer(step, Fit())
