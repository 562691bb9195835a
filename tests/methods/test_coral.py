import numpy as np
import pytest
import torch
from scipy.linalg import inv, sqrtm

from mtl.methods.coral import coral, recolour

WIDE, TALL = (5, 4, 12), (9, 14, 3)  # rows, rows, columns


def samples(n, m, width, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    zs, zt = (torch.randn(rows, width, generator=g, dtype=dtype) for rows in (n, m))
    return zs + 2.0, 1.4 * zt - 1.0


def by_hand(zs, zt):
    own, other = (np.cov(z.double().numpy(), rowvar=False) for z in (zs, zt))
    return ((own - other) ** 2).sum() / (4 * zs.shape[1] ** 2)


@pytest.mark.parametrize("sizes", [WIDE, TALL, (2, 2, 1)])
def test_it_is_the_distance_of_the_covariances(sizes):
    """With the square, with n - 1, and divided by 4 D^2 once."""
    zs, zt = samples(*sizes)
    assert coral(zs, zt).item() == pytest.approx(by_hand(zs, zt), rel=1e-12)
    torch.testing.assert_close(coral(zt, zs), coral(zs, zt))
    torch.testing.assert_close(coral(3 * zs, 3 * zt), 81 * coral(zs, zt))
    torch.testing.assert_close(coral(zs + 7, zt), coral(zs, zt))
    assert coral(zs, zs).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("sizes", [WIDE, TALL])
def test_its_gradient_is_right(sizes):
    zs, zt = (z.requires_grad_() for z in samples(*sizes))
    assert torch.autograd.gradcheck(coral, (zs, zt))


def test_products_of_rows_are_as_exact_as_covariances():
    zs, zt = samples(64, 48, 2048, torch.float32)
    assert coral(zs, zt).item() == pytest.approx(by_hand(zs, zt), rel=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert coral(zs, zt).item() == pytest.approx(by_hand(zs, zt), rel=1e-5)
    assert coral(zs.bfloat16(), zt.bfloat16()).dtype == torch.float32


def test_constant_features_have_no_covariance():
    zs = torch.full((3, 4), 1e6, requires_grad=True)
    value = coral(zs, torch.zeros(2, 4))
    value.backward()
    assert value == 0 and not zs.grad.any()


def test_one_row_is_refused():
    with pytest.raises(ValueError, match="1 source and 5 target rows; a covariance needs 2"):
        coral(torch.ones(1, 3), torch.ones(5, 3))


def test_the_closed_form_whitens_the_source_and_colours_it_as_the_target():
    zs, zt = samples(30, 40, 4)
    own, other = (np.cov(z.numpy(), rowvar=False) for z in (zs, zt))
    one = np.eye(4)
    wanted = zs.numpy() @ inv(sqrtm(own + one)) @ sqrtm(other + one)
    np.testing.assert_allclose(recolour(zs, zt), wanted, rtol=1e-8)
    np.testing.assert_allclose(np.cov(recolour(zs, zt, ridge=0).T), other, rtol=1e-8)
    assert coral(recolour(zs, zt, ridge=0), zt) < 1e-20
    assert recolour(zs.float(), zt.float()).dtype == torch.float32


def test_the_closed_form_takes_fewer_rows_than_columns():
    assert recolour(*samples(*WIDE)).isfinite().all()
