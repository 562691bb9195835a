"""Thousands of damaged files: each is read, or refused in an error that names it, and soon."""

import io
import json
import random
import shutil
import signal
import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from damage import harmed, harmed_delta, harmed_json, harmed_lines
from PIL import Image
from toy import assert_same_weights, train

from mtl import delta
from mtl.config import Fit, parse
from mtl.data.attributes import attributes
from mtl.data.audio import audio_seconds, read_audio, read_frames
from mtl.data.check import find_defects
from mtl.data.manifest import read_manifest
from mtl.data.pictures import read_npz
from mtl.data.pixels import channels, read_map, read_pixels
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.stems.logmel import LogMel
from mtl.trunks.conformer import Conformer

QUICK, SLOW = 30, 600  # damaged files of each kind
SECONDS = 20  # of computing that reading one may take


class Hang(BaseException):
    """Reading took too long."""


# Whole files of each kind {name: bytes}, and what reads the file that was harmed.

TONE = 0.4 * np.sin(np.arange(8000) / 5)
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)


def packed(write, *args, **options):
    file = io.BytesIO()
    write(file, *args, **options)
    return file.getvalue()


def manifests():
    row = {"audio_filepath": "a.wav", "duration": 0.5, "text": "ab", "lang": "nl", "speaker": "s"}
    other = {"id": "b", "offset": 0.1, "label": 3, "phonemes": "ab", "weight": 0.5}
    cut = {"feature_path": "f.npy", "num_frames": 9, "feature_key": None, "text": "b"}
    lines = [json.dumps(line).encode() for line in (row, {**row, **other, "duration": 0.2}, cut)]
    sound = packed(soundfile.write, TONE, 16000, format="WAV")
    frames = packed(np.save, np.ones((9, 4), np.float32))
    return {"m.jsonl": b"\n".join(lines), "a.wav": sound, "f.npy": frames}


def read_manifests(path):
    for defect in find_defects(path):
        assert defect.where.startswith("m.jsonl") and str(defect)
    read_manifest(path)


def sounds():
    kinds = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "aiff": "AIFF", "mp3": "MP3", "au": "AU"}
    return {f"a.{n}": packed(soundfile.write, TONE, 16000, format=k) for n, k in kinds.items()}


def read_sounds(path):
    audio_seconds(path)
    samples = read_audio(path, 16000)
    assert samples.dtype == np.float32 and np.isfinite(samples).all()


def images():
    kinds = ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "tga", "ico", "jpeg2000")
    picture = Image.fromarray(PIXELS)
    return {f"x.{kind}": packed(picture.save, format=kind) for kind in kinds}


def read_images(path):
    for read in (channels, read_pixels, read_map):
        read(path)


def arrays():
    npy, npz = packed(np.save, np.ones((9, 4))), packed(np.savez, a=np.ones((9, 4)))
    return {"f.npy": npy, "f.npz": npz, "g.npz": packed(np.savez_compressed, b=np.ones((9, 4)))}


def parts():
    x, y = PIXELS[None].repeat(4, 0), np.arange(4)
    data = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
    return {"d.npz": packed(np.savez_compressed, **data), "e.npz": packed(np.savez, **data)}


def read_parts(path):
    read_npz(path)
    read_npz(path, "test")


def tables():
    held = {"classes": np.array(["a", "b"]), "vectors": np.eye(2)}
    return {"t.csv": b"class,x,y\na,1,0\nb,0,1\n", "t.npz": packed(np.savez, **held)}


@dataclass
class Settings:
    """Settings."""

    out: str = "x"
    """text"""
    seeds: int = 3
    """number"""
    smoke: bool = False
    """flag"""
    data: list[Path] = field(default_factory=list)
    """list"""
    fit: Fit = field(default_factory=Fit)


def settings():
    value = {"out": "y", "seeds": 2, "smoke": True, "data": ["a", "b"], "fit": {"lr": 1e-3}}
    return {"c.yaml": json.dumps(value | {"fit": {"lr": 0.1, "balance": "", "steps": 3}}).encode()}


def read_settings(path):
    try:
        parse(Settings, "", ["--config", str(path)])
    except ValueError as error:  # names the setting, or the file
        raise ValueError(
            f"{path}: {error}" if "--help" in str(error) else f"{path} {error}"
        ) from None


def folder(save):
    where = Path(save.__name__)
    shutil.rmtree(where, ignore_errors=True)
    save(where)
    return {str(p.relative_to(where)): p.read_bytes() for p in where.rglob("*.*") if p.is_file()}


def models():
    torch.manual_seed(0)
    tasks = [Task("nl", "speech", CTC(["a", "b"])), Task("who", "speech", Classify(["x", "y"]))]
    trunk = Conformer(8, depth=1, heads=2)
    return folder(Model({"speech": LogMel(8, subsample=4)}, trunk, tasks).save_pretrained)


def read_model(path):
    Model.from_pretrained(path.parent)


RUN = {"steps": 4, "save_every": 2, "log_every": 2}


@cache
def whole():
    return train(**RUN)


def checkpoints():
    def run(where):
        train(out=where, **RUN)

    return folder(run)


def read_checkpoint(path):
    """Go on from what can be read; the end is the same."""
    out = next(parent for parent in path.parents if parent.name == "checkpoints").parent
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is damaged")
        again = train(out=out, **RUN)
    assert_same_weights(whole().model, again.model)


def deltas():
    held = {"x": torch.ones(1, 2), "y": torch.zeros(3)}
    made = delta.Delta("ann", {"trunk": "ab"}, [{"name": "lhuc", "size": 1}], held, {"rows": 3})
    return {"ann.safetensors": delta.save(made, Path("deltas")).read_bytes()}


KINDS = {
    "manifest": (manifests, read_manifests, {"m.jsonl": harmed_lines}),
    "sound": (sounds, read_sounds, {}),
    "image": (images, read_images, {}),
    "frames": (arrays, read_frames, {}),
    "npz": (parts, read_parts, {}),
    "table": (tables, lambda path: attributes(path, ["a", "b"]), {}),
    "settings": (settings, read_settings, {"c.yaml": harmed_json}),
    "model": (models, read_model, {"config.json": harmed_json}),
    "delta": (deltas, delta.read, {"ann.safetensors": harmed_delta}),
    "checkpoint": (checkpoints, read_checkpoint, {}),
}


def finds(kind, numbers, where):
    """Harm a file for each number and read it; give what went wrong."""
    make, read, special = KINDS[kind]
    files, found = make(), []
    victims = list(special) or list(files)
    for number in numbers:
        rng = random.Random(f"{kind} {number}")
        for name, data in files.items():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            (where / name).write_bytes(data)
        victim = rng.choice(victims if rng.random() < 0.8 else list(files))
        (where / victim).write_bytes(special.get(victim, harmed)(files[victim], rng))
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            read(where / (victim if not special or victim in special else victims[0]))
        except (ValueError, OSError) as error:
            if not any(name in str(error) for name in files):
                found.append(f"{number} {victim} is not named: {type(error).__name__}: {error}")
        except (Exception, Hang) as error:
            found.append(f"{number} {victim}: {type(error).__name__}: {error}")
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return found


@pytest.fixture
def soon(monkeypatch, tmp_path):
    """Interrupt what computes for too long."""

    def stop(*_):
        raise Hang(f"{SECONDS} s")

    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGVTALRM, stop)
    yield
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused(kind, soon, tmp_path):
    assert finds(kind, range(QUICK), tmp_path / "it") == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_damaged_files_are_read_or_refused(kind, soon, tmp_path):
    assert finds(kind, range(QUICK, QUICK + SLOW), tmp_path / "it") == []
