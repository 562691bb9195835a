import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

import mtl.tune
from mtl import Model, Task
from mtl.__main__ import main
from mtl.data.manifest import write_manifest
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.registry import names
from mtl.stems.logmel import LogMel
from mtl.trunks.transformer import Transformer

HZ = 16000


def build(*tasks):
    torch.manual_seed(0)
    trunk = Transformer(16, depth=1, heads=2, expansion=1, dropout=0.0)
    return Model({"speech": LogMel(16, bins=20)}, trunk, [Task(*task) for task in tasks])


def always(model, task, index):
    """Let a head give class or symbol `index`, whatever it hears."""
    with torch.no_grad():
        output = model.head(task).output
        output.weight.zero_()
        output.bias.copy_(20.0 * (torch.arange(len(output.bias)) == index))


def two_languages(says="cy", detector=True):
    """A model that hears `says`, and writes "a" in Dutch and "b" in Welsh."""
    tasks = [("nl", "speech", CTC(["a", "b"])), ("cy", "speech", CTC(["a", "b"]))]
    classes = ["nl", "cy", "xx"]
    model = build(*tasks, *([("language", "speech", Classify(classes))] if detector else []))
    always(model, "nl", 1)
    always(model, "cy", 2)
    if detector:
        always(model, "language", classes.index(says))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sound files, things that are none, and the saved model `m`."""
    path = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for name, seconds, hz in (
        ("long.wav", 0.9, HZ),
        ("short.flac", 0.3, 8000),
        ("mid.wav", 0.5, HZ),
    ):
        soundfile.write(path / name, rng.uniform(-0.5, 0.5, int(seconds * hz)), hz)
    whole = (path / "short.flac").read_bytes()
    (path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (path / "notes.wav").write_text("not a sound")
    (path / "empty").mkdir()
    two_languages().save_pretrained(path / "m")
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


def test_transcribe_lets_the_model_choose_the_language(run):
    files = ("long.wav", "short.flac", "mid.wav")
    assert run("transcribe", *files, "--model", "m") == (0, [f"{f}\tcy\tb" for f in files], [])
    dutch = run("transcribe", *files, "--model", "m", "--lang", "nl")
    assert dutch == (0, [f"{f}\tnl\ta" for f in files], [])


def test_transcribe_json_is_in_order_and_does_not_depend_on_the_batch(run, folder):
    build(("cy", "speech", CTC(["a"]))).save_pretrained(folder / "random")
    command = ("transcribe", "--model", "random", "--json")
    files = ("long.wav", "short.flac", "mid.wav")
    code, lines, _ = run(*command, *files)
    assert code == 0
    found = [json.loads(line) for line in lines]
    assert [item["path"] for item in found] == list(files)
    assert [item["seconds"] for item in found] == [0.9, 0.3, 0.5]
    alone = [json.loads(run(*command, file, "--batch", "0.1")[1][0]) for file in files]
    for together, single in zip(found, alone, strict=True):
        assert set(single) == {"path", "lang", "text", "confidence", "seconds"}
        assert together == single | {"confidence": pytest.approx(single["confidence"], abs=2e-4)}
    assert len({item["confidence"] for item in found}) == 3


def test_transcribe_goes_on_past_files_it_cannot_read(run):
    files = ("none.wav", "long.wav", "notes.wav", "cut.flac", "empty", "mid.wav")
    code, lines, errors = run("transcribe", *files, "--model", "m")
    assert (code, lines) == (1, ["long.wav\tcy\tb", "mid.wav\tcy\tb"])
    shown = sorted(errors)
    assert [line.split(": ")[:2] for line in shown] == [
        ["mtl", name] for name in ("cut.flac", "empty", "none.wav", "notes.wav")
    ]
    for line, remedy in zip(
        shown, ("copy it again", "name the files", "no such", "ffmpeg"), strict=True
    ):
        assert remedy in line


def test_transcribe_with_one_language_needs_no_choice(run, folder):
    one = build(("cy", "speech", CTC(["a"])), ("cy-phonemes", "speech", CTC(["x"])))
    always(one, "cy", 1)
    one.save_pretrained(folder / "one")
    assert run("transcribe", "mid.wav", "--model", "one") == (0, ["mid.wav\tcy\ta"], [])


def test_transcribe_with_one_head_for_all_languages(run, folder):
    shared = build(("text", "speech", CTC(["a"])), ("language", "speech", Classify(["cy", "nl"])))
    always(shared, "text", 1)
    always(shared, "language", 1)
    shared.save_pretrained(folder / "shared")
    command = ("transcribe", "mid.wav", "--model", "shared")
    assert run(*command) == (0, ["mid.wav\tnl\ta"], [])
    assert run(*command, "--lang", "cy") == (0, ["mid.wav\tcy\ta"], [])


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        (two_languages(), ["--lang", "fr"], ["'fr'", "nl, cy"]),
        (two_languages(detector=False), [], ["'language'", "--lang", "nl, cy"]),
        (two_languages("xx"), [], ["mid.wav", "'xx'", "--lang", "nl, cy"]),
        (build(("speaker", "speech", Classify(["anna"]))), [], ["no text", "speaker"]),
    ],
    ids=["unknown", "no detector", "no writer", "no text"],
)
def test_transcribe_without_a_language_to_write(model, options, says, run, folder):
    model.save_pretrained(folder / "odd")
    code, lines, errors = run("transcribe", "mid.wav", "--model", "odd", *options)
    assert (code, lines, len(errors)) == (1, [], 1)
    for part in says:
        assert part in errors[0]


def row(name, text, lang, **more):
    return {"audio_filepath": name, "duration": 0.5, "text": text, "lang": lang, **more}


@pytest.fixture
def manifest(folder):
    """Of 3 + 2 symbols in nl the model writes 1 of 3 right; cy is all right; none of fr counts."""
    spoken = [row("mid.wav", "a", "nl", id="first"), row("mid.wav", "ab", "nl", id="second")]
    broken = [row("none.wav", "ab", "nl", id="third", speaker="anna")]
    others = [row("mid.wav", "b", "cy", id="fourth"), row("mid.wav", "oui", "fr", id="fifth")]
    write_manifest(folder / "test.jsonl", spoken + broken + others)
    return "test.jsonl"


def test_evaluate_json(run, manifest):
    code, lines, _ = run("evaluate", manifest, "--model", "m", "--json")
    assert (code, len(lines)) == (0, 1)
    found = json.loads(lines[0], parse_constant=pytest.fail)
    tasks = found["tasks"]
    assert set(tasks) == {"nl", "cy", "language"}
    assert tasks["nl"]["cer"] == pytest.approx(3 / 5)
    assert tasks["nl"]["wer"] == pytest.approx(2 / 3)
    assert (tasks["nl"]["n"], tasks["nl"]["skipped"]) == (3, 1)
    low, high = tasks["nl"]["cer_interval"]  # two unknown speakers and anna: three units
    assert low < 3 / 5 < high
    assert tasks["cy"] == {
        "cer": 0,
        "cer_interval": [None] * 2,
        "wer": 0,
        "wer_interval": [None] * 2,
        "n": 1,
    }
    assert tasks["language"]["accuracy"] == pytest.approx(1 / 4)
    assert found["unknown_languages"] == {"fr": 1}
    worst = {item["id"]: item for item in found["worst"]["nl"]}
    assert list(worst) == ["third", "second"]
    assert (worst["second"]["reference"], worst["second"]["prediction"]) == ("ab", "a")
    assert "none.wav" in worst["third"]["problem"]
    assert found["worst"]["cy"] == []


def test_evaluate_prints_figures_and_the_worst(run, manifest):
    code, lines, errors = run("evaluate", manifest, "--model", "m", "--worst", "2")
    assert (code, errors) == (0, [])
    cells = [line.replace("│", " ").split() for line in lines]
    figures = {
        (line[0], line[2]): (line[1], line[4]) for line in cells if "%" in line and len(line) > 5
    }
    assert figures["nl", "cer"] == ("3", "60.00")
    assert figures["nl", "wer"] == ("3", "66.67")
    assert figures["language", "accuracy"] == ("4", "25.00")
    assert any("fr 1" in line and "cy, nl" in line for line in lines)
    assert "nl: 1 skipped, which count as errors" in lines
    place = lines.index("nl  second  cer 1/2")
    assert lines[place + 1 : place + 3] == ["  reference  ab", "  predicted  a"]
    assert not any(line.startswith("nl  first") for line in lines)  # it holds no error


def test_evaluate_counts_what_has_no_text(run, folder):
    lines = [row("mid.wav", "a", "nl", id="said"), row("mid.wav", "", "nl", id="empty")]
    write_manifest(folder / "half.jsonl", lines)
    code, lines, errors = run("evaluate", "half.jsonl", "--model", "m")
    assert (code, errors) == (0, [])
    assert "left out 1 utterance(s) without text or label, the first half.jsonl:2" in lines


def test_evaluate_names_the_languages_where_none_fits(run, folder):
    write_manifest(folder / "french.jsonl", [row("mid.wav", "oui", "fr")])
    code, lines, (error,) = run("evaluate", "french.jsonl", "--model", "m")
    assert (code, lines) == (1, [])
    assert "fr" in error
    assert "nl, cy" in error


def test_heads_that_are_hidden_are_not_listed(run, folder):
    model = build(("nl", "speech", CTC(["a", "b"])), ("cy", "speech", CTC(["a", "b"])))
    for lang in ("nl", "cy"):
        model.add(Task(f"{lang}-b1", "speech", lang, "b1", label=lang, auxiliary=True))
    model.save_pretrained(folder / "inner")
    write_manifest(folder / "french.jsonl", [row("mid.wav", "oui", "fr")])
    (error,) = run("evaluate", "french.jsonl", "--model", "inner")[2]
    assert error.endswith("the model's tasks nl, cy")
    adapt = ("adapt", "french.jsonl", "--model", "inner", "--speaker", "anna")
    (error,) = run(*adapt, "--speakers", "none")[2]
    assert error.endswith("this model has: nl, cy")


def test_list_names_every_file_with_its_first_line(run):
    code, lines, _ = run("list", "heads")
    assert (code, lines[0]) == (0, "heads:")
    assert [line.split()[0] for line in lines[1:]] == names("heads")
    assert any(
        line.startswith("  ctc ") and "Graves" in line and "ctc:" not in line for line in lines
    )
    everything = run("list")[1]
    assert set(lines) < set(everything)
    assert {"stems:", "trunks:", "methods:", "tune:"} < set(everything)


def test_list_imports_nothing(run, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text('"""BROKEN: cannot be imported."""\nraise RuntimeError\n')
    monkeypatch.setattr(mtl.tune, "__path__", [str(tmp_path)])
    assert run("list", "tune") == (0, ["tune:", "  broken        cannot be imported."], [])


def test_data_check(run, folder):
    good = [row("mid.wav", "ab", "nl", speaker="anna"), row("long.wav", "c", "cy", duration=0.9)]
    write_manifest(folder / "train.jsonl", good)
    code, lines, _ = run("data", "check", "train.jsonl")
    assert (code, lines[0].strip()) == (0, "train.jsonl: 0 defect(s)")
    assert any(
        line.replace("│", " ").split() == ["nl", "1", "0.000139", "1", "2:", "ab"] for line in lines
    )
    assert not any("dropped" in line for line in lines)
    write_manifest(folder / "signs.jsonl", [row("mid.wav", "3% + 5€ + 2€", "nl")])
    code, lines, _ = run("data", "check", "signs.jsonl")
    signs = "nl: signs that are spoken are dropped from texts (+ 2, € 2, % 1): write them as words"
    assert (code, lines[-1]) == (0, signs)
    cut, missing = row("cut.flac", "ab", "nl", duration=0.3), row("none.wav", "ab", "nl")
    write_manifest(folder / "train.jsonl", [*good, cut, missing])
    code, lines, _ = run("data", "check", "train.jsonl")
    assert code == 1
    assert [line.split(" ")[0] for line in lines[:2]] == ["train.jsonl:3:", "train.jsonl:4:"]
    code, lines, _ = run("data", "check", "train.jsonl", "--json", "--no-decode")
    found = json.loads("\n".join(lines))
    assert [(item["where"], item["kind"]) for item in found["defects"]] == [
        ("train.jsonl:4", "audio")
    ]
    assert code == 1
    assert found["languages"]["nl"]["utterances"] == 3
    assert found["languages"]["cy"]["symbols"] == ["c"]


def test_data_make(run, folder):
    pytest.importorskip("espeakng_loader")
    words = "data make --languages en=2 --dev 1 --test 1 --folder corpus"
    code, lines, _ = run(*words.split())
    assert code == 0
    counts = {}
    for line in lines:
        split, path = line.split("\t")
        counts[split] = len((folder / path).read_text().splitlines())
        assert run("data", "check", path)[0] == 0
    assert counts == {"train": 2, "dev": 1, "test": 1}
    shutil.rmtree(folder / "corpus")
    code, lines, errors = run("data", "make", "--languages", "xx=2", "--folder", "corpus")
    assert (code, lines) == (1, [])
    assert "'xx'" in errors[0]
