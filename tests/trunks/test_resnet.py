"""resnet: maps in, sequences out; an image alone gives the same, and an inner block can be rejoined."""

import pytest
import torch

from mtl.batch import Batch, Example, Flow, collate
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.registry import construct, describe
from mtl.stems.pixels import Pixels
from mtl.trunks.resnet import ResNet


@pytest.fixture(params=[True, False], ids=["residual", "plain"])
def trunk(request):
    torch.manual_seed(0)
    return ResNet(4, widths=[8, 8, 12], strides=[1, 2, 2], residual=request.param).eval()


def maps(count=3, height=9, width=9):
    inputs = torch.randn(count, 4, height, width)
    return Batch(inputs, torch.full((count,), width))


def test_an_image_alone_gives_the_same(trunk):
    batch, taps = maps(), list(trunk.blocks)
    batch.inputs[1] *= 100
    together = trunk.train()(batch, taps)  # training too: no statistics of the batch
    for row in range(3):
        alone = trunk(Batch(batch.inputs[row : row + 1], batch.lengths[row : row + 1]), taps)
        for tap in [None, *taps]:
            got, expected = together.at(tap).x[row], alone.at(tap).x[0]
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", range(1, 12))
def test_lengths_are_as_promised(trunk, side):
    features = trunk(maps(2, side, side), ["b2"])
    places = int(trunk.frames(torch.tensor(side)))
    assert features.x.shape == (2, places, 12) and features.lengths.tolist() == [places] * 2
    inner = -(-side // 2)
    assert features.at("b2").x.shape == (2, inner**2, 8) and trunk.blocks["b2"].dim == 8
    assert features.at("b2").lengths.tolist() == [inner**2] * 2


def test_places_are_laid_out_row_by_row(trunk):
    batch = maps(1, 4, 6)
    flow = trunk.blocks["b2"](trunk.blocks["b1"](trunk.enter(batch)))
    tapped = trunk.tap(flow)
    assert flow.x.shape == (1, 8, 2, 3) and flow.lengths.tolist() == [3]
    assert torch.equal(tapped.x[0, 1 * 3 + 2], flow.x[0, :, 1, 2])
    assert tapped.lengths.tolist() == [6]


def test_gradients_reach_every_parameter(trunk):
    trunk(maps()).x.pow(3).sum().backward()
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_settings_and_weights_come_back(trunk):
    torch.manual_seed(1)
    again = construct("trunks", describe(trunk)).eval()
    again.load_state_dict(trunk.state_dict())
    assert torch.equal(again(batch := maps()).x, trunk(batch).x)
    assert describe(again) == describe(trunk)


def test_bfloat16_is_close(trunk):
    batch = maps()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = trunk(batch).x
    assert 0 < (rough.float() - trunk(batch).x).abs().mean() < 0.02


def test_stored_maps_rejoin_at_a_block(trunk):
    torch.manual_seed(0)
    stem, task = Pixels(1, 9, dim=4), Task("kind", "images", Classify(["a", "b"]))
    model = Model({"images": stem}, trunk, [task]).eval()
    batch = Batch(torch.randn(3, 1, 9, 9), torch.tensor([9, 9, 9]))
    stemmed = stem(batch)
    flow = trunk.enter(Batch(stemmed.x, stemmed.lengths))
    for name in ("b1", "b2"):
        flow = trunk.blocks[name](flow)
    stored = collate([Example(x.detach(), start="b3") for x in flow.x])
    whole, rest = model("images", batch), model("images", stored)
    assert torch.equal(whole.x, rest.x) and torch.equal(whole.lengths, rest.lengths)


def test_without_a_skip_a_block_is_one_convolution():
    plain, residual = ResNet(4, [8, 8], residual=False), ResNet(4, [8, 8])
    flow = Flow(torch.randn(1, 4, 5, 5), torch.tensor([5]))
    for block in residual.blocks.values():
        torch.nn.init.zeros_(block.convolution2.weight)
        torch.nn.init.zeros_(block.convolution2.bias)
    assert torch.equal(residual.blocks["b1"](flow).x, residual.blocks["b1"].skip(flow.x))
    shapes = [p.shape for p in plain.parameters() if p.dim() == 4]
    assert shapes == [(8, 4, 3, 3), (8, 8, 3, 3)]


def test_impossible_settings_and_inputs_are_named(trunk):
    with pytest.raises(ValueError, match="widths is empty"):
        ResNet(4, [])
    with pytest.raises(ValueError, match="1 strides for 2 widths"):
        ResNet(4, [8, 8], [2])
    with pytest.raises(ValueError, match=r"shape \(2, 7, 4\).* maps \(B, 4, H, W\)"):
        trunk(Batch(torch.zeros(2, 7, 4), torch.tensor([7, 7])))
