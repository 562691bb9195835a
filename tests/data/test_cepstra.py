import json

import numpy as np
import pytest
import soundfile
from scipy.fft import dct

from mtl.data.audio import read_frames
from mtl.data.cepstra import HZ, as_cepstra
from mtl.data.manifest import read_manifest


def by_hand(samples, frame):
    """Window, power, 40 triangles on the mel scale, logarithm, cosines."""
    window = np.zeros(512)
    window[56:456] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    middle = frame * 160
    power = np.abs(np.fft.rfft(samples[middle - 256 : middle + 256] * window)) ** 2
    top = 2595 * np.log10(1 + HZ / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, 42) / 2595) - 1)
    hz = np.linspace(0, HZ / 2, 257)
    rise = (hz[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - hz[:, None]) / np.diff(edges)[1:]
    mel = power @ np.minimum(rise, fall).clip(0)
    return dct(np.log(mel + 1e-6), norm="ortho")[:13]


def test_a_corpus_becomes_frames_with_the_same_texts(tmp_path, monkeypatch):
    folder = tmp_path / "corpus"
    folder.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, HZ // 2)
    soundfile.write(folder / "a.wav", noise, HZ)
    line = {"audio_filepath": "a.wav", "duration": 0.5, "text": "la", "lang": "nl", "speaker": "s"}
    (folder / "train.jsonl").write_text(json.dumps(line))
    made = as_cepstra(folder / "train.jsonl")
    (utterance,) = read_manifest(made)
    assert (utterance.text, utterance.lang, utterance.speaker) == ("la", "nl", "s")
    assert utterance.audio is None and utterance.seconds == pytest.approx(0.51)
    frames = read_frames(utterance.features, utterance.key)
    np.testing.assert_allclose(frames[25], by_hand(noise, 25), atol=0.05)
    assert frames.shape == (51, 13)
    monkeypatch.setattr("mtl.data.cepstra.read_audio", None)
    assert as_cepstra(folder / "train.jsonl") == made, "made once"
    with pytest.raises(ValueError, match="no audio to make cepstra of"):
        as_cepstra(made)
