import pytest
import torch
from scipy.optimize import approx_fprime
from toy import model, train

from mtl.methods.l2sp import L2SP, l2sp
from mtl.step import Step

FIT = {"weight_decay": 0.0, "clip": 0.0, "schedule": "constant", "warmup": 0.0}


def flat(net, *parts):
    """The parameters below `parts` in one vector."""
    found = [p.detach() for n, p in net.named_parameters() if n.startswith(parts)]
    return torch.cat([p.flatten() for p in found]).double().numpy()


def test_it_is_half_the_squared_distance_of_the_joined_vectors():
    now, start = ([torch.randn(3, 2), torch.randn(4)] for _ in range(2))
    apart = (torch.cat([t.flatten() for t in now]) - torch.cat([t.flatten() for t in start])).norm()
    torch.testing.assert_close(l2sp(now, start), apart**2 / 2)
    torch.testing.assert_close(l2sp(now), torch.cat([t.flatten() for t in now]).norm() ** 2 / 2)
    torch.testing.assert_close(l2sp(start, now), l2sp(now, start))
    torch.testing.assert_close(l2sp([3 * t for t in now]), 9 * l2sp(now))
    assert l2sp(now, now) == 0


def test_its_gradient_is_the_way_back():
    now, start = torch.randn(5).double().requires_grad_(), torch.randn(5).double()
    l2sp([now], [start]).backward()
    torch.testing.assert_close(now.grad, now.detach() - start)
    slope = approx_fprime(now.detach().numpy(), lambda w: l2sp([torch.tensor(w)], [start]).item())
    torch.testing.assert_close(now.grad, torch.tensor(slope), atol=1e-4, rtol=1e-4)


def test_tensors_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="zip"):
        l2sp([torch.ones(2)], [torch.ones(2), torch.ones(2)])


def terms(net, method):
    view = type("View", (), {"model": net})
    return {name: value.item() for name, value in method.terms(view).items()}


def test_shared_weights_are_held_and_new_ones_kept_small():
    net, method = model(), L2SP(alpha=0.3, beta=0.2)
    Step(net, {"l2sp": method})
    before = flat(net, "stems", "trunk")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))
    expected = {
        "start": 0.15 * ((flat(net, "stems", "trunk") - before) ** 2).sum(),
        "new": 0.1 * (flat(net, "heads") ** 2).sum(),
    }
    assert terms(net, method) == pytest.approx(expected, rel=1e-5)


def test_what_is_shared_can_be_chosen_and_frozen_parameters_do_not_count():
    net = model()
    net.stems.requires_grad_(False)
    method = L2SP(shared=["trunk.blocks", "heads.nl"])
    method.build(net)
    assert {name.split(".")[0] for name in method.old} == {"trunk", "heads"}
    assert {name.rpartition(".")[0] for name in method.new} == {
        "trunk.norm",
        "heads.cy.output",
        "heads.language.output",
    }


def test_thawing_step_by_step_does_not_change_what_is_held():
    net, method = model(), L2SP()
    method.build(net)
    whole = terms(net, method)
    net.trunk.requires_grad_(False)
    assert terms(net, method) == whole


def test_a_strong_pull_keeps_the_trunk_where_it_was_and_lets_the_heads_learn():
    moved = []
    parts = ("stems", "trunk"), ("heads",)
    for methods in (None, {"l2sp": L2SP(alpha=1e4, beta=0.0)}):
        net = model()
        before = [flat(net, *part) for part in parts]
        train(net=net, methods=methods, steps=15, **FIT)
        after = [flat(net, *part) for part in parts]
        moved.append([abs(b - a).mean() for a, b in zip(after, before, strict=True)])
    free, held = moved
    assert held[0] < 0.3 * free[0]
    assert held[1] > 0.5 * free[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1.0}, "alpha is -1.0, beta is 0.01; neither may be below 0"),
        ({"shared": ["trunk", "stem"]}, r"nothing that is trained lies in \['stem'\]"),
        ({"shared": ["heads.c"]}, r"nothing that is trained lies in \['heads.c'\]"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        L2SP(**arguments).build(model())
