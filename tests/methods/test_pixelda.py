"""PixelDA: noise, the foreground that is to stay, and what the generator learns from."""

import numpy as np
import pytest
import torch
from painting import SMALL, batches, calm, stepped, viewed

from mtl.methods.pixelda import PixelDA, foreground
from mtl.rebuilding import scale_invariant


def test_the_foreground_is_what_is_light_in_all_channels_together():
    x = torch.full((1, 3, 2, 2), -1.0)
    x[0, :, 0, 0] = 0.5
    x[0, 0, 1, 1] = 1.0  # one channel of three: a third of the way
    assert foreground(x, 0.5)[0, 0].tolist() == [[1, 0], [0, 0]]
    assert foreground(x, 0.25)[0, 2].tolist() == [[1, 0], [0, 1]]


def test_content_is_compared_on_the_foreground_alone_pair_by_pair():
    method = calm("pixelda", content=0.3, lighter=0.4)
    step, view, terms = stepped(method)
    x = batches(step.model, source=5)["source"].inputs
    y, mask = method.translate(x), foreground(x, 0.4)
    each = []
    for row in range(5):
        e = (y[row] - x[row])[mask[row] > 0].detach().numpy()
        each.append(np.square(e[:, None] - e[None]).mean() / 2)
    torch.testing.assert_close(
        terms["content"].item(), 0.3 * float(np.mean(each)), rtol=1e-4, atol=0
    )
    assert 0 < mask.mean() < 1
    elsewhere = y + 5 * (1 - mask)
    torch.testing.assert_close(scale_invariant(elsewhere, x, mask), scale_invariant(y, x, mask))
    assert "content" not in viewed(stepped(calm("pixelda"))[0], view.batches)[1]


def test_noise_is_even_from_minus_one_to_one_and_new_for_every_picture():
    method = PixelDA(networks=SMALL)
    torch.manual_seed(0)
    z = method.draw(torch.empty(400, 10))
    assert -1 <= z.min() < -0.98 and 0.98 < z.max() <= 1
    assert z.std().item() == pytest.approx(1 / 3**0.5, abs=0.02)
    step, _, _ = stepped(method)
    x = batches(step.model, source=1)["source"].inputs.expand(2, -1, -1, -1)
    first, second = method.translate(x)
    assert not torch.equal(first, second)
    quiet = calm("pixelda", noise=0)
    stepped(quiet)
    first, second = quiet.translate(x)
    assert torch.equal(first, second)


def test_to_fool_moves_the_generator_and_not_the_model():
    method = calm("pixelda")
    step, _, terms = stepped(method)
    terms["fool"].backward()
    assert all(p.grad.any() for p in method.generator.layers.parameters())
    assert not any(p.grad is not None for p in step.model.parameters())


def test_wrong_settings_are_named():
    for arguments in ({"content": -1.0}, {"noise": -1}, {"lighter": 1.0}):
        with pytest.raises(
            ValueError, match=r"content is .* noise .* lighter .* may not be below 0"
        ):
            PixelDA(**arguments)
