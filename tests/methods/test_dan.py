import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from mtl.methods.dan import DAN, best_kernels, dan, kernel_statistics
from mtl.score.mmd import distances, mmd_unbiased

SCALES = (0.25, 1.0, 4.0)


def samples(n=8, m=6, width=3, shift=1.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    zs, zt = (torch.randn(rows, width, generator=g, dtype=torch.float64) for rows in (n, m))
    return zs, zt + shift


def test_kernels_are_mixed_by_their_weights():
    zs, zt = samples()
    gammas = distances(zs, zt).median() * torch.tensor(SCALES)
    each, beta = mmd_unbiased(zs, zt, gammas), torch.tensor([0.3, 0.0, 0.7])
    torch.testing.assert_close(dan(zs, zt, beta, SCALES), 0.3 * each[0] + 0.7 * each[2])
    torch.testing.assert_close(dan(zt, zs, beta, SCALES), dan(zs, zt, beta, SCALES))
    torch.testing.assert_close(dan(9 * zs, 9 * zt, beta, SCALES), dan(zs, zt, beta, SCALES))


def test_the_usual_kernels_are_33_half_octaves_about_the_median():
    kernels = DAN().kernels
    assert (len(kernels), kernels[0], kernels[16], kernels[-1]) == (33, 2**-8, 1.0, 2**8)
    assert kernels[1] / kernels[0] == pytest.approx(2**0.5)


def test_its_gradient_is_right_where_the_bandwidth_stands():
    zs, zt = samples(4, 3, 2)
    zs.requires_grad_()
    beta, gammas = torch.tensor([0.2, 0.5, 0.3]), distances(zs, zt).median() * torch.tensor(SCALES)
    dan(zs, zt, beta, SCALES).backward()
    fixed = zs.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: mmd_unbiased(z, zt, gammas), fixed)
    (beta.double() @ mmd_unbiased(fixed, zt, gammas)).backward()
    torch.testing.assert_close(zs.grad, fixed.grad)


@pytest.mark.parametrize("seed", range(4))
def test_the_weights_solve_the_quadratic_program(seed):
    rng = np.random.default_rng(seed)
    factor, gaps = rng.normal(size=(9, 6)), rng.normal(size=6) + 0.3
    spread = factor.T @ factor / 9
    beta = best_kernels(gaps, spread)
    whole = spread + 1e-3 * np.eye(6)
    reference = minimize(
        lambda b: b @ whole @ b,
        np.full(6, 1 / max(gaps.sum(), 0.1)),
        jac=lambda b: 2 * whole @ b,
        bounds=[(0, None)] * 6,
        constraints={"type": "eq", "fun": lambda b: gaps @ b - 1},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    np.testing.assert_allclose(beta, reference.x / reference.x.sum(), atol=1e-4)
    assert beta.sum() == pytest.approx(1) and (beta >= 0).all()


@pytest.mark.parametrize(
    ("gaps", "spread"),
    [
        (np.array([-0.1, 0.0]), np.eye(2)),
        (np.array([np.nan, 1.0]), np.eye(2)),
        (np.array([1.0, 1.0]), np.full((2, 2), np.inf)),
    ],
)
def test_where_no_kernel_sees_a_difference_all_weigh_the_same(gaps, spread):
    assert best_kernels(gaps, spread).tolist() == [0.5, 0.5]


def test_statistics_are_those_of_all_pairs_of_pairs():
    zs, zt = samples(6, 4)
    found = distances(zs, zt)
    gaps, spread = kernel_statistics(found, SCALES)
    gammas = found.median().item() * np.array(SCALES)

    def k(a, b):
        return np.exp(-((a - b) ** 2).sum().item() / gammas)

    pairs = [(i, j) for i in range(4) for j in range(i)]
    terms = [
        k(zs[i], zs[j]) + k(zt[i], zt[j]) - k(zs[i], zt[j]) - k(zs[j], zt[i]) for i, j in pairs
    ]
    np.testing.assert_allclose(spread, np.cov(np.array(terms).T, bias=True), rtol=1e-6)
    np.testing.assert_allclose(gaps, np.mean(terms, 0), rtol=1e-6)


def built(places=1):
    method = DAN("a", "b", at=[f"b{i}" for i in range(places)], kernels=SCALES)
    model = type("Model", (), {"streams": {"a": "a", "b": "b"}})
    model.trunk = type("Trunk", (), {"block_dims": staticmethod(list)})
    method.build(model)
    return method


def test_each_place_has_weights_from_the_mean_over_steps():
    method, seen = built(places=2), []
    assert method.beta.tolist() == [[pytest.approx(1 / 3)] * 3] * 2
    for seed in range(3):
        zs, zt = samples(12, 10, seed=seed)
        seen.append(kernel_statistics(distances(zs, zt), SCALES))
        method.compare(1, [(zs, zt)])
    gaps, spread = seen[0]
    for later in seen[1:]:
        gaps, spread = 0.9 * gaps + 0.1 * later[0], 0.9 * spread + 0.1 * later[1]
    wanted = best_kernels(gaps.numpy(), spread.numpy())
    np.testing.assert_allclose(method.beta[1], wanted, rtol=1e-4, atol=1e-6)
    assert method.beta[0].tolist() == [pytest.approx(1 / 3)] * 3
    before = method.beta.clone()
    value = method.eval().compare(1, [samples(9, 9, seed=5)])
    assert method.beta.equal(before)
    torch.testing.assert_close(value, dan(*samples(9, 9, seed=5), before[1], SCALES))


def blobs(seed, rows=150):
    """Distant heaps, whose shape tells the samples apart (Gretton et al. 2012b, section 5)."""
    g = torch.Generator().manual_seed(seed)
    heaps = 4 * torch.randint(8, (2, rows, 2), generator=g).double()
    flat = torch.tensor([[[1.0, 0.3]], [[0.3, 1.0]]])
    return (heaps + flat * torch.randn(2, rows, 2, generator=g, dtype=torch.float64)).unbind()


def test_the_chosen_kernels_tell_samples_apart_more_surely():
    """Long et al. 2015: a two-sample test of the chosen mixture has more power than of the even one."""
    kernels = DAN().kernels
    gaps, spread = (x.numpy() for x in kernel_statistics(distances(*blobs(0)), kernels))
    beta, even = best_kernels(gaps, spread), np.full(33, 1 / 33)
    gaps, spread = (x.numpy() for x in kernel_statistics(distances(*blobs(1)), kernels))

    def power(b):
        return gaps @ b / np.sqrt(b @ spread @ b)

    assert power(beta) > 2 * power(even)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match=r"kernels \[0.0\]: give multiples of the median, above 0"):
        DAN(kernels=[0.0])
