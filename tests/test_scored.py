"""scored: rows that a source model makes of a target, and the scores on them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from talking import Ear, Same, write

from mtl.data.digits import digits, glyphs
from mtl.data.manifest import read_manifest
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.predict import extract, predict
from mtl.problem import Pictures, Recordings
from mtl.score.a_distance import a_distance
from mtl.score.hscore import hscore
from mtl.score.leep import leep
from mtl.scored import SCORES, distances, entropy, look, scores, stream_of, untrained
from mtl.stems.pixels import Pixels
from mtl.trunks.resnet import ResNet


def net(classes="ABC", stream="images"):
    torch.manual_seed(0)
    tasks = [Task("label", stream, Classify(list(classes)), label="label")]
    return Model({stream: Pixels(1, 16, 4, stride=2)}, ResNet(4, [8, 8]), tasks)


@pytest.fixture
def target():
    every = digits(16)[:60]
    return Pictures(every[:40], every[40:])


def test_features_and_posteriors_are_those_of_the_model(target):
    model = net()
    seen = look(model, target, target.train)
    np.testing.assert_allclose(
        seen.features, extract(model, target.data(model, target.train), "images"), atol=1e-5
    )
    answers = predict(model, target.data(model, target.train), "images")
    best = [answer.predictions["label"] for answer in answers]
    assert seen.posteriors.max(1) == pytest.approx([p.confidence for p in best], abs=1e-5)
    assert ["ABC"[z] for z in seen.posteriors.argmax(1)] == [p.value for p in best]
    assert seen.labels.tolist() == [p.label for p in target.train]


def test_scores_are_those_of_their_files_and_do_not_mind_the_scale(target):
    seen = look(net(), target, target.train)
    found = scores(seen)
    assert set(found) == set(SCORES)
    assert found["leep"] == leep(seen.posteriors, seen.labels)
    assert found["hscore"] == pytest.approx(hscore(seen.features, seen.labels))
    larger = scores(seen._replace(features=1000 * seen.features, posteriors=None))
    assert set(larger) == {"logme", "hscore", "transrate"}
    for name, value in larger.items():
        assert value == pytest.approx(found[name], rel=1e-4)
    assert entropy(np.array(list("aabb"))) == pytest.approx(np.log(2))


def test_an_untrained_network_is_like_it_and_knows_nothing_of_it():
    model, state = net(), torch.get_rng_state()
    bare = untrained(model, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert bare.config() == model.config() and not bare.training
    weights = zip(bare.state_dict().values(), model.state_dict().values(), strict=True)
    assert not all(a.equal(b) for a, b in weights)
    again = zip(bare.parameters(), untrained(model, 1).parameters(), strict=True)
    assert all(a.equal(b) for a, b in again)


def test_distances_are_small_of_the_same_and_larger_of_others(target):
    rng = np.random.default_rng(0)
    own, same = rng.normal(size=(60, 4)), rng.normal(size=(60, 4))
    near, far = distances(own, same), distances(own, 3 * same + 2)
    assert all(near[name] < far[name] for name in near) and len(near) == 5
    rows = np.concatenate([own, same])
    scaled = [(x - rows.mean(0)) / rows.std(0) for x in (own, same)]
    assert near["A-distance"] == pytest.approx(a_distance(*scaled))


def test_a_target_of_texts_is_scored_by_frames(tmp_path):
    ear = Ear()
    letters = list("abcdef")
    model = Model({"speech": ear}, Same(ear.dim), [Task("nl", "speech", CTC(letters))])
    lines = []
    for text in ("abcabc", "defdef"):
        write(tmp_path / f"{text}.wav", [text])
        seconds = soundfile.info(tmp_path / f"{text}.wav").duration
        line = {"audio_filepath": f"{text}.wav", "duration": seconds, "text": text, "lang": "nl"}
        lines.append(json.dumps(line))
    (tmp_path / "said.jsonl").write_text("\n".join(lines))
    said = read_manifest(tmp_path / "said.jsonl")
    target = Recordings(said, said)
    seen = look(model, target, said)
    assert len(seen.labels) == len(seen.features) == len(seen.posteriors)
    assert set(seen.labels) == set(letters) and seen.posteriors.shape[1] == 7
    np.testing.assert_allclose(seen.posteriors.sum(1), 1, atol=1e-5)
    classes = [replace(u, text="", label=u.text) for u in said]
    whole = look(model, Recordings(classes, classes), classes)
    assert whole.features.shape[0] == 2 and whole.labels.tolist() == ["abcabc", "defdef"]
    np.testing.assert_allclose(whole.posteriors.sum(1), 1, atol=1e-5)


def test_streams_and_what_does_not_fit(target):
    assert stream_of(net(stream="source"), target) == "source"
    with pytest.raises(ValueError, match="the target is speech; the model has streams: images"):
        stream_of(net(), Recordings([], []))
    blank = [replace(p, label="") for p in glyphs(12, "AB")]
    with pytest.raises(ValueError, match="no labels or texts to score by"):
        look(net(), target, blank)
