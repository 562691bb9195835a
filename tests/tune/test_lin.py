import pytest
import torch
from test_contract import Linear

from mtl.batch import Batch
from mtl.model import Model
from mtl.stems.frames import Frames
from mtl.stems.logmel import LogMel
from mtl.stems.waveform import Waveform
from mtl.trunks.transformer import Transformer
from mtl.tune.lin import lin

BINS, DIM = 6, 8
STEMS = {
    "frames": lambda: Frames(BINS, DIM, subsample=3),
    "logmel": lambda: LogMel(DIM, bins=BINS, subsample=4),
}
MEMBERS, LENGTHS = torch.tensor([2, 0, 1, 2]), [9, 14, 3, 1]
BATCH = Batch(torch.randn(4, 14, BINS), torch.tensor(LENGTHS), groups={"speaker": MEMBERS})


def build(make, size=0):
    torch.manual_seed(0)
    stem = make()
    model = Model({"speech": stem}, Transformer(DIM, 1, 2, 2, 0.0)).eval()
    if size:
        lin(model, size)
        with torch.no_grad():
            for parameter in stem.before.parameters():
                parameter.normal_()
    return model


@torch.no_grad()
@pytest.mark.parametrize("make", STEMS.values(), ids=STEMS)
def test_frames_are_mapped_by_their_speakers_matrix(make):
    model = build(make, size=3)
    layer = model.stems["speech"].before["lin"]
    mapped = torch.zeros_like(BATCH.inputs)
    for row, (member, length) in enumerate(zip(MEMBERS, LENGTHS, strict=True)):
        matrix = torch.eye(BINS) + layer.weight[member]
        for frame in range(length):
            x = BATCH.inputs[row, frame]
            mapped[row, frame] = torch.matmul(matrix.T, x) + layer.bias[member]
    expected = build(make)("speech", BATCH._replace(inputs=mapped)).x
    torch.testing.assert_close(model("speech", BATCH).x, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("make", STEMS.values(), ids=STEMS)
def test_padding_changes_nothing_though_the_bias_fills_it(make):
    model = build(make, size=3)
    padded = model.stems["speech"].before["lin"](BATCH._replace(inputs=0 * BATCH.inputs)).inputs
    assert (padded.abs().amax(2) > 0).all()
    together = model("speech", BATCH)
    for row, length in enumerate(LENGTHS):
        groups = {"speaker": MEMBERS[row : row + 1]}
        one = Batch(BATCH.inputs[row : row + 1, :length], torch.tensor([length]), groups=groups)
        expected = model("speech", one).x[0]
        found = together.x[row, : together.lengths[row]]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_exact_skip_in_half_precision():
    stem = build(STEMS["frames"], size=3).stems["speech"]
    x = BATCH._replace(inputs=BATCH.inputs + 1000)
    with torch.no_grad():
        for parameter in stem.before.parameters():
            parameter.mul_(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert stem.before["lin"](x).inputs.equal(x.inputs)


class Foreign(Linear):
    """A stem that does not say how wide its frames are."""

    def __init__(self):
        super().__init__(BINS, DIM)
        del self.bins


@pytest.mark.parametrize("stem", [Waveform(), Foreign()], ids=["waveform", "foreign"])
def test_a_stem_that_takes_no_frames_is_refused(stem):
    model = build(lambda: stem)
    with pytest.raises(ValueError, match=rf"stem {type(stem).__name__} of 'speech'.* such as lhuc"):
        lin(model, 2)
    assert not model.edits and not len(stem.before)


def test_an_unknown_modality_is_refused():
    with pytest.raises(ValueError, match="no modality 'images'; this model has: speech"):
        lin(build(STEMS["frames"]), 2, modality="images")


def test_raw_samples_are_refused():
    model = build(STEMS["logmel"], size=1)
    samples = Batch(torch.randn(1, 800), torch.tensor([800]), groups={"speaker": torch.tensor([0])})
    with pytest.raises(ValueError, match=r"frames \(B, T, 6\); .* \(1, 800\): run the .*`prepare`"):
        model("speech", samples)
