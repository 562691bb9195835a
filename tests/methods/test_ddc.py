import torch

from mtl.methods.ddc import ddc


def samples():
    g = torch.Generator().manual_seed(0)
    return (torch.randn(rows, 3, generator=g, dtype=torch.float64) for rows in (4, 7))


def test_it_is_the_biased_mmd_of_a_linear_kernel():
    zs, zt = samples()
    within = (zs @ zs.T).mean() + (zt @ zt.T).mean()
    torch.testing.assert_close(ddc(zs, zt), within - 2 * (zs @ zt.T).mean())


def test_it_grows_with_the_square_and_sees_the_means_alone():
    zs, zt = samples()
    torch.testing.assert_close(ddc(zt, zs), ddc(zs, zt))
    torch.testing.assert_close(ddc(3 * zs, 3 * zt), 9 * ddc(zs, zt))
    centred = zs - zs.mean(0)
    torch.testing.assert_close(ddc(zs + 5 * centred, zt), ddc(zs, zt))
    assert ddc(zs, zs) == 0


def test_its_gradient_is_right():
    assert torch.autograd.gradcheck(ddc, tuple(z.requires_grad_() for z in samples()))
