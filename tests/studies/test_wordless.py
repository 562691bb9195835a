"""wordless: what is learnt from speech without texts is what the recogniser begins with."""

import json

import numpy as np
import pytest
import soundfile

from mtl.config import Fit
from mtl.data.manifest import read_manifest
from mtl.problem import Recordings
from mtl.stems.logmel import LogMel
from mtl.studies.wordless import pretrained, read_speech, recognise, wordless
from mtl.trunks.conformer import Conformer

QUICK = Fit(steps=2, dry_run=False, threads=1)


@pytest.fixture
def manifest(tmp_path):
    rng = np.random.default_rng(0)
    lines = []
    for place in range(6):
        soundfile.write(tmp_path / f"{place}.wav", rng.normal(0, 0.1, 12000), 16000)
        line = {"audio_filepath": f"{place}.wav", "duration": 0.75, "text": "ab", "lang": "nl"}
        lines.append(json.dumps(line | {"speaker": f"s{place}", "label": "x", "phonemes": "a b"}))
    (tmp_path / "said.jsonl").write_text("\n".join(lines))
    return tmp_path / "said.jsonl"


class Small(Recordings):
    def network(self):
        return LogMel(8, subsample=3), Conformer(8, 2, heads=2)


def test_texts_and_labels_are_taken_off(manifest):
    for utterance in wordless(read_manifest(manifest)):
        assert (utterance.text, utterance.label, utterance.phonemes) == ("", None, None)
        assert utterance.audio is not None


def test_two_rounds_are_kept_and_begin_a_recogniser(manifest, tmp_path, monkeypatch):
    said = read_manifest(manifest)
    problem = Small(said, said[:2])
    source = pretrained(tmp_path / "taught", problem, said, QUICK, (4, 5), 4.0)
    assert not source.tasks
    monkeypatch.setattr("mtl.studies.wordless.fit", None)
    again = pretrained(tmp_path / "taught", problem, said, QUICK, (4, 5), 4.0)
    pairs = zip(source.parameters(), again.parameters(), strict=True)
    assert all(a.equal(b) for a, b in pairs)
    begun = []

    def learn(model, problem, items, config):
        begun.append({name: value.clone() for name, value in model.state_dict().items()})
        return {}

    monkeypatch.setattr("mtl.studies.wordless.learn", learn)
    assert recognise(problem, said, QUICK, source)["metric"] == "cer"
    recognise(problem, said, QUICK)
    taught, fresh = begun
    same = {n: taught[n].equal(value) for n, value in source.state_dict().items()}
    assert all(same.values())
    assert any(not fresh[name].equal(taught[name]) for name in same)
    heads = [name for name in taught if name.startswith("heads")]
    assert heads and all(fresh[name].equal(taught[name]) for name in heads), "drawn alike"


def test_what_is_missing_is_named(manifest, tmp_path):
    with pytest.raises(ValueError, match="--unlabelled and --data belong together"):
        read_speech([manifest], [], [], 5)
    problem, heard = read_speech([manifest], [manifest], [manifest], 3)
    assert len(problem.test) == 3 and len(heard) == 6
    with pytest.raises(ValueError, match="give the number of units"):
        pretrained(tmp_path / "none", Small(heard, heard), heard, QUICK, ())
