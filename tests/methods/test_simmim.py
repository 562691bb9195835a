"""Hidden patches: what is hidden, what is told and counted, and what is refused."""

import numpy as np
import pytest
import torch
from test_fit import Stopped, stop_at
from toy import assert_same_weights, model

from mtl.batch import Batch
from mtl.config import Fit
from mtl.data.images import Images, from_arrays
from mtl.fit import fit
from mtl.method import Totals
from mtl.methods.simmim import SimMIM, cells, hide, masked_l1
from mtl.model import Model
from mtl.stems.patches import Patches
from mtl.stems.pixels import Pixels
from mtl.step import Step
from mtl.stream import Stream
from mtl.trunks.resnet import ResNet
from mtl.trunks.transformer import Transformer

NETS = {
    "convolutions": lambda: Model({"images": Pixels(1, 16, 4, stride=2)}, ResNet(4, [8])),
    "patches": lambda: Model({"images": Patches(1, 16, 4, 8)}, Transformer(8, depth=1, heads=2)),
}


def given(count=3):
    x = torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.full((count,), 16))


def stepped(net, method):
    step = Step(net, {"m": method}).train()
    torch.manual_seed(1)
    return step({"images": given()}, "train", True, Totals({"images": 3}), 0.5), step


def test_whole_patches_are_hidden_a_share_of_them():
    torch.manual_seed(0)
    hidden = hide(5, 16, 4, 0.3)
    blocks = hidden.view(5, 4, 4, 4, 4).permute(0, 1, 3, 2, 4).flatten(3).float().mean(3)
    assert set(blocks.unique().tolist()) == {0.0, 1.0}
    assert blocks.flatten(1).sum(1).tolist() == [5] * 5  # 0.3 of 16
    assert len({tuple(row.flatten().tolist()) for row in hidden}) == 5


def test_cells_stand_in_the_order_of_places():
    x = torch.arange(2 * 3 * 6 * 6.0).view(2, 3, 6, 6)
    found = cells(x, 3)
    for place in range(9):
        row, column = divmod(place, 3)
        part = x[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert torch.equal(found[:, place], part.flatten(1))


def test_masked_l1_is_the_mean_over_what_counts():
    rng = np.random.default_rng(0)
    said, wanted, counted = rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), np.eye(3, 4) + 0
    counted[:, 3] = [1, 1, 0]
    found = masked_l1(*(torch.from_numpy(each) for each in (said, wanted, counted)))
    want = [np.abs(said - wanted)[i][counted[i] == 1].mean() for i in range(3)]
    np.testing.assert_allclose(found.numpy(), want)
    assert masked_l1(torch.ones(1, 2), torch.zeros(1, 2), torch.zeros(1, 2)).tolist() == [0.0]


@pytest.mark.parametrize("name", NETS)
def test_the_term_compares_hidden_pixels_with_what_each_place_says(name):
    torch.manual_seed(0)
    net, method = NETS[name](), SimMIM(patch=4, share=0.5)
    kept, terms = [], method.terms

    def spy(view):
        kept[:] = [view.features["images"].x, method._clean["images"], view.batches["images"]]
        return terms(view)

    method.terms = spy
    output, _ = stepped(net, method)
    features, (clean, counted), seen = kept
    assert torch.equal(clean, given().inputs) and counted.float().mean() == 0.5
    assert not seen.inputs[counted].any()
    assert torch.equal(seen.inputs[~counted], clean[~counted])
    side = int(features.shape[1] ** 0.5)
    said = method.tell["images"](features)
    errors = []
    for row in range(3):
        picture = torch.zeros(16, 16)
        cell = 16 // side
        for place in range(side * side):
            r, c = divmod(place, side)
            block = said[row, place].view(cell, cell)
            picture[r * cell : (r + 1) * cell, c * cell : (c + 1) * cell] = block
        away = (picture - clean[row, 0]).abs()[counted[row, 0]]
        errors.append(away.mean().item())
    assert output.losses["m/images"].item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_noise_alone_counts_every_pixel():
    torch.manual_seed(0)
    method = SimMIM(share=0.0, noise=0.3)
    Step(NETS["convolutions"](), {"m": method})
    seen = method.inputs({"images": given()})["images"].inputs
    clean, counted = method._clean["images"]
    assert counted.all() and (seen - clean).std().item() == pytest.approx(0.3, rel=0.1)


def ramps():
    rows = np.repeat(np.arange(16, dtype=np.uint8)[:, None] * 16, 16, 1)
    return from_arrays(np.stack([rows, rows.T] * 8), np.zeros(16, int), "ramps")


def train(steps, out=None, seed=0):
    torch.manual_seed(seed)
    net = NETS["convolutions"]()
    settings = {"lr": 1e-2, "log_every": 10, "dry_run": False, "precision": "no", "threads": 1}
    streams = {"images": Stream(Images(ramps(), net), 8)}
    config = Fit(steps=steps, save_every=10, **settings)
    return fit(net, streams, config, methods={"m": SimMIM()}, out=out, show=False)


def test_it_learns_to_fill_in_without_labels_or_tasks():
    history = train(60).history
    losses = [entry["loss"]["m/images"] for entry in history]
    assert losses[-1] < 0.6 * losses[0]


def test_it_resumes_and_its_layer_is_not_saved_with_the_model(tmp_path, monkeypatch):
    whole = train(20, tmp_path / "whole")
    stop_at(monkeypatch, 10)
    with pytest.raises(Stopped):
        train(20, tmp_path / "parts")
    resumed = train(20, tmp_path / "parts", seed=1)
    assert_same_weights(whole.model, resumed.model)
    assert set(resumed.model.state_dict()) == set(NETS["convolutions"]().state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SimMIM(share=0.0), "something must be hidden"),
        (lambda: SimMIM(share=1.0), "share 1.0"),
        (lambda: Step(NETS["patches"](), {"m": SimMIM(patch=5)}), "patches are 5 pixels"),
        (lambda: Step(NETS["patches"](), {"m": SimMIM("speech")}), "no stream 'speech'"),
        (
            lambda: Step(
                Model({"images": Pixels(1, 18, 4)}, ResNet(4, [8, 8])), {"m": SimMIM(patch=3)}
            ),
            "18 pixels become 25 places",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_frames_are_refused():
    with pytest.raises(ValueError, match="only pictures of one size"):
        Step(model(), {"m": SimMIM("speech")})
