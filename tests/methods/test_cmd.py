import numpy as np
import pytest
import torch
from scipy.stats import moment

from mtl.methods.cmd import CMD, cmd


def samples(n=6, m=9, width=4, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    zs, zt = (torch.randn(rows, width, generator=g, dtype=dtype) for rows in (n, m))
    return zs.sigmoid(), (1.5 * zt + 0.5).sigmoid()


@pytest.mark.parametrize(("moments", "span"), [(1, 1.0), (5, 1.0), (3, 2.0)])
def test_it_adds_the_distances_of_the_moments(moments, span):
    zs, zt = (z.numpy() for z in samples())
    wanted = np.linalg.norm(zs.mean(0) - zt.mean(0)) / span
    for order in range(2, moments + 1):
        apart = moment(zs, order) - moment(zt, order)
        wanted += np.linalg.norm(apart) / span**order
    found = cmd(*map(torch.tensor, (zs, zt)), moments, span)
    assert found.item() == pytest.approx(wanted, rel=1e-12)


def test_it_is_a_metric_whatever_the_interval():
    zs, zt = samples()
    torch.testing.assert_close(cmd(zt, zs), cmd(zs, zt))
    torch.testing.assert_close(cmd(2 * zs - 1, 2 * zt - 1, span=2.0), cmd(zs, zt))
    middle = samples()[1].flip(0)[:5]
    assert cmd(zs, zt) <= cmd(zs, middle) + cmd(middle, zt)


def test_equal_samples_cost_nothing_and_have_a_gradient():
    zs = samples()[0].requires_grad_()
    value = cmd(zs, zs.detach())
    value.backward()
    assert value == 0 and zs.grad.isfinite().all()


def test_its_gradient_is_right():
    assert torch.autograd.gradcheck(cmd, tuple(z.requires_grad_() for z in samples()))


def test_features_without_bounds_are_refused():
    with pytest.raises(ValueError, match="values from 0 to 3 do not lie in an interval"):
        cmd(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0]]))


def test_lower_precision_is_computed_in_full():
    zs, zt = (z.bfloat16() for z in samples())
    assert cmd(zs, zt).item() == pytest.approx(cmd(zs.double(), zt.double()).item(), rel=1e-5)


def test_features_are_squashed_unless_they_are_bounded():
    zs, zt = (4 * torch.randn(rows, 3) for rows in (5, 6))
    torch.testing.assert_close(CMD().distance(zs, zt), cmd(zs.sigmoid(), zt.sigmoid()))
    bounded = CMD(moments=2, span=2.0).distance(zs.tanh(), zt.tanh())
    torch.testing.assert_close(bounded, cmd(zs.tanh(), zt.tanh(), 2, 2.0))


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match=r"moments is 0, span is 0.0; give at least 1 and 0"):
        CMD(moments=0)
