import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from mtl.score.mmd import SCALES, distances, mmd_biased, mmd_linear, mmd_unbiased

GAMMAS = torch.tensor([0.5, 3.0, 40.0], dtype=torch.float64)


def samples(n=7, m=5, width=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    zs, zt = (torch.randn(rows, width, generator=g, dtype=torch.float64) for rows in (n, m))
    return zs, 1.3 * zt + 0.4


def kernel(a, b, gamma):
    return np.exp(-sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)) / gamma)


def by_hand(zs, zt, gamma, biased):
    """The sums of Gretton et al. 2012, one pair of rows after the other."""

    def within(z):
        pairs = [(a, b) for a in range(len(z)) for b in range(len(z)) if biased or a != b]
        return np.mean([kernel(z[a], z[b], gamma) for a, b in pairs])

    across = np.mean([kernel(a, b, gamma) for a in zs for b in zt])
    return within(zs) + within(zt) - 2 * across


@pytest.mark.parametrize("sizes", [(7, 5), (2, 9), (4, 4)])
def test_it_is_the_sum_over_pairs_also_of_unequal_samples(sizes):
    zs, zt = samples(*sizes)
    for biased, function in ((False, mmd_unbiased), (True, mmd_biased)):
        wanted = [by_hand(zs, zt, gamma, biased) for gamma in GAMMAS.tolist()]
        np.testing.assert_allclose(function(zs, zt, GAMMAS), wanted, rtol=1e-10)
        torch.testing.assert_close(function(zt, zs, GAMMAS), function(zs, zt, GAMMAS))


def test_the_unbiased_one_is_zero_in_the_mean_and_negative_at_times():
    drawn = [samples(6, 9, seed=seed) for seed in range(300)]
    same = [(zs, (zt - 0.4) / 1.3) for zs, zt in drawn]
    unbiased = torch.cat([mmd_unbiased(*pair, GAMMAS[1:2]) for pair in same])
    biased = torch.cat([mmd_biased(*pair, GAMMAS[1:2]) for pair in same])
    error = unbiased.std() / 300**0.5
    assert abs(unbiased.mean()) < 3 * error < 0.1 * biased.mean()
    assert (unbiased < 0).any() and (biased >= 0).all()


def test_the_linear_one_uses_each_row_once_and_agrees_in_the_mean():
    zs, zt = samples(9, 7)
    terms = mmd_linear(zs, zt, GAMMAS)
    i, gamma = 2, GAMMAS[1].item()
    rows = zs[2 * i], zs[2 * i + 1], zt[2 * i], zt[2 * i + 1]
    k = [[kernel(a, b, gamma) for a in rows] for b in rows]
    assert terms.shape == (3, 3)
    assert terms[1, i].item() == pytest.approx(k[0][1] + k[2][3] - k[0][3] - k[1][2])
    many = samples(4000, 4000)
    few = [z[:300] for z in many]
    linear, quadratic = mmd_linear(*many, GAMMAS), mmd_unbiased(*few, GAMMAS)
    assert torch.allclose(linear.mean(1), quadratic, atol=0.05)


def test_the_bandwidth_is_the_median_over_different_rows_and_has_no_gradient():
    zs, zt = samples(4, 3)
    values = pdist(torch.cat([zs, zt]).numpy(), "sqeuclidean")
    assert distances(zs, zt).median().item() == pytest.approx(np.median(values))
    assert not distances(zs.requires_grad_(), zt).median().requires_grad
    torch.testing.assert_close(mmd_unbiased(zs, zt), mmd_unbiased(20 * zs, 20 * zt))


def test_gradients_are_right():
    zs, zt = (z.requires_grad_() for z in samples(4, 3, 2))
    for function in (mmd_unbiased, mmd_biased, mmd_linear):
        assert torch.autograd.gradcheck(lambda s, t, f=function: f(s, t, GAMMAS), (zs, zt))


def test_it_is_exact_far_from_the_origin_and_in_lower_precision():
    zs, zt = samples(20, 30)
    wanted = mmd_unbiased(zs, zt, GAMMAS).float()
    far = [(z.float() + 1000.0) for z in (zs, zt)]
    torch.testing.assert_close(mmd_unbiased(*far, GAMMAS.float()), wanted, atol=2e-4, rtol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = mmd_unbiased(zs.float(), zt.float(), GAMMAS.float())
    assert inside.equal(mmd_unbiased(zs.float(), zt.float(), GAMMAS.float()))


@pytest.mark.parametrize("kind", ["equal", "doubled", "huge"])
def test_odd_samples_give_finite_values_and_gradients(kind):
    zs, zt = (z.float() for z in samples(3, 4))
    if kind == "equal":
        zs, zt = torch.ones_like(zs), torch.ones_like(zt)
    if kind == "doubled":
        zt = zs[[0, 0, 0, 0]]
    if kind == "huge":
        zs, zt = 1e9 * zs, 1e9 * zt
    zs.requires_grad_()
    value = mmd_unbiased(zs, zt, distances(zs, zt).median() * torch.tensor(SCALES))
    value.sum().backward()
    assert value.isfinite().all() and zs.grad.isfinite().all()
    assert kind != "equal" or value.abs().max() < 1e-6


def test_one_row_is_refused():
    with pytest.raises(ValueError, match=r"1 source and 2 target rows; give 2 of each.*mmd_biased"):
        mmd_unbiased(torch.ones(1, 2), torch.ones(2, 2))
