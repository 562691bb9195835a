import pytest
import torch

from mtl.batch import Batch
from mtl.model import Model
from mtl.stems.frames import Frames
from mtl.stems.patches import Patches
from mtl.stems.pixels import Pixels
from mtl.stems.waveform import Waveform
from mtl.trunks.conformer import Conformer
from mtl.trunks.resnet import ResNet
from mtl.trunks.transformer import Transformer
from mtl.tune.vector import vector

BINS, DIM = 6, 8
LENGTHS = [9, 14, 3, 1]
LANGS, SPEAKERS = torch.tensor([2, 0, 1, 2]), torch.tensor([1, 1, 0, 2])
GROUPS = {"lang": LANGS, "speaker": SPEAKERS}


def build(trunk=Transformer):
    torch.manual_seed(0)
    return Model({"speech": Frames(BINS, DIM)}, trunk(DIM, depth=2, heads=2)).eval()


def batch():
    x = torch.randn(4, 14, BINS, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.tensor(LENGTHS), groups=GROUPS)


def filled(module):
    module.v.data.normal_(generator=torch.Generator().manual_seed(2))
    return module.v


@torch.no_grad()
@pytest.mark.parametrize("trunk", [Transformer, Conformer])
def test_languages_and_speakers_have_vectors_side_by_side(trunk):
    plain, model = build(trunk), build(trunk)
    vector(model, 3, column="lang")
    vector(model, 3)
    by_lang, by_speaker = (filled(model.trunk.before[name]) for name in ("vector-lang", "vector"))
    stemmed, found = plain.stems["speech"](batch()), model("speech", batch())
    for row, length in enumerate(stemmed.lengths.tolist()):
        x = stemmed.x[row : row + 1, :length].clone()
        for frame in x[0]:
            frame += by_lang[LANGS[row]] + 2 * by_speaker[SPEAKERS[row]] - by_speaker[SPEAKERS[row]]
        expected = plain.trunk(Batch(x, torch.tensor([length]))).x[0]
        torch.testing.assert_close(found.x[row, :length], expected, atol=1e-5, rtol=1e-5)


def test_padding_stays_as_it_is():
    model = build()
    vector(model, 3, column="lang")
    filled(model.trunk.before["vector-lang"])
    x = torch.zeros(4, 14, DIM)
    added = model.trunk.before["vector-lang"](batch()._replace(inputs=x)).inputs
    for row, length in enumerate(LENGTHS):
        assert added[row, :length].ne(0).all() and not added[row, length:].any()


@pytest.mark.parametrize(
    ("stem", "trunk"),
    [(Waveform(), Transformer(DIM, 1, 2)), (Pixels(1, 8, 4), ResNet(4, [6]))],
    ids=["samples", "maps"],
)
def test_a_trunk_that_takes_no_frames_of_its_width_is_refused(stem, trunk):
    model = Model({"x": stem}, trunk)
    with pytest.raises(ValueError, match=rf"stems give .* \{{'x': {stem.dim}\}}: choose adapter"):
        vector(model, 2)
    assert not model.edits and not len(model.trunk.before)


def test_maps_are_refused():
    model = Model({"x": Patches(1, 8, 4, DIM)}, Transformer(DIM, 1, 2))
    vector(model, 2)
    with pytest.raises(ValueError, match=r"frames \(B, T, D\), not to \(1, 8, 2, 2\)"):
        model.trunk.before["vector"](Batch(torch.zeros(1, DIM, 2, 2), torch.tensor([2])))
