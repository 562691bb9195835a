import torch

from mtl.batch import Batch
from mtl.model import Model
from mtl.stems.pixels import Pixels
from mtl.trunks.resnet import ResNet
from mtl.tune.lhuc import lhuc


def test_maps_are_scaled_by_channel():
    torch.manual_seed(0)
    model = Model({"images": Pixels(1, 8, 4)}, ResNet(4, [6, 8], residual=False)).eval()
    batch = Batch(
        torch.randn(2, 1, 8, 8), torch.tensor([8, 8]), groups={"speaker": torch.tensor([1, 0])}
    )
    before = model("images", batch, ["b1"])
    lhuc(model, size=2, blocks=["b1"])
    model.trunk.after["b1"]["lhuc"].a.data[1, 2] = 50.0  # 2 sigmoid(50) = 2
    after = model("images", batch, ["b1"]).at("b1").x
    expected = before.at("b1").x.clone()
    expected[0, :, 2] *= 2
    torch.testing.assert_close(after, expected)
