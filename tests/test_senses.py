"""Spoken and seen classes: what is read, held out and left out, and the network that reads both."""

import json

import numpy as np
import pytest
import soundfile
import torch

from mtl.config import Fit
from mtl.data.augment import Augment
from mtl.data.images import from_arrays
from mtl.data.manifest import read_manifest
from mtl.data.warp import Warp
from mtl.evaluate import evaluate
from mtl.fit import fit
from mtl.problem import Pictures, Recordings
from mtl.senses import Senses, read_senses

HZ = 16000
HERTZ = {"0": 300, "1": 900}


def spoken(folder, count=12, name="train.jsonl", **columns):
    """A manifest of tones, low for label 0 and high for 1; `columns` are functions of the line's number."""
    lines = []
    for index in range(count):
        label = index % 2
        line = {"audio_filepath": f"{name}{index}.wav", "duration": 0.3, "lang": "en"}
        line |= {"speaker": f"s{index // 2 % 4}", "label": label}
        line |= {key: make(index) for key, make in columns.items()}
        noise = 0.01 * np.random.default_rng(index).standard_normal(int(0.3 * HZ))
        tone = 0.2 * np.sin(2 * np.pi * HERTZ[str(label)] * np.arange(len(noise)) / HZ)
        soundfile.write(folder / line["audio_filepath"], tone + noise, HZ)
        lines.append({key: value for key, value in line.items() if value is not None})
    path = folder / name
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def seen(count=12, classes=2, name="seen"):
    """Pictures from dark to bright."""
    y = np.arange(count) % classes
    x = (
        np.random.default_rng(count).integers(0, 20, (count, 8, 8))
        + 200 * y[:, None, None] // classes
    )
    return from_arrays(x.astype(np.uint8), y, name)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoken")
    voice = {"speaker": lambda index: f"t{index % 2}"}
    return spoken(folder), spoken(folder, 8, "test.jsonl", **voice)


@pytest.fixture
def senses(manifests):
    return Senses(Recordings(*map(read_manifest, manifests)), Pictures(seen(), seen(6, name="t")))


def test_only_labels_count_as_texts(tmp_path):
    texts = {
        "text": lambda index: "a word",
        "label": lambda index: index % 2 if index > 1 else None,
    }
    train = read_manifest(spoken(tmp_path, **texts))
    found = Senses(Recordings(train, train), Pictures(seen(), seen()))
    assert found.classes == {"speech": ["0", "1"], "images": ["0", "1"]} and found.alike
    assert [u.label for u in found.speech.train] == ["0", "1"] * 5
    assert found.notes == [
        "speech: left out 4 lines without a label",
        "speech: 0 of 4 test speakers are unheard in training",
    ]
    (task,) = found.speech.tasks()
    assert task.head.metrics == ("accuracy",)
    none = [u for u in train if u.label is None]
    for parts, lost in (((none, train), "training"), ((train, none), "test")):
        with pytest.raises(ValueError, match=f"speech: no {lost} line has a label"):
            Senses(Recordings(*parts), Pictures(seen(), seen()))


def test_tests_are_cut_to_the_same_examples(manifests):
    heard = Recordings(*map(read_manifest, manifests))
    whole = Senses(heard, Pictures(seen(), seen(9)))
    assert {u.id for u in whole.speech.test} == {u.id for u in heard.test}
    cut = [Senses(heard, Pictures(seen(), seen(9)), most=4) for _ in range(2)]
    assert [len(part.test) for part in (cut[0].speech, cut[0].images)] == [4, 4]
    assert [u.id for u in cut[0].speech.test] == [u.id for u in cut[1].speech.test]
    assert [p.id for p in cut[0].images.test] == [p.id for p in cut[1].images.test]


def test_a_network_has_the_stems_it_needs_and_one_head_where_asked(senses):
    torch.manual_seed(0)
    alone = senses.network(["images"], 8, 1, one_head=False)
    assert list(alone.stems) == list(alone.heads) == list(alone.tasks) == ["images"]
    both = senses.network(["speech", "images"], 8, 2, one_head=False)
    assert list(both.heads) == ["speech", "images"] and len(both.trunk.blocks) == 2
    one = senses.network(["speech", "images"], 8, 2, one_head=True)
    assert list(one.stems) == ["speech", "images"] and list(one.heads) == ["speech"]
    assert one.head("images") is one.head("speech") and one.trunk.dim == 8
    other = Senses(senses.speech, Pictures(seen(classes=3), seen()))
    assert not other.alike
    with pytest.raises(ValueError, match="other classes: they cannot share a head"):
        other.network(["speech", "images"], 8, 1, one_head=True)


def test_a_step_takes_as_many_of_each(senses):
    torch.manual_seed(0)
    model = senses.network(["speech", "images"], 8, 1, one_head=False)
    streams = senses.streams(model, 4, 0, 4, Augment(), Warp())
    assert {name: len(stream.data) for name, stream in streams.items()} == {
        "speech": 8,
        "images": 8,
    }
    assert {name: len(stream.draws(0)) for name, stream in streams.items()} == {
        "speech": 4,
        "images": 4,
    }
    labels = [senses.speech.few(4, seed) for seed in (0, 0, 1, 2, 3)]
    assert labels[0] == labels[1] and any(drawn != labels[0] for drawn in labels)
    warped = senses.streams(model, 0, 1, 4, Augment(time_masks=1), Warp(shift=0.5))
    for name, stream in warped.items():
        plain, drawn = (stream.data.example(0, draw).input for draw in (None, 0))
        again = senses.streams(model, 0, 2, 4, Augment(time_masks=1), Warp(shift=0.5))[name]
        assert not torch.equal(plain, drawn), "augmented in training alone"
        assert not torch.equal(again.data.example(0, 0).input, drawn), "by the seed of the run"


@pytest.mark.parametrize("one_head", [False, True])
def test_both_are_learnt_on_one_trunk(senses, one_head):
    torch.manual_seed(0)
    model = senses.network(["speech", "images"], 16, 1, one_head)
    streams = senses.streams(model, 0, 0, 12, Augment(), Warp())
    fit(model, streams, Fit(steps=30, lr=5e-3, precision="no", dry_run=False), show=False)
    found = evaluate(model, senses.tests(model)).tasks()
    assert {name: (row["accuracy"], row["n"]) for name, row in found.items()} == {
        "speech": (1.0, 8),
        "images": (1.0, 6),
    }


# Reading


def test_what_is_given_is_read_and_held_out(manifests, tmp_path):
    y = np.arange(6) % 2
    x = np.zeros((6, 8, 8), np.uint8)
    np.savez(tmp_path / "digits.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    train, test = manifests
    heard, pictures = read_senses([train], [tmp_path / "digits.npz"], [test])
    assert (len(heard.train), len(heard.test)) == (12, 8)
    assert (len(pictures.train), len(pictures.test)) == (6, 2)
    heard, _ = read_senses([train], [tmp_path / "digits.npz"], [])
    voices = [{u.speaker for u in part} for part in (heard.train, heard.test)]
    assert voices[1] and not voices[0] & voices[1], "whole speakers are held out"


@pytest.mark.parametrize(
    ("speech", "images", "test", "message"),
    [
        ([], ["d.npz"], ["t.jsonl"], r"--test .*t\.jsonl has nothing to learn from: give --data"),
        (["t.jsonl"], [], ["d.npz"], r"--test .*d\.npz has nothing to learn from: give --images"),
        (["d.npz"], ["d.npz"], [], r"--data .*d\.npz: give speech manifests"),
        (["t.jsonl"], ["t.jsonl"], [], r"--images .*t\.jsonl: give an \.npz file or a folder"),
        (["gone.jsonl"], [], [], r"gone\.jsonl: no such file or folder"),
    ],
)
def test_wrong_files_are_named(speech, images, test, message, tmp_path):
    x, y = np.zeros((4, 8, 8), np.uint8), np.arange(4) % 2
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    spoken(tmp_path, 8, "t.jsonl")
    paths = [[tmp_path / name for name in part] for part in (speech, images, test)]
    with pytest.raises(ValueError, match=message):
        read_senses(*paths)


def test_nothing_has_to_be_given(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path))
    senses = Senses(*read_senses([], [], [], small=True))
    digits = [str(digit) for digit in range(10)]
    assert senses.classes == {"speech": digits, "images": digits}
    assert (len(senses.speech.train), len(senses.speech.test), len(senses.images.test)) == (
        20,
        10,
        20,
    )
    train, test = ({u.speaker for u in part} for part in (senses.speech.train, senses.speech.test))
    assert not train & test
    assert not {p.id for p in senses.images.train} & {p.id for p in senses.images.test}
