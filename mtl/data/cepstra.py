"""cepstra: a corpus as cepstral frames without its sound, as older corpora are handed on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtl.atomic import atomic_folder
from mtl.data.audio import read_audio
from mtl.data.manifest import read_manifest

HZ = 16_000
HOP = 160  # samples: 100 frames per second


def as_cepstra(manifest: Path, count: int = 13) -> Path:
    """Return the manifest of a corpus as `count` mel cepstra per frame, 100 per second, made if need be.

    It lies beside the corpus, in a folder of its own, and has no audio; texts, labels and speakers are the
    same. Raises ValueError for utterances without audio.
    """
    from torchaudio.transforms import MFCC

    home = manifest.parent
    folder = home.parent / f"{home.name}-{manifest.stem}-cepstra-{count}"
    if folder.is_dir():
        return folder / "corpus.jsonl"
    sizes = {"n_fft": 512, "win_length": 400, "hop_length": HOP, "n_mels": 40}
    transform = MFCC(HZ, count, log_mels=True, melkwargs=sizes)
    with atomic_folder(folder) as made:
        lines: list[str] = []
        frames: dict[str, Any] = {}
        for utterance in read_manifest(manifest):
            if utterance.audio is None:
                raise ValueError(f"{utterance.where}: no audio to make cepstra of")
            audio = read_audio(utterance.audio, HZ, utterance.offset, utterance.seconds)
            key = f"{len(lines):06d}"
            frames[key] = transform(torch.from_numpy(audio)).T.numpy().astype(np.float32)
            line: dict[str, Any] = {"feature_path": "frames.npz", "feature_key": key}
            line |= {"duration": len(frames[key]) * HOP / HZ, "id": utterance.id}
            kept = ("text", "lang", "speaker", "label", "phonemes")
            line |= {n: v for n in kept if (v := getattr(utterance, n)) is not None}
            lines.append(json.dumps(line, ensure_ascii=False))
        np.savez(made / "frames.npz", **frames)
        (made / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "corpus.jsonl"
