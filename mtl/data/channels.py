"""channels: what lies between a voice and a recogniser: noise, a telephone, a room. As copies of a corpus."""

import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mtl.atomic import atomic_folder
from mtl.data.audio import read_audio, write_flac
from mtl.data.manifest import read_manifest

HZ = 16_000
Channel = Callable[[Tensor, np.random.Generator], Tensor]


def noisy(samples: Tensor, rng: np.random.Generator) -> Tensor:
    """Add noise to samples (N,) at HZ, 0 to 10 dB below them; half its power is lost per octave.

    >>> noisy(torch.ones(8), np.random.default_rng(0)).shape
    torch.Size([8])
    """
    white = torch.from_numpy(rng.standard_normal(len(samples)).astype(np.float32))
    spectrum = torch.fft.rfft(white)
    spectrum /= torch.arange(1, len(spectrum) + 1).sqrt()
    pink = torch.fft.irfft(spectrum, len(samples))
    noise: Tensor = pink * (_level(samples) / _level(pink)) * 10 ** (-rng.uniform(0, 10) / 20)
    return samples + noise


def telephone(samples: Tensor, rng: np.random.Generator) -> Tensor:
    """Pass samples (N,) at HZ through a line: 300 to 3400 Hz, and 8 bits by the mu-law at 8 kHz."""
    from torchaudio import functional

    line = functional.resample(samples, HZ, 8000)
    line = functional.highpass_biquad(functional.lowpass_biquad(line, 8000, 3400), 8000, 300)
    loudest = line.abs().max().clamp(min=1e-9)
    coded = functional.mu_law_encoding(line / loudest, 256)
    heard = functional.mu_law_decoding(coded, 256) * loudest
    back: Tensor = functional.resample(heard, 8000, HZ)
    return back[: len(samples)].contiguous()


def reverberant(samples: Tensor, rng: np.random.Generator) -> Tensor:
    """Let samples (N,) at HZ sound in a room, whose echo takes 0.4 to 0.8 s to fall by 60 dB; same level."""
    from torchaudio import functional

    seconds = torch.arange(HZ) / HZ
    echo = torch.from_numpy(rng.standard_normal(HZ).astype(np.float32))
    echo *= torch.exp(-np.log(1000) * seconds / rng.uniform(0.4, 0.8))
    echo *= 1 / echo.square().sum().sqrt()
    echo[0] += 0.7  # the voice itself, a little weaker than its echo
    heard: Tensor = functional.fftconvolve(samples, echo)[: len(samples)]
    return heard * (_level(samples) / _level(heard))


CHANNELS: Mapping[str, Channel] = {
    "noisy": noisy,
    "telephone": telephone,
    "reverberant": reverberant,
}


def through(manifest: Path, channel: str, seed: int = 0) -> Path:
    """Return the manifest of a corpus whose utterances have come through a channel, made if need be.

    It lies beside the corpus, in a folder of its own; labels, texts and speakers are the same. Chance depends
    on `seed` and the utterance alone. Raises ValueError for a channel that is not known.
    """
    if channel not in CHANNELS:
        raise ValueError(f"channel {channel!r} is not known; choose from {', '.join(CHANNELS)}")
    home = manifest.parent
    folder = home.parent / f"{home.name}-{manifest.stem}-{channel}-{seed}"
    if not folder.is_dir():
        with atomic_folder(folder) as made:
            lines: list[str] = []
            for utterance in read_manifest(manifest):
                if utterance.audio is None:
                    raise ValueError(f"{utterance.where}: no audio; a channel needs sound")
                rng = np.random.default_rng([seed, zlib.crc32(utterance.id.encode())])
                audio = read_audio(utterance.audio, HZ, utterance.offset, utterance.seconds)
                heard = CHANNELS[channel](torch.from_numpy(audio), rng)
                file = f"{len(lines):06d}.flac"
                write_flac(made / file, heard.clamp(-1, 1).numpy(), HZ)
                line = {"audio_filepath": file, "duration": len(heard) / HZ, "id": utterance.id}
                kept = ("text", "lang", "speaker", "label", "phonemes")
                line |= {n: v for n in kept if (v := getattr(utterance, n)) is not None}
                lines.append(json.dumps(line, ensure_ascii=False))
            (made / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "corpus.jsonl"


def _level(samples: Tensor) -> Tensor:
    """Give the root of the mean square, never 0."""
    return samples.square().mean().sqrt().clamp(min=1e-9)
