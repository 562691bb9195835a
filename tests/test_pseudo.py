import copy
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from test_adapt import HZ, QUICK, TONES, build, speak

from mtl.adapt import Adapt, adapt
from mtl.data.manifest import read_manifest, write_manifest
from mtl.data.speech import Speech
from mtl.head import Prediction, Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.languages import SPEECH
from mtl.predict import predict
from mtl.pseudo import audible, pseudo_label


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("heard")


@pytest.fixture(scope="module")
def said(folder):
    """Nine utterances, in two languages and without any, in turn."""
    return speak(folder, "zoe", 9, langs=("nl", "cy", "und"))


def biased(model, task, index, value):
    with torch.no_grad():
        model.head(task).output.bias[index] = value
    return model


def listener(classes=("nl", "cy"), langs=("nl", "cy")):
    """A model that learnt nothing, but always writes something; unknown languages sound like the last."""
    tasks = [Task(lang, SPEECH, CTC(list(TONES))) for lang in langs]
    if classes:
        tasks.append(Task("language", SPEECH, Classify(list(classes))))
    model = build(*tasks, seed=3).eval()
    for lang in langs:
        biased(model, lang, 0, -2.0)
    return biased(model, "language", -1, 99.0) if classes else model


@pytest.fixture(scope="module")
def model():
    return listener()


def alone(model, utterance, task):
    """Text and confidence of one utterance, by one task."""
    return predict(model, Speech([utterance], model), SPEECH)[0].predictions[task]


# What can be heard


def test_sound_is_told_from_silence(folder):
    rng = np.random.default_rng(0)
    noise, long = rng.standard_normal(HZ), np.zeros(3 * HZ)
    long[HZ : 2 * HZ] = 0.1 * noise
    sounds = {"soft": 2e-4 * noise, "softer": 0.5e-4 * noise, "zero": 0 * noise, "long": long}
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples, HZ, subtype="FLOAT")
    frames = np.ones((30, 4), np.float32)
    np.save(folder / "flat.npy", frames)
    frames[7, 2] = 0.0
    np.save(folder / "frames.npy", frames)
    rows = [{"audio_filepath": f"{name}.wav", "id": name} for name in sounds]
    cuts = {"before": 0.0, "within": 1.0, "behind": 2.0}
    cut = {"audio_filepath": "long.wav", "duration": 1.0}
    rows += [cut | {"id": name, "offset": at} for name, at in cuts.items()]
    rows += [{"feature_path": f"{name}.npy", "id": name} for name in ("flat", "frames")]
    write_manifest(folder / "sounds.jsonl", rows)
    kept, skips = audible(read_manifest(folder / "sounds.jsonl"))
    assert [utterance.id for utterance in kept] == ["soft", "long", "within", "frames"]
    places = {"softer": 2, "zero": 3, "before": 5, "behind": 7, "flat": 8}
    assert {skip.id: skip.where for skip in skips} == {
        name: f"sounds.jsonl:{line}" for name, line in places.items()
    }
    assert {(skip.kind, skip.reason.split(": ", 1)[1]) for skip in skips} == {
        ("silence", "silence: record it again")
    }


def test_what_cannot_be_read_is_named(folder, said):
    (folder / "text.wav").write_text("no sound")
    np.save(folder / "text.npy", np.array(["a"]))
    bad = [replace(said[0], audio=folder / name) for name in ("text.wav", "none.wav")]
    bad.append(replace(said[0], audio=None, features=folder / "text.npy"))
    bad.append(replace(said[0], seconds=99.0))
    kept, skips = audible([*bad, said[1]])
    assert kept == [said[1]]
    assert [skip.kind for skip in skips] == ["unreadable"] * 4
    says = ["text.wav: cannot be read as audio", "none.wav: no such file"]
    says += ["text.npy: is <U1", "too short for 99"]
    for skip, text in zip(skips, says, strict=True):
        assert skip.reason.startswith("zoe.jsonl:1: ") and text in skip.reason


# What stands in for the texts


def test_texts_are_what_the_model_hears(model, said):
    kept, skips = pseudo_label(model, said)
    assert skips == [] and [utterance.id for utterance in kept] == [u.id for u in said]
    for utterance, given in zip(kept, said, strict=True):
        lang = "cy" if given.lang == "und" else given.lang
        text = alone(model, given, lang).value
        assert text and utterance == replace(given, text=text, lang=lang)
    assert len({utterance.text for utterance in kept}) > 1


def test_decoders_write_the_texts(model, said):
    sure = iter([0.1, 0.9, 0.5])
    decoders = {"nl": lambda scores: [Prediction("bab", next(sure)) for _ in scores.x]}
    dutch = [utterance for utterance in said if utterance.lang == "nl"][:3]
    kept, skips = pseudo_label(model, dutch, 0.6, decoders=decoders)
    assert [u.text for u in kept] == ["bab", "bab"] and len(skips) == 1
    assert skips[0].reason.endswith("confidence 0.10, less than of others")


def test_the_most_confident_share_is_taken_in_its_order(model, said):
    sure = [alone(model, u, "nl" if u.lang == "nl" else "cy").confidence for u in said]
    best = sorted(np.argsort(sure)[-4:])  # 0.4 of 9, rounded up
    kept, skips = pseudo_label(model, said, 0.4)
    assert [utterance.id for utterance in kept] == [said[place].id for place in best]
    left = [place for place in range(len(said)) if place not in best]
    assert [(skip.id, skip.where, skip.kind) for skip in skips] == [
        (said[place].id, said[place].where, "unsure") for place in left
    ]
    for skip, place in zip(skips, left, strict=True):
        given = f"{said[place].where}: confidence {sure[place]:.2f}, less than of others"
        assert skip.reason == given


def test_utterances_of_two_manifests_may_share_an_id(model, said):
    twins = [replace(utterance, id="one") for utterance in said]
    kept, skips = pseudo_label(model, twins, 0.4)
    assert (len(kept), len(skips)) == (4, 5)


def test_nothing_that_was_written_down_is_kept(model, said):
    told = [replace(said[0], text="bbb", phonemes="b b b", label="b")]
    (kept,), _ = pseudo_label(model, told)
    assert kept == pseudo_label(model, [said[0]])[0][0]
    assert (kept.phonemes, kept.label) == (None, None)


def test_nothing_heard_is_left_out(model, said):
    deaf = biased(copy.deepcopy(model), "nl", 0, 99.0)
    kept, skips = pseudo_label(deaf, said[:2])
    assert [utterance.id for utterance in kept] == [said[1].id]
    assert [tuple(skip) for skip in skips] == [
        (said[0].id, "zoe.jsonl:1", "nl", "unheard", "zoe.jsonl:1: the model hears no word")
    ]


def test_a_file_that_vanishes_is_left_out(model, said, folder):
    gone = replace(said[0], audio=folder / "gone.wav")
    kept, (skip,) = pseudo_label(model, [gone, said[1]])
    assert len(kept) == 1 and skip.kind == "unheard" and "gone.wav: no such file" in skip.reason


def test_a_language_that_the_model_lacks(model, said):
    french = replace(said[0], lang="fr")
    kept, (skip,) = pseudo_label(model, [french, said[1]])
    assert [utterance.id for utterance in kept] == [said[1].id]
    assert (skip.kind, skip.lang) == ("language", "fr")
    assert skip.reason.startswith("zoe.jsonl:1: language 'fr' is not known; this model has: nl, cy")
    with pytest.raises(ValueError, match=r"speaker 'zoe': .*language 'fr' is not known"):
        adapt(model, {"zoe": [french]}, Adapt(unsupervised=True, **QUICK))


def test_a_language_that_is_heard_and_not_written(said):
    kept, (skip,) = pseudo_label(listener(classes=("nl", "fr")), said[1:3])
    assert [utterance.id for utterance in kept] == [said[1].id]
    assert skip.kind == "unheard" and "sounds like 'fr', not written here" in skip.reason


def test_who_cannot_tell_languages_apart(said):
    _, (skip,) = pseudo_label(listener(classes=()), said[1:3])
    assert skip.kind == "language" and "no task 'language' to choose by" in skip.reason
    kept, skips = pseudo_label(listener(classes=(), langs=("nl",)), said[2:4])
    assert [utterance.lang for utterance in kept] == ["nl", "nl"] and skips == []
    kept, skips = pseudo_label(listener(classes=(), langs=("text",)), said[1:3])
    assert [utterance.lang for utterance in kept] == ["cy", "und"] and skips == []


def test_nothing_gives_nothing(model):
    assert pseudo_label(model, []) == audible([]) == ([], [])
