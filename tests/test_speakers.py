import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
from test_adapt import QUICK, TONES, build, speak
from test_pseudo import biased

import mtl.speakers
from mtl.adapt import Adapt, adapt
from mtl.data.manifest import read_manifest, write_manifest
from mtl.data.speech import Speech
from mtl.delta import size, wear
from mtl.evaluate import evaluate
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.languages import SPEECH
from mtl.metrics import error_rate
from mtl.model import Model
from mtl.speakers import (
    DEV_VOICES,
    MADE,
    TESTED,
    VOICES,
    Speakers,
    advice,
    made_speakers,
    paired,
    read_speakers,
    refuse_strange,
    treat,
)
from mtl.stems.pixels import Pixels
from mtl.study import Result
from mtl.trunks.resnet import ResNet


def manifest(folder, name, *speakers, lang="nl"):
    """Write lines of sounds that need not exist."""
    rows = [
        {"audio_filepath": f"{name}{n}.wav", "duration": 1.0, "text": "a", "lang": lang, "speaker": who}
        for n, who in enumerate(speakers)
    ]  # fmt: skip
    write_manifest(folder / f"{name}.jsonl", rows)
    return folder / f"{name}.jsonl"


def ids(said):
    return {name: [utterance.id for utterance in its] for name, its in said.items()}


# Whose utterances


def test_every_other_utterance_is_for_testing(tmp_path):
    one = manifest(tmp_path, "m", *["anna"] * 3, "ben", "anna", "ben")
    two = manifest(tmp_path, "n", "ben")
    source = manifest(tmp_path, "s", "zoe", "zoe")
    found = read_speakers([one, two], source=[source])
    assert ids(found.pools) == {"anna": ["m0", "m2"], "ben": ["m3", "n0"]}
    assert ids(found.tests) == {"anna": ["m1", "m4"], "ben": ["m5"]}
    assert ids(found.others) == {"anna": ["m5"], "ben": ["m1", "m4"]}
    assert [utterance.id for utterance in found.source] == ["s0", "s1"]


def test_test_manifests_hold_others_too(tmp_path):
    data = manifest(tmp_path, "m", "anna", "anna", "anna")
    test = manifest(tmp_path, "t", "anna", "carl", "dora", "carl")
    found = read_speakers([data], [test])
    assert ids(found.pools) == {"anna": ["m0", "m1", "m2"]}
    assert found.tests["anna"] == read_manifest(test)[:1] and found.source == []
    assert ids(found.others) == {"anna": ["t1", "t3", "t2"]}


def test_speakers_without_tests_or_others_are_refused(tmp_path):
    pair = manifest(tmp_path, "m", "anna", "anna", "ben")
    with pytest.raises(ValueError, match=r"speakers \['ben'\] have nothing to be tested on: give"):
        read_speakers([pair])
    test = manifest(tmp_path, "t", "anna")
    with pytest.raises(ValueError, match=r"speakers \['ben'\] have nothing to be tested on: give"):
        read_speakers([pair], [test])
    single = manifest(tmp_path, "s", "anna", "anna")
    with pytest.raises(ValueError, match="nobody beside 'anna': give `test` utterances of others"):
        read_speakers([single])


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A corpus in two languages, and voices that say what they are asked for; `asked` notes it."""
    asked = []
    train, test = (
        [
            utterance
            for lang in ("nl", "cy")
            for utterance in read_manifest(
                manifest(tmp_path, f"{part}-{lang}", "x", "y", lang=lang)
            )
        ]
        for part in ("train", "test")
    )
    train[0] = replace(train[0], text="known")

    def make_voice(lang, voice, count, *, exclude):
        asked.append((lang, voice, count, exclude))
        return manifest(tmp_path, voice, *[voice] * count, lang=lang)

    made = SimpleNamespace(train=train, test=test, languages=["cy", "nl"])
    monkeypatch.setattr(mtl.speakers.Source, "read", lambda source: made)
    monkeypatch.setattr(mtl.speakers, "make_voice", make_voice)
    return asked


@pytest.mark.parametrize("small", [False, True])
def test_made_voices_say_what_training_lacks(small, corpus):
    found = made_speakers("nl", ["whisper", "ian"], small)
    count, tested = (8, 4) if small else (MADE, TESTED)
    assert corpus == [("nl", voice, count, {"known", "a"}) for voice in ("whisper", "ian")]
    for voice in ("whisper", "ian"):
        its = [f"{voice}{n}" for n in range(count)]
        assert ids(found.pools)[voice] == its[:-tested] and ids(found.tests)[voice] == its[-tested:]
        assert ids(found.others)[voice] == ["test-nl0", "test-nl1"]
    assert [utterance.id for utterance in found.source] == ["train-nl0", "train-nl1"]


def test_a_voice_or_language_that_there_is_not(corpus, monkeypatch):
    with pytest.raises(ValueError, match="the corpus has no 'xx'; choose from cy, nl"):
        made_speakers("xx", ["whisper"])
    monkeypatch.setattr(mtl.speakers.Source, "read", lambda source: pytest.fail("made in vain"))
    with pytest.raises(
        ValueError, match="there is no voice 'wisper' to speak; near it are whisper"
    ):
        made_speakers("nl", ["ian", "wisper"])
    assert corpus == []


def test_voices_that_chose_settings_are_not_reported():
    assert len(VOICES) >= 6 and not set(VOICES) & set(DEV_VOICES)


# Before and after


@pytest.fixture(scope="module")
def model():
    """A model that learnt nothing and always writes something, of texts and of phonemes."""
    tasks = [Task(name, SPEECH, CTC(list(TONES))) for name in ("nl", "nl-phonemes")]
    return biased(build(*tasks, seed=3), "nl", 0, -2.0)


@pytest.fixture(scope="module")
def speakers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    anna, ben = (
        [replace(utterance, phonemes="ab") for utterance in speak(folder, name, 6)]
        for name in ("anna", "ben")
    )
    return Speakers({"anna": anna[:4]}, {"anna": anna[4:]}, {"anna": ben}, ben[:3])


def errors(model, said, groups=None):
    """Counts of the texts alone: phonemes are no texts."""
    rows = evaluate(model, {SPEECH: Speech(said, model, groups=groups)}).of("nl")
    assert len(rows) == len(said)
    return [[*row.counts["cer"], row.group] for row in rows]


def test_without_utterances_it_is_the_base(model, speakers):
    found = treat(model, speakers, "anna", 0, Adapt())
    counts = errors(model, speakers.tests["anna"])
    assert found["counts"] == counts and [row[2] for row in counts] == ["anna"] * 2
    rates = {
        name: [row[place] for row in counts] for place, name in enumerate(("errors", "lengths"))
    }
    assert found["value"] == error_rate(**rates) > 0 and (found["metric"], found["n"]) == ("cer", 2)
    assert found["others"]["counts"] == errors(model, speakers.others["anna"])
    assert found["lost"] == found["others"]["value"]
    assert (found["kb"], found["seconds"]) == (0.0, 0.0)


@pytest.mark.parametrize("by", ["lhuc", "full"])
def test_others_are_heard_as_if_they_were_the_speaker(by, model, speakers, monkeypatch):
    taken = []

    def noted(base, said, settings, **more):
        taken.append((said["anna"], more["source"]))
        return adapt(base, said, settings, **more)

    monkeypatch.setattr(mtl.speakers, "adapt", noted)
    settings = Adapt(by=by, lr=0.3, **QUICK)
    before = copy.deepcopy(model.state_dict())
    found = treat(model, speakers, "anna", 2, settings)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    ((said, source),) = taken
    assert len({u.id for u in said} & {u.id for u in speakers.pools["anna"]}) == 2 and source == ()

    delta = adapt(model, {"anna": said}, settings)["anna"].delta
    worn = copy.deepcopy(model)
    groups = {"speaker": wear(worn, [delta])}
    assert found["counts"] == errors(worn, speakers.tests["anna"], groups)
    disguised = [replace(utterance, speaker="anna") for utterance in speakers.others["anna"]]
    counts = [[*row[:2], "ben"] for row in errors(worn, disguised, groups)]
    assert found["others"]["counts"] == counts != errors(model, speakers.others["anna"])
    assert found["kb"] == size(delta) / 1000 and found["seconds"] > 0
    assert treat(model, speakers, "anna", 2, settings) | {"seconds": 0} == found | {"seconds": 0}


def test_the_seed_chooses_the_utterances_and_replay_the_source(model, speakers, monkeypatch):
    chosen = []

    def noted(base, said, settings, *, source, cache):
        chosen.append(([utterance.id for utterance in said["anna"]], source))
        raise ValueError("enough")

    monkeypatch.setattr(mtl.speakers, "adapt", noted)
    for seed in (0, 1, 2, 3, 0):
        with pytest.raises(ValueError, match="enough"):
            treat(model, speakers, "anna", 2, Adapt(by="full", seed=seed, replay=seed == 3))
    assert chosen[0] == chosen[4] and len({tuple(its) for its, _ in chosen}) > 1
    assert [source for _, source in chosen] == [(), (), (), speakers.source, ()]


def test_tests_that_the_model_cannot_write_are_refused(model, speakers):
    refuse_strange(model, speakers)
    french = [replace(utterance, lang="fr") for utterance in speakers.tests["anna"]]
    strange = replace(speakers, tests={"anna": french})
    with pytest.raises(
        ValueError, match="speaker 'anna' has test texts in: fr; this model writes: nl"
    ):
        refuse_strange(model, strange)
    refuse_strange(build(Task("text", SPEECH, CTC(["a"]))), strange)
    seeing = Model({"images": Pixels(1, 16, 4)}, ResNet(4, [8]))
    with pytest.raises(ValueError, match="no stream 'speech'; this model has: images"):
        refuse_strange(seeing, speakers)
    silent = [replace(utterance, text=" ") for utterance in speakers.tests["anna"]]
    with pytest.raises(ValueError, match="has test texts in: no language; this model writes: nl"):
        refuse_strange(model, replace(speakers, tests={"anna": silent}))


# Results


def result(method, count, value, lost, *, speaker="s", seed=0, kb=1.0, seconds=2.0, counts=None):
    cell = {"method": method, "count": count, "speaker": speaker, "seed": seed}
    if value is None:
        return Result(cell, None, "failed")
    figures = {"value": value, "lost": lost, "kb": kb, "seconds": seconds, "counts": counts}
    return Result(cell, figures)


def test_advice_names_the_best_method_for_each_amount():
    results = [
        result("none", 0, 0.5, 0.1),
        result("full", 5, 0.5, 0.4),
        result("full", 5, 0.3, 0.4, seed=1),
        result("lhuc", 5, 0.3, 0.1),
        result("lhuc", 5, 0.3, 0.14, seed=1, kb=2.0, seconds=6.0),
        result("full", 40, 0.1, 0.4, kb=900.0, seconds=20.0),
        result("lhuc", 40, 0.2, 0.1),
    ]
    assert advice(results) == [
        "with 5: lhuc is best, 50.00% -> 30.00%, 50% of the gap to others; others 10.00% -> 12.00%; "
        "2 kB, 4 s",
        "with 40: full is best, 50.00% -> 10.00%, 100% of the gap to others; others 10.00% -> 40.00%; "
        "900 kB, 20 s",
    ]


def test_advice_where_no_method_helps():
    unadapted = result("none", 0, 0.3, 0.1)
    for rate in (0.3, 0.4):
        (line,) = advice([unadapted, result("lhuc", 5, rate, 0.1), result("full", 5, 0.5, 0.1)])
        assert line.startswith(
            f"with 5: none helped, the best is lhuc, 30.00% -> {rate:.2%}; others"
        )


def test_a_speaker_is_compared_with_itself():
    """Who gave few utterances is no part of what many utterances gain."""
    near = [
        result("none", 0, 0.1, 0.2, speaker="near"),
        result("lhuc", 1, 0.1, 0.2, speaker="near"),
    ]
    far = [result("none", 0, 0.9, 0.2), result("lhuc", 1, 0.7, 0.2), result("lhuc", 5, 0.5, 0.2)]
    one, five = advice([*near, *far])
    assert one.startswith("with 1: lhuc is best, 50.00% -> 40.00%, 33% of the gap")
    assert five.startswith("with 5: lhuc is best, 90.00% -> 50.00%, 57% of the gap")
    assert "gap" not in advice(near)[0], "there was none"


def test_advice_without_all_figures():
    failed = result("none", 0, None, None)
    assert advice([failed, result("lhuc", 5, 0.3, 0.1)]) == []
    assert advice([result("none", 0, 0.5, 0.1), result("lhuc", 5, None, None)]) == []
    assert advice([result("none", 0, 0.5, 0.1)]) == []


def test_methods_are_compared_on_what_both_were_tested_on():
    a, b, c = ([[1, 9, "a"]], [[2, 9, "b"]], [[3, 9, "c"]])
    results = [
        result("lhuc", 5, 0.1, 0.1, speaker="b", counts=b),
        result("lhuc", 5, 0.1, 0.1, speaker="a", counts=a + a),
        result("full", 5, 0.1, 0.1, speaker="a", counts=c + c),
        result("full", 5, 0.1, 0.1, speaker="b", counts=a),
        result("full", 5, 0.1, 0.1, speaker="b", counts=c, seed=1),
        result("lhuc", 5, None, None, speaker="b", seed=1),
        result("lhuc", 1, 0.1, 0.1, speaker="b", counts=c),
    ]
    assert paired(results, ["lhuc", "full"], 5) == [b + a + a, a + c + c]
    assert paired(results, ["lhuc", "full"], 1) == [[], []]
    assert paired(results, ["lhuc", "lin"], 5) == [[], []]
