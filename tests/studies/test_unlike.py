"""unlike: two kinds of input on one trunk, and what is refused."""

import json

import numpy as np
import pytest
import soundfile
import torch

from mtl.config import Fit
from mtl.studies.unlike import ALONE, FRAMES, SOUND, TOGETHER, Unlike, read


@pytest.fixture
def files(tmp_path):
    """A target of 13 numbers per frame, and a source of sound, with the same language."""
    rng = np.random.default_rng(0)
    frames = {f"{i}": rng.normal(size=(60, 13)).astype(np.float32) for i in range(6)}
    np.savez(tmp_path / "f.npz", **frames)
    lines = {"target": [], "source": []}
    for key in frames:
        line = {"duration": 0.6, "text": "ab a", "lang": "en", "speaker": f"s{key}"}
        soundfile.write(tmp_path / f"{key}.wav", rng.normal(0, 0.1, 9600), 16000)
        lines["target"].append(line | {"feature_path": "f.npz", "feature_key": key})
        lines["source"].append(line | {"audio_filepath": f"{key}.wav", "text": "cd"})
    for name, found in lines.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, found)))
    return tmp_path


def test_the_same_language_in_two_kinds_has_two_heads_and_one_trunk(files):
    target, source = [files / "target.jsonl"], [files / "source.jsonl"]
    unlike = Unlike(*read(target, target, source, 4), 8, 1)
    alone, both = unlike.network(ALONE), unlike.network(TOGETHER)
    assert list(alone.tasks) == ["target-en"] and set(both.streams) == {FRAMES, SOUND}
    assert both.tasks["source-en"].stream == SOUND and both.stem(FRAMES).bins == 13
    assert "c" in both.head("source-en").symbols and "c" not in both.head("target-en").symbols
    settings = Fit(steps=2, dry_run=False, threads=1)
    before = {name: value.clone() for name, value in both.stems.state_dict().items()}
    found = unlike.run(both, unlike.target.train, settings, (2.0, 2.0))
    after = both.stems.state_dict()
    assert all(not after[name].equal(value) for name, value in before.items() if "weight" in name)
    assert (found["metric"], found["n"]) == ("cer", 4)
    torch.manual_seed(0)
    assert unlike.run(alone, unlike.target.train, settings, (2.0, 2.0))["n"] == 4


def test_what_does_not_fit_is_refused(files):
    target, source = [files / "target.jsonl"], [files / "source.jsonl"]
    with pytest.raises(ValueError, match="--data and --source belong together"):
        read(target, [], [], 4)
    with pytest.raises(ValueError, match="the target is of precomputed frames; it has sound"):
        Unlike(*read(source, source, source, 4), 8, 1)
    with pytest.raises(ValueError, match="the sources are heard"):
        Unlike(*read(target, target, target, 4), 8, 1)
