"""lenet: the paper's layers written as convolutions; an image alone gives the same."""

import pytest
import torch
import torch.nn.functional as F

from mtl.batch import Batch
from mtl.registry import construct, describe
from mtl.stems.pixels import Pixels
from mtl.trunks.lenet import LeNet


@pytest.fixture
def trunk():
    torch.manual_seed(0)
    return LeNet(4, side=14, convolved=6, dense=[9, 7])


def maps(count=3, side=14):
    return Batch(torch.randn(count, 4, side, side), torch.full((count,), side))


def test_it_is_two_linear_layers_behind_convolution_and_pooling(trunk):
    batch, weights = maps(), dict(trunk.named_parameters())
    x = F.max_pool2d(batch.inputs.clamp(min=0), 2)  # first bent, then pooled
    x = F.conv2d(x, *(weights[f"blocks.b1.convolution.{n}"] for n in ("weight", "bias")))
    flat = x = F.max_pool2d(x.clamp(min=0), 2).flatten(1)
    for block in ("b2", "b3"):
        weight, bias = (weights[f"blocks.{block}.linear.{n}"] for n in ("weight", "bias"))
        x = (x @ weight.T + bias).clamp(min=0)
    features = trunk(batch, ["b1"])
    torch.testing.assert_close(features.x[:, 0], x)
    torch.testing.assert_close(features.taps["b1"].x[:, 0], flat)
    assert features.lengths.tolist() == [1] * 3
    assert trunk.frames(torch.tensor([14, 14])).tolist() == [1, 1]


def test_taps_have_the_widths_that_blocks_tell(trunk):
    big = LeNet(4, side=24, convolved=6, dense=[9, 7])  # 24 -> 12 -> 8 -> 4 a side
    dims = big.block_dims()
    assert dims == {"b1": 6 * 4 * 4, "b2": 9, "b3": 7} and big.dim_at(None) == 7
    assert trunk.block_dims()["b1"] == 6, "14 -> 7 -> 3 -> 1 a side"
    for name, tap in big(maps(side=24), list(big.blocks)).taps.items():
        assert tap.x.shape == (3, 1, dims[name]) and tap.lengths.tolist() == [1] * 3


def test_an_image_alone_gives_the_same(trunk):
    batch = maps()
    batch.inputs[1] *= 100
    together = trunk.train()(batch).x
    for row in range(3):
        alone = trunk(Batch(batch.inputs[row : row + 1], batch.lengths[row : row + 1])).x
        torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-5)


def test_settings_and_weights_come_back(trunk):
    torch.manual_seed(1)
    again = construct("trunks", describe(trunk))
    again.load_state_dict(trunk.state_dict())
    batch = maps()
    assert torch.equal(again(batch).x, trunk(batch).x) and describe(again) == describe(trunk)


def test_the_default_is_the_network_of_the_paper():
    stem, trunk = Pixels(3, 28, 32, kernel=5, padded=False), LeNet()
    sizes = [tuple(p.shape) for p in (*stem.parameters(), *trunk.parameters()) if p.dim() > 1]
    assert sizes == [(32, 3, 5, 5), (48, 32, 5, 5), (100, 768), (100, 100)]
    batch = Batch(torch.randn(2, 3, 28, 28), torch.full((2,), 28))
    stemmed = stem(batch)
    assert stemmed.x.shape == (2, 32, 24, 24) and stemmed.lengths.tolist() == [24, 24]
    torch.testing.assert_close(stemmed.x, F.conv2d(batch.inputs, *stem.parameters()))
    assert trunk(Batch(stemmed.x, stemmed.lengths)).x.shape == (2, 1, 100)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeNet(side=10), "side is 10, dense is .* 12 places a side at least"),
        (lambda: LeNet(dense=[]), r"dense is \[\]"),
        (lambda: LeNet(4, side=14)(maps(side=16)), r"shape \(3, 4, 16, 16\); .*\(B, 4, 14, 14\)"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
