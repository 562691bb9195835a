import math

import pytest
import torch

from mtl.batch import Batch, Flow
from mtl.model import Model
from mtl.stems.frames import Frames
from mtl.stems.pixels import Pixels
from mtl.trunks.resnet import ResNet
from mtl.trunks.transformer import Transformer
from mtl.tune.adapter import Bottleneck, adapter

MEMBERS = torch.tensor([1, 0])


def build(kind):
    torch.manual_seed(0)
    if kind == "maps":
        return Model({"x": Pixels(1, 8, 4)}, ResNet(4, [6, 8], residual=False)).eval()
    return Model({"x": Frames(3, 6)}, Transformer(6, 2, 1, 2, 0.0)).eval()


def inputs(kind):
    shape, lengths = ((2, 1, 8, 8), [8, 8]) if kind == "maps" else ((2, 9, 3), [9, 4])
    return Batch(torch.randn(shape), torch.tensor(lengths), groups={"speaker": MEMBERS})


def by_hand(x, down, up):
    """One vector x (D,) through one member's adapter, in plain numbers."""
    x = x.double()
    normal = (x - x.mean()) / math.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)
    inner = [float(normal @ column) for column in down.double().T]
    bent = [h * (1 + math.erf(h / math.sqrt(2))) / 2 for h in inner]
    return (x + torch.tensor(bent).double() @ up.double()).float()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["frames", "maps"])
def test_each_vector_goes_through_its_members_adapter(kind):
    model, batch = build(kind), inputs(kind)
    plain = model("x", batch, ["b1"]).at("b1").x
    adapter(model, size=2, dim=5, blocks=["b1"])
    inserted = model.trunk.after["b1"]["adapter"]
    inserted.up.normal_()
    inserted.down.normal_()
    assert inserted.down.shape == (2, 6, 5) and list(model.trunk.after) == ["b1"]
    found = model("x", batch, ["b1"]).at("b1").x
    for row, member in enumerate(MEMBERS):
        down, up = inserted.down[member], inserted.up[member]
        expected = torch.stack([by_hand(x, down, up) for x in plain[row]])
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)


def test_members_start_alike_and_not_at_rest():
    torch.manual_seed(0)
    start = Bottleneck(3, 64, 32, "speaker")
    assert start.down[0].equal(start.down[2]) and not start.up.any()
    assert 0.9 < start.down[0].norm(dim=0).mean() < 1.1  # keeps the variance of what it takes


def test_half_precision_is_kept_between_blocks():
    behind = Bottleneck(2, 6, 4, "speaker")
    x = torch.randn(2, 3, 6).bfloat16()
    flow = Flow(x, torch.tensor([3, 3]), {"speaker": MEMBERS})
    assert behind(flow).x.equal(x) and behind(flow).x.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert behind(flow).x.dtype == torch.bfloat16
        assert behind(flow._replace(x=x.float())).x.dtype == torch.float32


def test_maps_with_channels_last_are_refused():
    behind = Bottleneck(2, 6, 4, "speaker")
    flow = Flow(torch.randn(2, 3, 3, 6), torch.tensor([3, 3]), {"speaker": MEMBERS})
    with pytest.raises(
        ValueError, match=r"\(2, 3, 3, 6\); an adapter of width 6 .* \(B, 6, H, W\)"
    ):
        behind(flow)


def test_an_unknown_block_is_refused():
    with pytest.raises(ValueError, match=r"no block \['b9'\]; this encoder has: \['b1', 'b2'\]"):
        adapter(build("frames"), 2, blocks=["b9"])
