"""channels: what each does to sound, and that a corpus comes through with its labels."""

import json

import numpy as np
import pytest
import soundfile
import torch

from mtl.data.channels import CHANNELS, HZ, noisy, reverberant, telephone, through
from mtl.data.manifest import read_manifest

TIME = torch.arange(HZ) / HZ


def rng():
    return np.random.default_rng(3)


def tone(hz):
    return 0.5 * torch.sin(2 * torch.pi * hz * TIME)


def decibels(ratio):
    return 10 * torch.log10(ratio)


def test_noise_is_0_to_10_db_below_and_mostly_low():
    clean = tone(1000)
    levels = []
    for seed in range(20):
        noise = noisy(clean, np.random.default_rng(seed)) - clean
        levels.append(float(decibels(clean.square().mean() / noise.square().mean())))
        power = torch.fft.rfft(noise).abs().square()
        low, high = power[100:200].mean(), power[3200:6400].mean()
        assert float(decibels(low / high)) == pytest.approx(15, abs=3), "five octaves"
    assert min(levels) >= -0.01 and max(levels) <= 10.01 and np.ptp(levels) > 5


def test_a_telephone_keeps_the_middle_of_the_spectrum():
    kept = {
        hz: float(decibels(telephone(tone(hz), rng())[4000:-4000].square().mean() / 0.125))
        for hz in (60, 1000, 6000)
    }
    assert kept[60] < -15 and abs(kept[1000]) < 1.5 and kept[6000] < -30


def test_a_room_rings_on_and_keeps_the_level():
    click = torch.zeros(HZ)
    click[:160] = 1.0
    heard = reverberant(click, rng())
    assert heard.square().mean().sqrt() == pytest.approx(float(click.square().mean().sqrt()))
    early, late = heard[1600:3200].square().mean(), heard[4800:6400].square().mean()
    # It falls by 60 dB in 0.4 to 0.8 s: by 15 to 30 dB in the 0.2 s between the two.
    assert 13 < float(decibels(early / late)) < 32
    assert not click[1600:].any()


@pytest.mark.parametrize("name", CHANNELS)
def test_length_and_chance(name):
    sound = tone(440)[:5001]
    once, again = (CHANNELS[name](sound, rng()) for _ in range(2))
    assert once.shape == sound.shape and torch.equal(once, again) and not torch.equal(once, sound)
    assert torch.isfinite(CHANNELS[name](torch.zeros(800), rng())).all(), "silence"


def test_a_corpus_comes_through_with_its_labels(tmp_path):
    home = tmp_path / "corpus"
    home.mkdir()
    lines = []
    for index in range(3):
        soundfile.write(home / f"{index}.wav", tone(300 * (index + 1))[: 4000 + index].numpy(), HZ)
        lines.append(
            {
                "audio_filepath": f"{index}.wav",
                "id": f"u{index}",
                "label": index,
                "text": "é",
                "lang": "nl",
                "speaker": "anna",
            }
        )
    manifest = home / "test.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    made = through(manifest, "noisy")
    found = read_manifest(made)
    assert [(u.id, u.label, u.text, u.lang, u.speaker) for u in found] == [
        (f"u{index}", index, "é", "nl", "anna") for index in range(3)
    ]
    samples, hz = soundfile.read(found[1].audio)
    assert hz == HZ and len(samples) == 4001
    clean = tone(600)[:4001].numpy()
    assert 0.2 < np.corrcoef(samples, clean)[0, 1] < 0.99
    stamp = found[0].audio.stat().st_mtime_ns
    assert through(manifest, "noisy") == made and found[0].audio.stat().st_mtime_ns == stamp
    assert through(manifest, "noisy", seed=1) != made
    with pytest.raises(ValueError, match="channel 'loud' is not known; choose from noisy, tele"):
        through(manifest, "loud")
