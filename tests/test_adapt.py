import copy
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from toy import assert_same_weights

import mtl.adapt
import mtl.lessons
import mtl.strength
from mtl.adapt import REPLAY, Adapt, adapt, read_method
from mtl.batch import collate
from mtl.config import Fit
from mtl.data.cache import Cache
from mtl.data.manifest import read_manifest, write_manifest
from mtl.data.speech import Speech
from mtl.decode.beam import Search
from mtl.decode.lm import estimate
from mtl.decoding import beams
from mtl.delta import take, wear
from mtl.evaluate import evaluate
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.languages import SPEECH
from mtl.lessons import choose_lesson
from mtl.model import Model
from mtl.predict import predict
from mtl.prepare import WAYS, prepare
from mtl.stems.logmel import LogMel
from mtl.stream import Stream
from mtl.trunks.conformer import Conformer

HZ = 8000
TONES = {"a": 500, "b": 1500}
QUICK = {"steps": 2, "threads": 1, "seconds": 8.0}


def spelled(text, lang, pitch, rng):
    """A tone for each letter, with a hum beside it in cy."""
    gap, times = np.zeros(int(0.08 * HZ)), np.arange(int(0.12 * HZ)) / HZ
    tones = [(np.sin(2 * np.pi * TONES[letter] * pitch * times), gap) for letter in text]
    wave = np.concatenate([gap, *(part for pair in tones for part in pair)])
    if lang == "cy":
        wave = wave + 0.5 * np.sin(2 * np.pi * 3000 * np.arange(len(wave)) / HZ)
    return 0.2 * wave + 0.01 * rng.standard_normal(len(wave))


def speak(folder, name, count, *, pitch=1.0, langs=("nl",)):
    """Let somebody say three letters, `count` times."""
    rng, rows = np.random.default_rng(list(name.encode())), []
    for index in range(count):
        lang, file = langs[index % len(langs)], f"{name}-{index}.wav"
        text = "".join(rng.choice(list(TONES), 3))
        soundfile.write(folder / file, spelled(text, lang, pitch, rng), HZ)
        rows.append({"audio_filepath": file, "text": text, "lang": lang, "speaker": name})
    write_manifest(folder / f"{name}.jsonl", rows)
    return read_manifest(folder / f"{name}.jsonl")


def build(*tasks, seed=0):
    torch.manual_seed(seed)
    stem = LogMel(16, hz=HZ, bins=32)
    return Model({SPEECH: stem}, Conformer(16, depth=2, heads=2, expansion=2, kernel=5), tasks)


def trained(utterances, steps=60):
    """A model that writes what it has heard in two languages, and tells them apart."""
    tasks = [Task(lang, SPEECH, CTC(list(TONES))) for lang in ("nl", "cy")]
    model = build(*tasks, Task("language", SPEECH, Classify(["nl", "cy"])))
    config = Fit(steps=steps, lr=1e-2, precision="no", threads=1, dry_run=False)
    return fit(
        model, {SPEECH: Stream(Speech(utterances, model), 8.0)}, config, show=False
    ).model.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("voices")


@pytest.fixture(scope="module")
def known(folder):
    """What the model is trained on."""
    return speak(folder, "known", 24, langs=("nl", "cy"))


@pytest.fixture(scope="module")
def base(known):
    return trained(known)


@pytest.fixture(scope="module")
def said(folder):
    """Four utterances of somebody with a higher voice, the speakers of which bear no name."""
    its = speak(folder, "zoe", 4, pitch=1.2)
    return [replace(utterance, speaker="unknown") for utterance in its]


@pytest.fixture
def fits(monkeypatch):
    """Note the model and the streams of every training run."""
    calls = []

    def noted(model, streams, *args, **kwargs):
        calls.append((model, streams))
        return fit(model, streams, *args, **kwargs)

    monkeypatch.setattr(mtl.adapt, "fit", noted)
    return calls


@pytest.fixture
def all_the_way(monkeypatch):
    """Let every delta have strength 1."""
    monkeypatch.setattr(mtl.adapt, "choose_strength", lambda *_: 1.0)


def learn(base, said, name="zoe", source=(), **settings):
    return adapt(base, {name: said}, Adapt(**QUICK | settings), source=source)[name]


def heard(model, said, number=None):
    """Features and scores of all heads, by a speaker's number."""
    groups = {} if number is None else {"speaker": {"": number}}
    data = Speech(said, model, groups=groups)
    with torch.no_grad():
        features = model(SPEECH, collate([data.example(index) for index in range(len(data))]))
        return [features.x, *(model.scores(task, features).x for task in model.tasks)]


def worn(base, delta):
    model = copy.deepcopy(base).eval()
    assert wear(model, [delta]) == {"": 0, delta.name: 1}
    return model


def same(one, two):
    return one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)


# Ways

LEARNS = {  # of names and dimensions
    "full": lambda name, _: name.startswith(("stems.", "trunk.", "heads.nl.")),
    "input": lambda name, _: name.startswith(("stems.", "trunk.blocks.b1.")),
    "top": lambda name, _: name.startswith(("trunk.blocks.b2.", "heads.nl.")),
    "bias": lambda name, dims: name.startswith("heads.nl.") or (dims == 1 and "heads" not in name),
    "lora": lambda name, _: ".lora_" in name,
    "lin": lambda name, _: name.startswith("stems.speech.before.lin."),
    "lhuc": lambda name, _: name.endswith(".lhuc.a"),
    "adapter": lambda name, _: ".adapter." in name,
}


@pytest.mark.parametrize("by", [*WAYS, "lhuc+lin", "input+lhuc", "input+lora"])
def test_what_was_learnt_is_a_delta_and_nothing_else(by, base, said, fits, all_the_way):
    model = copy.deepcopy(base).train()
    model.stems.eval().requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    delta, skips = learn(model, said, by=by)
    assert_same_weights(model, base)
    assert model.config() == base.config()
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert [module.training for module in model.modules()] == modes

    assert (skips, delta.notes["utterances"], delta.notes["strength"]) == ([], 4, 1.0)
    assert (delta.notes["by"], delta.notes["lr"]) == (by, Adapt(by=by).fit().lr)
    ours = worn(base, delta)
    learnt = {
        name
        for name, parameter in ours.named_parameters()
        if any(LEARNS[way](name, parameter.dim()) for way in by.split("+"))
    }
    assert learnt and set(delta.tensors) == learnt
    for adapted, theirs in zip(heard(fits[0][0], said, 1), heard(ours, said, 1), strict=True):
        assert adapted.equal(theirs)
    plain = heard(base, said)
    assert not any(old.equal(new) for old, new in zip(plain, heard(ours, said, 1), strict=True))

    torch.manual_seed(99)  # what was drawn before is of no consequence
    assert same(learn(base, said, by=by).delta.tensors, delta.tensors)
    assert not same(learn(base, said, by=by, seed=1).delta.tensors, delta.tensors)


def test_the_order_of_the_ways_does_not_matter(base):
    names = [
        {name for name, p in prepare(base, ways, 2, ["nl"]).named_parameters() if p.requires_grad}
        for ways in (["input", "lora"], ["lora", "input"])
    ]
    assert names[0] == names[1]
    assert "trunk.blocks.b1.first.net.0.weight" not in names[0]  # LoRA has renamed it
    assert any(name.startswith("trunk.blocks.b1.") and "base_layer" in name for name in names[0])


def test_a_shared_head_learns_for_both_of_its_languages():
    tasks = [
        Task("nl", SPEECH, CTC(["a"])),
        Task("be", SPEECH, "nl"),
        Task("cy", SPEECH, CTC(["a"])),
    ]
    for lang, head in (("be", "nl"), ("nl", "nl"), ("cy", "cy")):
        model = prepare(build(*tasks), ["full"], 2, [lang])
        learns = {name for name, p in model.heads.named_parameters() if p.requires_grad}
        assert learns == {f"{head}.output.weight", f"{head}.output.bias"}


def test_a_far_voice_is_understood_better(base, folder):
    zoe = speak(folder, "far", 24, pitch=1.2)

    def errors(model, groups=None):
        data = Speech(zoe[10:], model, groups=groups)
        return evaluate(model, {SPEECH: data}).tasks()["nl"]["cer"]

    delta = learn(base, zoe[:10], by="input", lr=5e-3, steps=20).delta
    before, after = errors(base), errors(worn(base, delta))
    assert before > 0.3 and after < before / 2


# Many speakers


def test_many_speakers_learn_in_one_run(base, said, known, fits, all_the_way):
    speakers = {"anna": said[:2], "ben": known[:3]}
    found = adapt(base, speakers, Adapt(by="lhuc", **QUICK))
    ((model, streams),) = fits
    data = streams[SPEECH].data
    assert data.column("speaker") == ["anna"] * 2 + ["ben"] * 3
    numbers = [data.example(index).groups["speaker"] for index in range(len(data))]
    assert numbers == [1, 1, 2, 2, 2]
    assert streams[SPEECH].batch == 2 * QUICK["seconds"]
    assert streams[SPEECH].shares == {"anna": 0.5, "ben": 0.5}
    for number, (name, adapted) in enumerate(found.items(), 1):
        for key, value in adapted.delta.tensors.items():
            row = model.get_parameter(key)[number : number + 1]
            assert value.equal(row) and value.any() and adapted.delta.name == name
    assert not any(
        found["anna"].delta.tensors[key].equal(found["ben"].delta.tensors[key])
        for key in found["anna"].delta.tensors
    )
    assert found["ben"].delta.notes["utterances"] == 3


def test_a_run_for_each_where_the_model_itself_changes(base, said, known, fits):
    speakers = {"anna": said[:2], "ben": known[:3]}
    found = adapt(base, speakers, Adapt(by="input+lhuc", **QUICK))
    assert [len(streams[SPEECH].data) for _, streams in fits] == [2, 3]
    alone = adapt(base, {"ben": known[:3]}, Adapt(by="input+lhuc", **QUICK))["ben"]
    assert same(found["ben"].delta.tensors, alone.delta.tensors)


# What holds it near the base


def divergence(base, model, said):
    """Kullback-Leibler from the base, in nats a frame."""
    (p, q) = (heard(network, said, 1)[1].double().numpy() for network in (base, model))
    return (np.exp(p) * (p - q)).sum(-1).mean()


def distance(base, delta):
    old = base.state_dict()
    return sum((value - old[key]).square().sum() for key, value in delta.tensors.items())


def test_outputs_or_weights_stay_near_the_base(base, said):
    wild = {"by": "full", "lr": 3e-3, "steps": 10}
    kinds = ({}, {"conservative": 0.98}, {"l2sp": 100.0})
    free, conservative, l2sp = (learn(base, said, **wild, **kind).delta for kind in kinds)
    far, near = (divergence(base, worn(base, delta), said) for delta in (free, conservative))
    assert 0 < near < far / 3
    assert 0 < distance(base, l2sp) < distance(base, free) / 3


# Replay


def test_replay_runs_source_data_beside_the_speaker(base, said, known, fits):
    delta = learn(base, said, by="full", replay=True, source=known[:6]).delta
    model, streams = fits[0]
    assert list(streams) == [SPEECH, REPLAY]
    assert [len(stream.data) for stream in streams.values()] == [4, 6]
    assert list(model.tasks) == list(base.tasks) and model.streams == base.streams
    other = learn(base, said, by="full", replay=True, source=known[6:12]).delta
    assert not same(other.tensors, delta.tensors)
    assert not same(learn(base, said, by="full").delta.tensors, delta.tensors)
    assert not [key for key in delta.tensors if key.startswith("heads.cy")]
    heard(worn(base, delta), said, 1)


def test_replay_and_source_need_each_other(base, said, known):
    for settings, source in (({"replay": True}, ()), ({}, known)):
        with pytest.raises(
            ValueError, match="replay needs `source`, utterances to replay, and `sou"
        ):
            learn(base, said, by="full", source=source, **settings)
    with pytest.raises(ValueError, match=r"replay does not reach what 'lhuc\+lin' learns"):
        learn(base, said, by="lhuc+lin", replay=True, source=known)


# Without texts


def test_unsupervised_adaptation_does_not_read_texts(base, known):
    said = [replace(utterance, lang="und") for utterance in known[:5]]
    one = learn(base, said, by="top", unsupervised=True, confident=0.8)
    texts = ("bbbbb", "", "zzz", "ab", "a" * 99)
    others = [
        replace(utterance, text=text, phonemes=text)
        for utterance, text in zip(said, texts, strict=True)
    ]
    two = learn(base, others, by="top", unsupervised=True, confident=0.8)
    assert same(one.delta.tensors, two.delta.tensors) and one.skips == two.skips
    assert one.delta.notes["utterances"] == 4
    assert [skip.kind for skip in one.skips] == ["unsure"]
    heads = {key.split(".")[1] for key in one.delta.tensors if key.startswith("heads.")}
    assert heads == {"nl", "cy"}, "the languages are heard"


def test_a_language_model_helps_to_listen(base, known, tmp_path):
    estimate([["bbb"]], order=2).write(tmp_path / "nl.arpa")  # no other word may be heard
    said, settings = known[:1], {"unsupervised": True, "confident": 1.0, "rounds": 1, "by": "top"}
    search = Search(lm=f"nl={tmp_path / 'nl.arpa'}")
    (answer,) = predict(base, Speech(said, base), SPEECH, decoders=beams(base, search))
    plain, helped = (learn(base, said, **settings, lm=lm).delta for lm in ("", search.lm))
    assert answer.predictions["nl"].value == "bbb" != said[0].text
    told = learn(base, [replace(said[0], text=answer.predictions["nl"].value)], by="top").delta
    assert same(helped.tensors, told.tensors) and not same(plain.tensors, told.tensors)


def test_unsupervised_adaptation_holds_nothing_out(base, known):
    delta = learn(base, known[:20], unsupervised=True, confident=1.0).delta
    assert (delta.notes["utterances"], delta.notes["strength"]) == (20, 20 / 21)


# What cannot be used


def test_what_fails_while_adapting_is_named(base, said, folder, monkeypatch):
    path = folder / "going.wav"
    path.write_bytes(said[0].audio.read_bytes())
    going = replace(said[0], id="going", audio=path)
    screen = mtl.lessons.screen
    # The file vanishes after it was looked at.
    monkeypatch.setattr(mtl.lessons, "screen", lambda *a: (path.unlink(), screen(*a))[1])
    (skip,) = learn(base, [*said[1:], going]).skips
    assert (skip.id, skip.kind, skip.where) == ("going", "failed", said[0].where)
    assert str(path) in skip.reason


@pytest.fixture(scope="module")
def bad(folder):
    """Utterances that teach nothing: {kind: utterance}."""
    (folder / "text.wav").write_text("no sound")
    soundfile.write(folder / "silent.wav", np.zeros(HZ), HZ)
    np.save(folder / "flat.npy", np.ones((50, 32), np.float32))
    rows = {
        "silence": {"audio_filepath": "silent.wav"},
        "unreadable": {"audio_filepath": "text.wav"},
        "missing": {"audio_filepath": "none.wav"},
        "flat": {"feature_path": "flat.npy"},
        "too short": {"text": "ab" * 20},
        "symbols": {"text": "abz"},
        "no text": {"text": ""},
        "language": {"lang": "fr"},
    }
    plain = {"audio_filepath": "zoe-0.wav", "duration": 0.68, "text": "ab", "lang": "nl"}
    lines = [plain | {"id": kind} | row for kind, row in rows.items()]
    lines[3].pop("audio_filepath")
    write_manifest(folder / "bad.jsonl", lines)
    return dict(zip(rows, read_manifest(folder / "bad.jsonl"), strict=True))


SAYS = {
    "silence": ("silence", r"bad\.jsonl:1: silence: record it again"),
    "unreadable": ("unreadable", r"bad\.jsonl:2: .*text\.wav: cannot be read as audio"),
    "missing": ("unreadable", r"bad\.jsonl:3: .*none\.wav: no such file"),
    "flat": ("silence", r"bad\.jsonl:4: silence: record it again"),
    "too short": ("too short", r"bad\.jsonl:5: 40 symbols .* too short for CTC"),
    "symbols": ("symbols", r"bad\.jsonl:6: .*'z'"),
    "no text": ("no text", r"bad\.jsonl:7: empty text; write what is said"),
    "language": ("language", r"bad\.jsonl:8: language 'fr' has no task; this model has: nl, cy"),
}


@pytest.mark.parametrize("what", SAYS)
def test_what_teaches_nothing_is_left_out_and_named(what, base, said, bad, fits):
    kind, message = SAYS[what]
    delta, (skip,) = learn(base, [said[0], bad[what], said[1]], by="lhuc", steps=1)
    assert (skip.kind, skip.where, skip.id) == (kind, bad[what].where, what)
    assert delta.notes["utterances"] == 2
    assert fits[0][1][SPEECH].data.ids == ["zoe-0", "zoe-1"]
    with pytest.raises(
        ValueError, match=rf"speaker 'zoe': no utterance to learn from: .*{message}"
    ):
        learn(base, [bad[what]] * 2)
    assert len(fits) == 1


def test_where_nothing_is_left_each_reason_is_given_once(base, bad):
    with pytest.raises(ValueError) as error:
        learn(base, list(bad.values()) * 9)
    text = str(error.value)
    assert "nl: left out 18 of 72 utterances (silence), bad.jsonl:1: silence" in text
    assert text.count("left out") == len({kind for kind, _ in SAYS.values()}) and "\n" not in text
    assert "fr: left out 9 of 72 utterances (language)" in text
    with pytest.raises(ValueError, match="speaker 'zoe': no utterance to learn from: it has none"):
        learn(base, [])


def test_one_speaker_of_whom_nothing_can_be_learnt_is_named(base, said, bad):
    with pytest.raises(ValueError, match=r"speaker 'ben': .*silence"):
        adapt(base, {"anna": said, "ben": [bad["silence"]]}, Adapt(by="lhuc", **QUICK))


def test_others_learn_beside_a_speaker_of_whom_nothing_can_be_learnt(base, said, known, bad):
    speakers = {"ben": [bad["silence"]], "anna": said[:2], "carl": [], "dora": known[:2]}
    for by in ("lhuc", "input"):
        problems = {}
        found = adapt(base, speakers, Adapt(by=by, **QUICK), problems=problems)
        without = {name: speakers[name] for name in ("anna", "dora")}
        alone = adapt(base, without, Adapt(by=by, **QUICK))
        assert list(found) == list(alone)
        assert all(same(found[name].delta.tensors, alone[name].delta.tensors) for name in alone)
        assert list(problems) == ["ben", "carl"] and "silence" in problems["ben"]


def test_a_later_round_may_find_nothing(base, known, monkeypatch):
    """Ben is heard by the unadapted model only."""
    label = mtl.lessons.pseudo_label

    def deaf(model, said, share, cache, speakers, decoders):
        heard, skips = label(model, said, share, cache, speakers, decoders)
        return ([] if speakers and said[0].speaker == "ben" else heard), skips

    monkeypatch.setattr(mtl.lessons, "pseudo_label", deaf)
    problems, settings = {}, Adapt(by="lhuc", unsupervised=True, rounds=3, **QUICK)
    found = adapt(base, {"ben": known[:2], "anna": known[2:5]}, settings, problems=problems)
    assert (list(found), list(problems)) == (["anna"], ["ben"])


def test_the_same_sound_counts_once(base, known, tmp_path, fits):
    """By whatever path, in whatever manifest; another stretch of the file is another utterance."""
    (tmp_path / "link.wav").symlink_to(known[0].audio)
    again = replace(known[0], id="again", audio=tmp_path / "link.wav", line=77)
    later = replace(known[0], id="later", offset=0.2, seconds=0.4, text="a")
    for settings in ({}, {"unsupervised": True, "confident": 1.0, "rounds": 1}):
        delta, (skip,) = learn(base, [*known[:2], again, later], by="lhuc", **settings)
        assert (skip.id, skip.kind) == ("again", "twice")
        assert skip.reason == "known.jsonl:77: twice: the same sound as known.jsonl:1"
        assert (delta.notes["utterances"], delta.notes["strength"]) == (3, 3 / 4)
        assert sorted(fits.pop()[1][SPEECH].data.ids) == ["known-0", "known-1", "later"]


def test_the_same_features_count_once(base, said, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "f.npz", **{key: rng.normal(size=(68, 32)) for key in "xy"})
    frames = replace(said[0], audio=None, features=tmp_path / "f.npz", text="ab")
    its = [replace(frames, id=f"{n}", key=key) for n, key in enumerate("xyx")]
    lesson = choose_lesson((base, {}), "zoe", its, None, 0, Cache())
    assert [(skip.id, skip.kind) for skip in lesson.skips] == [("2", "twice")]
    assert sorted(utterance.id for utterance in lesson.learnt) == ["0", "1"]


def test_what_fails_is_told_from_others_of_the_same_id(base, known, folder, monkeypatch):
    """Anna's, Ben's and the replayed utterance come from manifests that number from 1."""
    path = folder / "vanishing.wav"
    path.write_bytes(known[0].audio.read_bytes())
    ones = [replace(utterance, id="1") for utterance in known[:3]]
    ones[1] = replace(ones[1], audio=path)
    screen = mtl.lessons.screen
    monkeypatch.setattr(
        mtl.lessons, "screen", lambda *a: (path.unlink(missing_ok=True), screen(*a))[1]
    )
    found = adapt(base, {"anna": [ones[0], *ones[1:2]], "ben": ones[2:]}, Adapt(by="lhuc", **QUICK))
    assert [(skip.id, skip.where) for skip in found["anna"].skips] == [("1", ones[1].where)]
    assert found["ben"].skips == []

    gone = replace(known[5], id="1", audio=path)
    replay = Adapt(by="input", replay=True, **QUICK)
    assert adapt(base, {"ben": ones[2:]}, replay, source=[gone, known[4]])["ben"].skips == []


def test_spellings_of_a_name_are_one_speaker(base, known):
    settings = Adapt(by="lhuc", unsupervised=True, confident=1.0, rounds=2, **QUICK)
    found = adapt(base, {"zoe\u0308": known[:1], "zo\u00eb": known[1:2]}, settings)
    assert list(found) == ["zo\u00eb"] and found["zo\u00eb"].delta.notes["utterances"] == 2


def test_a_line_without_a_language_is_told_how_to_name_it(base, said):
    nameless = replace(said[0], lang="und")
    with pytest.raises(ValueError, match=r"language 'und' has no task; .*, or --lang"):
        learn(base, [nameless])


# Strength


@pytest.fixture(scope="module")
def dutch(folder):
    """Sixteen utterances that the model writes well."""
    return speak(folder, "dutch", 16)


def test_the_strength_is_chosen_on_what_is_held_out(base, dutch, fits):
    """The model writes well what is held out, and learns nonsense."""
    many = [replace(utterance, id=f"{n}") for n, utterance in enumerate(dutch)]
    wrong = [replace(utterance, text="b") for utterance in many]
    spoiling = {"by": "full", "lr": 1e-2, "steps": 10}
    learn(base, many, **spoiling)
    taught = {int(name) for name in fits.pop()[1][SPEECH].data.ids}
    assert len(taught) == 13 and taught != set(range(3, 16)), "not the first ones: lines are sorted"
    mixed = [(wrong if place in taught else many)[place] for place in range(16)]
    delta = learn(base, mixed, **spoiling).delta
    assert {int(name) for name in fits[0][1][SPEECH].data.ids} == taught
    assert delta.notes["strength"] == 0.0 and delta.notes["utterances"] == 13
    assert delta.tensors == {}
    few = learn(base, many[:3] + wrong[3:14], **spoiling).delta
    assert (few.notes["strength"], few.notes["utterances"]) == (14 / 15, 14)


@pytest.mark.parametrize("by", ["lin", "input"])
def test_few_utterances_do_not_go_all_the_way(by, base, said, bad, fits):
    """Those that teach nothing do not count."""
    delta, _ = learn(base, [*said[:2], bad["silence"]], by=by)
    assert (delta.notes["strength"], delta.notes["utterances"]) == (2 / 3, 2)
    expected = take(fits[0][0], base, "zoe", 1 if by == "lin" else None, 2 / 3)
    assert same(delta.tensors, expected.tensors)


def test_of_equal_strengths_the_larger_is_taken(base, dutch):
    delta = learn(base, dutch[:15], by="input", lr=1e-9, steps=1).delta
    assert (delta.notes["strength"], delta.notes["utterances"]) == (1.0, 12)


@pytest.mark.parametrize("by", ["lhuc", "input"])
def test_each_strength_is_judged_as_it_will_be_used(by, base, known, fits, monkeypatch):
    """The third of the strengths is made to write best; the delta is the one that was judged then.

    The last is made to tell languages best, which does not matter.
    """
    judged = []

    def patched(model, data):
        judged.append(heard(model, known[:2], 1))
        result = evaluate(model, data)
        place = len(judged)
        counts = {"nl": {"cer": (abs(place - 3), 3)}, "language": {"accuracy": (place == 5, 1)}}
        rows = [row._replace(counts=counts[row.task]) for row in result.rows if row.task in counts]
        held = {row.id for row in rows if row.task == "nl"}
        assert held == {u.id for u in dutch[:10]} - set(fits[0][1][SPEECH].data.ids)
        return type(result)(rows)

    monkeypatch.setattr(mtl.strength, "evaluate", patched)
    monkeypatch.setattr(mtl.lessons, "ENOUGH", 10)
    dutch = [utterance for utterance in known if utterance.lang == "nl"]
    delta = learn(base, dutch[:10], by=by, lr=0.1).delta
    assert len(judged) == 5 and delta.notes["strength"] == 0.5
    for then, now in zip(judged[2], heard(worn(base, delta), known[:2], 1), strict=True):
        assert then.equal(now)
    member = 1 if by == "lhuc" else None
    half = take(fits[0][0], base, "zoe", member, 0.5)
    assert same(half.tensors, delta.tensors)


def test_later_rounds_listen_with_what_was_learnt(base, known, monkeypatch):
    """Each round labels with the model that wears the delta of the round before, and learns anew."""
    listening, label = [], mtl.lessons.pseudo_label

    def noted(model, said, share, cache, speakers, decoders):
        listening.append(heard(model, known[:1], 1 if speakers else None))
        return label(model, said, share, cache, speakers, decoders)

    monkeypatch.setattr(mtl.lessons, "pseudo_label", noted)
    deltas = [
        learn(base, known[:6], by="lin", lr=0.1, unsupervised=True, rounds=n).delta for n in (1, 2)
    ]
    assert len(listening) == 1 + 2
    for place, model in enumerate((base, base, worn(base, deltas[0]))):
        expected = heard(model, known[:1], 1 if place == 2 else None)
        assert all(a.equal(b) for a, b in zip(listening[place], expected, strict=True))
    assert learn(base, known[:6], by="lin", lr=0.1, rounds=9).delta.notes["rounds"] == 9
    assert len(listening) == 3, "texts need no listening"


# Settings


def test_methods_are_read():
    settings = Adapt(steps=7, seed=3)
    assert read_method("full", settings) == replace(settings, by="full")
    assert read_method(" lhuc + lin+kl", settings) == replace(
        settings, by="lhuc+lin", conservative=0.5
    )
    several = read_method("input+unsupervised+l2sp+replay", settings)
    assert several == replace(settings, by="input", unsupervised=True, l2sp=0.1, replay=True)
    # the ways that were set before do not matter
    assert read_method("full+replay", Adapt(by="lhuc")).by == "full"


def test_wrong_settings_are_refused():
    with pytest.raises(
        ValueError, match=r"way 'lhuk' is not known; choose from full, input, .*lhuc"
    ):
        Adapt(by="lhuk")
    with pytest.raises(
        ValueError, match=r"'l2p' is no part of a method; choose from full, .*kl, l2sp"
    ):
        read_method("full+l2p", Adapt())
    with pytest.raises(
        ValueError,
        match=r"'kl\+l2sp' does not say what learns: .* full\+kl; the ways are full, input",
    ):
        read_method("kl+l2sp", Adapt())
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"confident is {share}; it is a share"):
            Adapt(confident=share)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("conservative", 1.0, "it is a share, from 0 to below 1"),
        ("conservative", -0.5, "give a number from 0"),
        ("l2sp", -1.0, "give a number from 0"),
        ("lr", float("nan"), "give a number from 0"),
        ("seconds", float("inf"), "give a number above 0"),
        ("seconds", 0.0, "give a number above 0"),
        ("steps", -1, "give a number above 0"),
        ("steps", 0, "give a number above 0"),
        ("threads", -1, "give a number from 0"),
    ],
)
def test_numbers_out_of_range_are_named_as_the_option_is(name, value, says):
    with pytest.raises(ValueError, match=rf"^{name} is {value}; {says}"):
        Adapt(**{name: value})


def test_settings_of_the_run():
    fit = Adapt(steps=7, seed=5, threads=1).fit()
    assert (fit.steps, fit.seed, fit.threads, fit.weight_decay) == (7, 5, 1, 0.0)


def test_the_slowest_way_sets_the_rate():
    rates = {way: Adapt(by=way).fit().lr for way in WAYS}
    assert Adapt(by="input+lhuc").fit().lr == rates["input"] < rates["lhuc"]
    assert Adapt(by="full", lr=0.5).fit().lr == 0.5


def test_who_diverges_does_not_stop_the_others(base, said, monkeypatch):
    """The first of three speakers' losses stay not finite, in the second round of listening."""
    runs = []

    def diverging(*args, **more):
        runs.append(args)
        if len(runs) == 2:
            raise FloatingPointError("10 steps in a row were not finite")
        return fit(*args, **more)

    monkeypatch.setattr(mtl.adapt, "fit", diverging)
    settings = Adapt(**QUICK | {"by": "input", "unsupervised": True, "rounds": 2, "confident": 1.0})
    problems = {}
    people = dict.fromkeys(("ann", "bob"), said[:2])
    found = adapt(base, people, settings, problems=problems)
    assert list(found) == ["bob"] and len(runs) == 4
    assert problems == {"ann": "speaker 'ann': 10 steps in a row were not finite"}
    runs.clear()
    with pytest.raises(FloatingPointError, match="speaker 'ann': 10 steps"):
        adapt(base, people, settings)
