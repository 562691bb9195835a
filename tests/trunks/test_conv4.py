"""conv4: convolutions, pools and one place that leaves; an image alone gives the same."""

import pytest
import torch
import torch.nn.functional as F

from mtl.batch import Batch
from mtl.registry import construct, describe
from mtl.trunks.conv4 import Conv4


def maps(count=3, side=28, channels=8):
    g = torch.Generator().manual_seed(0)
    return Batch(torch.randn(count, channels, side, side, generator=g), torch.full((count,), side))


def made(side=28):
    torch.manual_seed(0)
    return Conv4(8, side)


@pytest.mark.parametrize(("side", "left"), [(28, 1), (35, 4), (16, 1)])
def test_it_is_norm_bend_pool_and_convolution(side, left):
    trunk, batch = made(side), maps(side=side)
    x = batch.inputs
    for name in ("b1", "b2", "b3"):
        block = trunk.blocks[name]
        x = F.max_pool2d(F.group_norm(x, 8, block.norm.weight, block.norm.bias).clamp(min=0), 2)
        x = F.conv2d(x, block.convolution.weight, block.convolution.bias, padding=1)
    x = F.max_pool2d(F.group_norm(x, 8, trunk.norm.weight, trunk.norm.bias).clamp(min=0), 2)
    found = trunk(batch)
    assert found.x.shape == (3, 1, 8 * left) and trunk.dim_at(None) == 8 * left
    torch.testing.assert_close(found.x[:, 0], x.flatten(1))
    assert found.lengths.tolist() == trunk.frames(batch.lengths).tolist() == [1, 1, 1]


def test_inner_blocks_are_laid_out_and_images_do_not_mix():
    trunk, batch = made(), maps()
    taps = trunk(batch, ["b1", "b3"]).taps
    assert taps["b1"].x.shape == (3, 14 * 14, 8) and taps["b3"].x.shape == (3, 9, 8)
    assert taps["b1"].lengths.tolist() == [196] * 3
    batch.inputs[1] *= 100
    together = trunk.train()(batch).x
    for row in range(3):
        alone = trunk(Batch(batch.inputs[row : row + 1], batch.lengths[:1])).x
        torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-5)


def test_settings_and_weights_come_back():
    trunk = made()
    again = construct("trunks", describe(trunk))
    again.load_state_dict(trunk.state_dict())
    assert again(maps()).x.equal(trunk(maps()).x) and describe(again) == describe(trunk)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="side is 15: nothing is left of it after 4 pools"):
        Conv4(8, 15)
    with pytest.raises(ValueError, match=r"shape \(3, 8, 16, 16\); .*\(B, 8, 28, 28\)"):
        made()(maps(side=16))
