"""All stems: padding changes nothing, lengths are as promised, settings and weights come back."""

import math

import pytest
import torch
import torch.nn.functional as F

from mtl.batch import Batch, pad
from mtl.layers import STRIDES, Window
from mtl.registry import construct, describe, names
from mtl.stems.frames import Frames
from mtl.stems.logmel import LogMel, spectrogram

SMALL = {  # a stem's smallest useful settings; every file in mtl/stems needs an entry
    "frames": {"bins": 5, "dim": 8},
    "logmel": {"bins": 20, "dim": 8},
}
# These take images or other libraries' input: tested in files of their own.
FOREIGN = {"huggingface", "patches", "pixels", "torchvision", "waveform"}


@pytest.fixture(params=[name for name in names("stems") if name not in FOREIGN])
def stem(request):
    torch.manual_seed(0)
    assert request.param in SMALL, f"enter the stem {request.param!r} in SMALL"
    return construct("stems", {"name": request.param, **SMALL[request.param]}).eval()


def ragged(stem, lengths):
    """A batch whose padding holds large numbers."""
    inputs = torch.randn(len(lengths), max(lengths), stem.bins)
    for row, length in enumerate(lengths):
        inputs[row, length:] = 1000.0
    return Batch(inputs, torch.tensor(lengths))


def test_padding_changes_nothing(stem):
    batch = ragged(stem, [23, 1, 8, 16])
    together = stem(batch)
    for row, length in enumerate(batch.lengths.tolist()):
        alone = stem(Batch(batch.inputs[row : row + 1, :length], batch.lengths[row : row + 1]))
        kept = int(together.lengths[row])
        torch.testing.assert_close(together.x[row, :kept], alone.x[0], rtol=0, atol=1e-5)
        assert not together.x[row, kept:].any()


def test_gradients_reach_every_parameter(stem):
    stem(ragged(stem, [9, 4])).x.pow(3).sum().backward()
    for name, parameter in stem.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_settings_and_weights_come_back(stem):
    torch.manual_seed(1)
    again = construct("stems", describe(stem)).eval()
    again.load_state_dict(stem.state_dict())
    batch = ragged(stem, [9, 4])
    assert torch.equal(again(batch).x, stem(batch).x)
    assert describe(again) == describe(stem)


def test_bfloat16_is_close(stem):
    batch = ragged(stem, [20, 11])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = stem(batch).x
    assert (rough.float() - stem(batch).x).abs().mean() < 0.02


@pytest.mark.parametrize("factor", STRIDES)
@pytest.mark.parametrize("kind", [Frames, LogMel])
def test_lengths_are_as_promised(kind, factor):
    stem = kind(bins=3, dim=4, subsample=factor)
    for length in range(1, 51):
        features = stem(Batch(torch.ones(1, length, 3), torch.tensor([length])))
        expected = math.ceil(length / factor)
        assert features.x.shape == (1, expected, 4)
        assert features.lengths.item() == stem.frames(torch.tensor(length)) == expected


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_window_is_a_convolution(stride):
    window = Window(wide=4, dim=6, stride=stride)
    for frames in (1, 2, 3, 10, 11):
        x = torch.randn(2, frames, 4)
        expected = F.conv1d(
            x.mT, window.weight, window.bias, stride=stride, padding=window.weight.shape[2] // 2
        )
        torch.testing.assert_close(window(x), expected.mT)


def test_impossible_subsample_is_named():
    with pytest.raises(ValueError, match=r"subsample 5 .* \[1, 2, 3, 4, 6, 8\]"):
        LogMel(dim=4, subsample=5)


def test_frames_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"\(7, 4\).*\(T, 3\)"):
        Frames(bins=3, dim=4).prepare(torch.zeros(7, 4))


@pytest.mark.parametrize("constant", [0.0, 1e4])
def test_normalising_survives_a_constant_bin(constant):
    raw = torch.randn(50, 3)
    raw[:, 1] = constant
    frames = Frames(bins=3, dim=4).prepare(raw)
    assert torch.equal(frames[:, 1], torch.zeros(50))
    torch.testing.assert_close(frames.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        frames[:, ::2].std(0, correction=0), torch.ones(2), atol=2e-3, rtol=0
    )
    assert torch.equal(Frames(bins=3, dim=4, normalise=False).prepare(raw), raw)


def test_logmel_agrees_with_torchaudio():
    from torchaudio.transforms import MelSpectrogram

    reference = MelSpectrogram(16000, 512, 400, 160, n_mels=80, pad_mode="constant")
    samples = torch.randn(16000).cumsum(0)
    log = (reference(samples) + 1e-6).log().T
    expected = (log - log.mean(0)) / log.std(0, correction=0)
    torch.testing.assert_close(LogMel(dim=4).prepare(samples), expected, atol=0.03, rtol=0)


def test_a_tone_stands_at_its_frequency():
    hz, tone = 8000, 1000.0
    samples = torch.sin(2 * math.pi * tone * torch.arange(hz) / hz)
    power = spectrogram(samples, window=200, hop=80)
    assert power.shape == (101, 129)
    assert (power[5:-5].argmax(1) * hz / 256 == tone).all()


@pytest.mark.parametrize("samples", [1, 2, 159, 160, 161, 5000])
def test_any_number_of_samples_gives_frames(samples):
    stem = LogMel(dim=4, bins=20)
    for raw in (torch.zeros(samples), torch.randn(samples)):
        frames = stem.prepare(raw)
        assert frames.shape == (1 + samples // 160, 20)
        assert frames.isfinite().all()
    assert stem.prepare(torch.zeros(samples)).abs().max() < 0.01


def test_raw_samples_are_prepared_on_entering():
    stem = LogMel(dim=4, bins=20).eval()
    waves = [torch.randn(1600), torch.randn(700)]
    raw = stem(Batch(pad(waves), torch.tensor([1600, 700])))
    prepared = [stem.prepare(wave) for wave in waves]
    features = stem(Batch(pad(prepared), torch.tensor([len(p) for p in prepared])))
    assert torch.equal(raw.x, features.x) and torch.equal(raw.lengths, features.lengths)


def test_preparing_stays_exact_under_autocast():
    stem, wave = LogMel(dim=4, bins=20), torch.randn(1600)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(stem.prepare(wave), LogMel(dim=4, bins=20).prepare(wave))
        rough = stem.prepare(wave)
    assert rough.dtype == torch.float32 and torch.equal(rough, stem.prepare(wave))
