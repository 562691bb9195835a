import numpy as np
import pytest
import soundfile
import torch

from mtl.data.audio import open_audio, read_audio
from mtl.data.samples import Samples

RNG = np.random.default_rng(0)
SOUND = RNG.uniform(-0.5, 0.5, (4000, 2)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUND, 8000, subtype="FLOAT")
    return tmp_path / "a.wav"


@pytest.mark.parametrize("hz", [8000, 16000])
def test_an_array_is_read_like_the_file_of_it(path, hz):
    for array in (SOUND, SOUND.T.copy()):
        samples = Samples(torch.from_numpy(array), 8000)
        with open_audio(path) as file:
            assert (samples.hz, samples.seconds) == (file.hz, file.seconds) == (8000, 0.5)
            blocks = list(file.blocks(0.15))
        for place in ((0.0, None), (0.1, 0.2), (0.25, None), (0.4, 0.1)):
            assert np.allclose(samples.cut(hz, *place), read_audio(path, hz, *place), atol=1e-6)
        found = list(samples.blocks(0.15))
        assert list(map(len, found)) == list(map(len, blocks)) == [1200, 1200, 1200, 400]
        assert np.allclose(np.concatenate(found), np.concatenate(blocks), atol=1e-7)


def test_whole_numbers_are_scaled():
    for dtype, values, silence in (
        (torch.int16, [-32767, 0, 32767], [-1, 0, 1]),
        (torch.uint8, [0, 128, 192], [-1, 0, 0.5]),
    ):
        found = Samples(torch.tensor(values, dtype=dtype), 8000).cut(8000)
        assert found.dtype == np.float32 and found.tolist() == silence


@pytest.mark.parametrize("shape", [(0,), (9, 9), (0, 2), (1, 2, 3), ()])
def test_what_is_no_sound_is_refused(shape):
    with pytest.raises(ValueError, match="give samples"):
        Samples(torch.zeros(shape), 8000)
    with pytest.raises(ValueError, match="and their rate, hz"):
        Samples(torch.zeros(5), None)


def test_unusable_samples_are_found_where_they_are():
    bad = torch.zeros(100)
    bad[60] = torch.inf
    samples = Samples(bad, 100)
    assert len(samples.cut(100, 0.0, 0.5)) == 50
    with pytest.raises(ValueError, match="NaN or infinite"):
        samples.cut(100, 0.5, 0.5)
