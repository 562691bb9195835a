import copy
import json
from dataclasses import fields

import numpy as np
import pytest
import soundfile
import torch

from mtl import Model, Task, evaluate, predict
from mtl.__main__ import main
from mtl.adapt import EXTRAS, Adapt, adapt
from mtl.data.manifest import read_manifest, write_manifest
from mtl.data.speech import Speech
from mtl.delta import names, read, save, take, wear
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.languages import SPEECH
from mtl.metrics import error_rate
from mtl.stems.logmel import LogMel
from mtl.trunks.transformer import Transformer
from mtl.tune.lhuc import lhuc

HZ = 16000
LEARN = ("--by", "lhuc", "--steps", "2", "--lr", "0.5", "--threads", "1")
SAID = {"anna": ("a1.wav", "a2.wav"), "ben": ("b1.wav", "b2.wav"), "carl": ("c1.wav",)}


def build(seed=0):
    torch.manual_seed(seed)
    tasks = [Task(lang, SPEECH, CTC(["a", "b"])) for lang in ("nl", "cy")]
    tasks.append(Task("language", SPEECH, Classify(["nl", "cy"])))
    trunk = Transformer(16, depth=1, heads=2, expansion=1, dropout=0.0)
    return Model({SPEECH: LogMel(16, bins=20)}, trunk, tasks)


def row(file, text="ab", lang="nl", **more):
    return {"audio_filepath": file, "duration": 0.4, "text": text, "lang": lang, **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of three people and their manifests, silence, the model `m`, and two without deltas."""
    path = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    for file in (file for files in SAID.values() for file in files):
        soundfile.write(path / file, rng.uniform(-0.5, 0.5, int(0.4 * HZ)), HZ)
    soundfile.write(path / "silent.wav", np.zeros(int(0.4 * HZ)), HZ)
    rows = {name: [row(file, speaker=name) for file in files] for name, files in SAID.items()}
    write_manifest(path / "all.jsonl", [line for lines in rows.values() for line in lines])
    write_manifest(path / "two.jsonl", rows["anna"] + rows["ben"])
    write_manifest(path / "nobody.jsonl", [row("a1.wav")])
    write_manifest(path / "silent.jsonl", [row("silent.wav")])
    write_manifest(path / "french.jsonl", [row("a1.wav", lang="fr")])
    write_manifest(path / "und.jsonl", [row("a1.wav", lang=None)])
    write_manifest(path / "strange.jsonl", [row("a1.wav", "abz")])
    (path / "empty.jsonl").touch()
    build().save_pretrained(path / "m")
    build().save_pretrained(path / "fresh" / "m")
    build(seed=1).save_pretrained(path / "other" / "m")
    return path


@pytest.fixture
def run(folder, capsys, monkeypatch):
    """Run a command in the folder: (exit code, lines of the output, lines of the error output)."""
    monkeypatch.chdir(folder)

    def run(*words):
        code = main(list(words))
        shown = capsys.readouterr()
        return code, shown.out.splitlines(), shown.err.splitlines()

    return run


def contents(path):
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}


def worn(model, *deltas):
    """A copy of the model that wears deltas, and the numbers."""
    adapted = copy.deepcopy(model)
    return adapted, {"speaker": wear(adapted, deltas)}


def test_two_speakers_from_one_run_to_their_transcripts(run, folder):
    before = contents(folder / "m")
    code, lines, errors = run("adapt", "two.jsonl", "--model", "m", *LEARN)
    assert (code, errors) == (0, [])
    assert [line.split("\t") for line in lines] == [
        [
            name,
            "learnt 2, held out 0, left out 0",
            "lhuc, strength 0.67",
            "0.1 kB",  # 16 units of 4 bytes
            f"speakers/{name}.safetensors",
        ]
        for name in ("anna", "ben")
    ]
    assert contents(folder / "m") == before
    assert names(folder / "speakers") == ["anna", "ben"]

    again = run("adapt", "two.jsonl", "--model", "m", *LEARN, "--speakers", "again")
    assert again[0] == 0
    assert not any("replaces" in line for line in again[1])
    thrice = run("adapt", "two.jsonl", "--model", "m", *LEARN, "--speakers", "again")
    assert [line.split("\t")[2] for line in thrice[1]] == [
        "lhuc, strength 0.67, replaces an older delta"
    ] * 2
    for name in ("anna.safetensors", "ben.safetensors"):
        assert (folder / "again" / name).read_bytes() == (folder / "speakers" / name).read_bytes()

    model = Model.from_pretrained(folder / "m")
    utterances = read_manifest(folder / "two.jsonl")
    said = {"anna": utterances[:2], "ben": utterances[2:]}
    learnt = adapt(model, said, Adapt(by="lhuc", steps=2, lr=0.5, threads=1))
    for (name, utterances), other in zip(said.items(), ("ben", "anna"), strict=True):
        adapted, groups = worn(model, learnt[name].delta)
        data = Speech(utterances, adapted, groups=groups)
        answers = predict(adapted, data, SPEECH, tasks=["nl"])
        heard = transcripts(run, name, "--speaker", name)
        assert heard == [
            (
                answer.predictions["nl"].value,
                pytest.approx(answer.predictions["nl"].confidence, abs=1e-4),
            )
            for answer in answers
        ]
        plain, strange = transcripts(run, name), transcripts(run, name, "--speaker", other)
        for (_, own), (_, nobodys), (_, others) in zip(heard, plain, strange, strict=True):
            assert abs(own - nobodys) > 1e-4 and abs(own - others) > 1e-4


def transcripts(run, name, *options):
    words = ("transcribe", *SAID[name], "--model", "m", "--lang", "nl", "--json", *options)
    code, lines, errors = run(*words)
    assert (code, errors) == (0, [])
    return [(said["text"], said["confidence"]) for said in map(json.loads, lines)]


def scaled(model, seed, name):
    """A delta of random LHUC scales."""
    adapted = copy.deepcopy(model)
    lhuc(adapted, size=1)
    with torch.no_grad():
        adapted.get_parameter("trunk.after.b1.lhuc.a").normal_(
            0, 3, generator=torch.Generator().manual_seed(seed)
        )
    return take(adapted, model, name, member=0)


def rewritten(model, name):
    """A delta that changes a head: it writes "b" whatever it hears."""
    adapted = copy.deepcopy(model)
    with torch.no_grad():
        adapted.head("nl").output.weight.zero_()
        adapted.head("nl").output.bias.copy_(torch.tensor([0.0, 0.0, 9.0]))
    return take(adapted, model, name)


@pytest.mark.parametrize("kinds", ["rows", "whole"])
def test_evaluate_gives_each_speaker_its_own_delta(kinds, run, folder):
    model = Model.from_pretrained(folder / "m")
    anna = scaled(model, 0, "anna") if kinds == "rows" else rewritten(model, "anna")
    deltas = {"anna": anna, "ben": scaled(model, 1, "ben"), "not here": scaled(model, 2, "zoe")}
    for delta in deltas.values():
        save(delta, folder / kinds)
    words = ("evaluate", "all.jsonl", "--model", "m", "--worst", "9")
    code, lines, errors = run(*words, "--json", "--speakers", kinds)
    assert (code, errors) == (0, [])
    found = json.loads(lines[0])
    counts = {"adapted_speakers": 2, "speakers": 3, "adapted_utterances": 4, "utterances": 5}
    assert found["adapted"] == counts

    rows = []
    for name in SAID:
        adapted, groups = worn(model, *([deltas[name]] if name in deltas else []))
        its = [u for u in read_manifest(folder / "all.jsonl") if u.speaker == name]
        rows += evaluate(adapted, {SPEECH: Speech(its, adapted, groups=groups)}).of("nl")
    assert found["tasks"]["nl"]["cer"] == error_rate(
        *zip(*(r.counts["cer"] for r in rows), strict=True)
    )
    expected = {r.id: (r.prediction, pytest.approx(r.confidence)) for r in rows}
    worst = {r["id"]: (r["prediction"], r["confidence"]) for r in found["worst"]["nl"]}
    assert worst == expected and len(expected) == 5
    plain = json.loads(run(*words, "--json")[1][0])
    assert "adapted" not in plain
    changed = [
        r["id"]
        for r in plain["worst"]["nl"]
        if (r["prediction"], r["confidence"]) != expected[r["id"]]
    ]
    assert sorted(changed) == ["a1", "a2", "b1", "b2"]
    shown = run(*words, "--speakers", kinds)[1]
    assert "adapted: 2 of 3 speakers, 4 of 5 utterances" in shown


def test_what_is_left_out_is_said(run, folder):
    """Each by itself where they are few, and by kind where they are many."""
    words = ("adapt", "mostly.jsonl", "--model", "m", "--speaker", "dora", "--lang", "cy", *LEARN)
    french = row("a1.wav", lang="fr", id="f")
    for count, lengths in ((4, 5), (7, 2)):
        silent = [row("silent.wav", id=f"s{index}") for index in range(count)]
        write_manifest(folder / "mostly.jsonl", [row("a1.wav", lang=None), *silent, french])
        code, lines, errors = run(*words, "--speakers", "left")
        assert code == 0
        left = f"learnt 1, held out 0, left out {count + 1}"
        assert lines[0].split("\t")[:2] == ["dora", left]
        assert len(errors) == lengths
        if count == 4:
            assert errors[0].startswith("mtl: dora: left out mostly.jsonl:2: silence")
    assert errors[0].startswith("mtl: dora: fr: left out 1 of 9 utterances (language), ")
    silence = "mtl: dora: nl: left out 7 of 9 utterances (silence), mostly.jsonl:2: silence"
    assert errors[1].startswith(silence)
    assert read(folder / "left" / "dora.safetensors").notes["utterances"] == 1


@pytest.mark.parametrize("by", ["lhuc", "input"])
def test_a_speaker_of_whom_nothing_can_be_learnt_stops_nobody(by, run, folder):
    said = {"ann": "a1.wav", "bob": "silent.wav", "cy": "b1.wav", "di": "c1.wav"}
    write_manifest(folder / "four.jsonl", [row(f, speaker=name) for name, f in said.items()])
    words = ("adapt", "four.jsonl", "--model", "m", "--steps", "1", "--threads", "1")
    code, lines, errors = run(*words, "--by", by, "--speakers", f"four-{by}")
    assert (code, len(errors)) == (1, 1)
    assert errors[0].startswith("mtl: speaker 'bob': no utterance to learn from: ")
    assert "four.jsonl:2: silence" in errors[0]
    assert [line.split("\t")[0] for line in lines] == ["ann", "cy", "di"]
    assert names(folder / f"four-{by}") == ["ann", "cy", "di"]


def test_any_name_serves_from_the_manifest_to_the_transcript(run, folder):
    """Long as in Common Voice, with a slash as in Kaldi, alike but for capitals, composed or not."""
    people = ["0a" * 64, "a/b", "Zo\u00eb", "zo\u00eb", "a\nb"]
    spelt = ["Zoe\u0308" if name == "Zo\u00eb" else name for name in people]
    write_manifest(folder / "odd.jsonl", [row("a1.wav", speaker=name) for name in spelt])
    words = ("adapt", "odd.jsonl", "--model", "m", *LEARN, "--speakers", "odd")
    code, lines, errors = run(*words)
    assert (code, len(lines), errors) == (0, 5, [])
    assert names(folder / "odd") == sorted(people)
    assert len({path.name.lower() for path in (folder / "odd").iterdir()}) == 5
    for name in spelt:
        heard = transcripts(run, "anna", "--speaker", name, "--speakers", "odd")
        assert heard != transcripts(run, "anna")
    code, lines, errors = run("evaluate", "odd.jsonl", "--model", "m", "--speakers", "odd")
    assert code == 0 and "adapted: 5 of 5 speakers, 5 of 5 utterances" in lines
    assert [line.count("replaces") for line in run(*words)[1]] == [1] * 5


def settings_of(run, monkeypatch, *words):
    """The settings and sources that a command line adapts with."""
    taken = []

    def learn(model, speakers, settings, *, source, cache, problems):
        taken.append((settings, [utterance.id for utterance in source]))
        return {}

    monkeypatch.setattr("mtl.adapt.adapt", learn)
    code, lines, errors = run("adapt", "two.jsonl", "--model", "m", "--speaker", "dora", *words)
    assert (code, lines, errors, len(taken)) == (0, [], [], 1)
    return taken[0]


def test_options_become_settings(run, monkeypatch):
    assert settings_of(run, monkeypatch) == (Adapt(), [])
    both = ("--by", "full+kl", "--l2sp", "0.1", "--steps", "7", "--unsupervised")
    wanted = Adapt(by="full", conservative=0.5, l2sp=0.1, steps=7, unsupervised=True)
    assert settings_of(run, monkeypatch, *both) == (wanted, [])
    weaker = settings_of(run, monkeypatch, "--by", "full+kl", "--conservative", "0.25")
    assert weaker == (Adapt(by="full", conservative=0.25), [])
    old = settings_of(run, monkeypatch, "--replay", "french.jsonl", "--replay", "silent.jsonl")
    assert old == (Adapt(replay=True), ["a1", "silent"])


def test_help_names_every_setting(capsys):
    with pytest.raises(SystemExit):
        main(["adapt", "--help"])
    shown = capsys.readouterr().out
    for field in fields(Adapt):
        assert f"--{field.name}" in shown
    assert "optimizer steps (default: 100)" in shown
    for extra in EXTRAS:
        assert f"+{extra}" in " ".join(shown.partition("what learns:")[2].split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("adapt empty.jsonl --model fresh/m --speaker dora", ["empty.jsonl", "no lines"]),
        ("adapt silent.jsonl --model fresh/m --speaker dora", ["'dora'", "silent.jsonl:1", "silence"]),
        ("adapt french.jsonl --model fresh/m --speaker dora", ["french.jsonl:1", "'fr'", "nl, cy"]),
        ("adapt strange.jsonl --model fresh/m --speaker dora", ["strange.jsonl:1", "'z'"]),
        ("adapt two.jsonl --model fresh/m --by lhuk", ["'lhuk'", "lhuc"]),
        ("adapt two.jsonl --model fresh/m --by replay", ["'replay' does not say", "lhuc"]),
        ("adapt two.jsonl --model fresh/m --threads -1", ["threads is -1"]),
        ("adapt two.jsonl --model fresh/m --speakers a1.wav", ["--speakers", "a1.wav is a file"]),
        ("adapt two.jsonl --model fresh/m --speakers a1.wav/x", ["a1.wav is a file; give a folder"]),
        (
            "adapt two.jsonl --model fresh/m --speaker dora --by input --lr 1e30 --steps 20 --threads 1",
            ["'dora': 10 steps in a row were not finite"],
        ),
        ("adapt two.jsonl --model fresh/m --by full+replay", ["full+replay", "--replay MANIFEST"]),
        ("adapt two.jsonl --model fresh/m --confident 0.2", ["--confident is for --unsupervised"]),
        ("adapt two.jsonl --model fresh/m --by full --rounds 3", ["--rounds is for --unsupervised"]),
        ("adapt two.jsonl --model fresh/m --lm nl=x.arpa", ["--lm is for --unsupervised"]),
        ("adapt two.jsonl --model fresh/m --lang cy", ["--lang cy: ", "all name one (nl)"]),
        ("adapt und.jsonl --model fresh/m --speaker dora", ["und.jsonl:1", "'und'", "--lang"]),
        ("transcribe a1.wav --model m --speaker ../made/anna --speakers rows", ["no delta '../made/anna'"]),
        ("adapt nobody.jsonl --model fresh/m", ["nobody.jsonl:1: 1 of 1", "--speaker NAME"]),
        ("adapt two.jsonl --model fresh/m --speakers fresh/m", ["fresh/m lies in the model's"]),
        ("adapt two.jsonl --model fresh/m --speakers fresh/m/deltas", ["lies in the model's folder"]),
        ("adapt two.jsonl --model none", ["'none' is neither a folder"]),
        ("transcribe a1.wav --model fresh/m --speaker anna", ["no delta 'anna'", "it has: none"]),
        ("transcribe a1.wav --model m --speaker bob --speakers made", ["'bob'", "it has: anna, ben"]),
        ("transcribe a1.wav --model m --speakers made", ["'made'", "name the speaker"]),
        (
            "transcribe a1.wav --model other/m --speaker anna --speakers made",
            ["'anna' was made on another model", "adapt again"],
        ),
        ("evaluate two.jsonl --model fresh/m --speakers", ["fresh/speakers holds no delta", "mtl adapt"]),
        ("evaluate two.jsonl --model other/m --speakers made", ["'anna' was made on another model"]),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_write_nothing(words, says, run, folder):
    model = Model.from_pretrained(folder / "m")
    for seed, name in enumerate(("anna", "ben")):
        save(scaled(model, seed, name), folder / "made")
    code, lines, errors = run(*words.split())
    assert (code, lines, len(errors)) == (1, [], 1)
    assert errors[0].startswith("mtl: ")
    for part in says:
        assert part in errors[0]
    assert not (folder / "fresh" / "speakers").exists()
    assert not (folder / "fresh" / "m" / "deltas").exists()


def test_everybody_who_diverges_is_named(run, folder):
    words = "adapt two.jsonl --model fresh/m --by input --lr 1e30 --steps 20 --threads 1"
    code, lines, errors = run(*words.split())
    assert (code, lines, len(errors)) == (1, [], 2)
    assert ["'anna'" in errors[0], "'ben'" in errors[1]] == [True, True]
