"""Decoders, and the error that does not mind brightness."""

import numpy as np
import pytest
import torch

from mtl.rebuilding import FrameDecoder, PictureDecoder, counted, scale_invariant


def test_the_error_is_the_variance_within_each_example():
    x, y = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    e = (x - y).numpy().reshape(4, -1)
    np.testing.assert_allclose(scale_invariant(x, y), e.var(1), rtol=1e-5)
    pairs = [np.mean((each[:, None] - each[None]) ** 2) / 2 for each in e]
    np.testing.assert_allclose(scale_invariant(x, y), pairs, rtol=1e-5)  # the papers' other form
    shades = torch.tensor([0.0, 9.0, -5.0, 1.0]).view(4, 1, 1, 1)
    found = scale_invariant(x + shades, y)
    torch.testing.assert_close(found, scale_invariant(x, y), rtol=1e-4, atol=1e-5)
    whole = (x + shades - y).square().mean() - (x + shades - y).mean().square()
    assert whole > 2 * found.mean(), "errors are summed within a picture, not over the batch"


def test_what_the_mask_leaves_out_is_no_error():
    x, y = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    mask = torch.ones(2, 4, 3)
    mask[1, 2:] = 0
    found = scale_invariant(x, y, mask)
    torch.testing.assert_close(found[1:], scale_invariant(x[1:, :2], y[1:, :2]))
    torch.testing.assert_close(found[:1], scale_invariant(x[:1], y[:1]))
    assert scale_invariant(x, y, torch.zeros(2, 4, 3)).tolist() == [0, 0]


def test_its_gradient_is_right():
    x, y = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    mask = torch.tensor([[1.0, 1, 1, 0]] * 3, dtype=torch.float64)
    loose = {"eps": 1e-2, "atol": 2e-2, "rtol": 5e-2}  # it computes in float32
    assert torch.autograd.gradcheck(lambda *z: scale_invariant(*z, mask).double(), (x, y), **loose)


@pytest.mark.parametrize("size", [8, 28, 30])
def test_pictures_have_their_size_and_frames_their_number(size):
    decoder = PictureDecoder(6, 3, size, 2)
    code = torch.randn(2, 6)
    assert decoder(code).shape == (2, 3, size, size)
    torch.testing.assert_close(decoder(code)[:1], decoder(code[:1]))
    frames = FrameDecoder(6, 5, 3, 4)
    assert frames(torch.randn(2, 7, 6)).shape == (2, 21, 5)


def test_each_code_says_frames_of_its_own_time():
    frames, code = FrameDecoder(6, 5, 3, 4), torch.randn(1, 4, 6)
    other = code.clone()
    other[0, 2] += 1
    changed = (frames(code) != frames(other)).any(2)[0]
    assert changed.nonzero().flatten().tolist() == [6, 7, 8]


def test_padding_is_not_counted():
    mask = counted(torch.zeros(2, 3, 2), torch.tensor([3, 1]))
    assert mask[..., 0].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert counted(torch.zeros(2, 3, 4, 4), torch.tensor([4, 4])).all()
