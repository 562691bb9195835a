"""`mtl lm` on texts and manifests, by the rules of a model or without."""

import json
from pathlib import Path

import pytest
import torch

from mtl import Model, Task
from mtl.__main__ import main
from mtl.decode.lm import EOS, UNK, estimate, vocabulary
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.heads.phoneme import Phoneme
from mtl.stems.logmel import LogMel
from mtl.trunks.transformer import Transformer

ROWS = [("Een kat, een HOND!", "nl"), ("Een hond", "nl"), ("Ci a chath", "cy"), ("!", "nl")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A saved model of two languages, one of them also in phones."""
    torch.manual_seed(0)
    letters = CTC(list(" EADHKNOT"), rules={"case": "upper"})
    tasks = [Task("nl", "speech", letters), Task("cy", "speech", CTC(list(" acht")))]
    tasks += [Task("nl-phonemes", "speech", Phoneme([" ", "k", "ɑ", "t"]))]
    tasks += [Task("language", "speech", Classify(["nl", "cy"]))]
    folder = tmp_path_factory.mktemp("model") / "m"
    trunk = Transformer(16, depth=1, heads=2)
    Model({"speech": LogMel(16, bins=20)}, trunk, tasks).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run `mtl lm` in a folder of texts: (exit code, output lines, error lines)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("The cat sat.\n\nA cat; the mat\n", encoding="utf-8-sig")
    rows = [{"text": text, "lang": lang, "audio_filepath": "none.wav"} for text, lang in ROWS]
    rows[0]["phonemes"] = "kˈɑt kɑt"
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")

    def run(*words, out="new/out.arpa"):
        code = main(["lm", *words, "--out", out])
        shown = capsys.readouterr()
        return code, shown.out.splitlines(), shown.err.splitlines()

    return run


def read(path):
    """The probabilities of an ARPA file, by n-gram."""
    rows = [line.split("\t") for line in path.read_text().splitlines() if "\t" in line]
    return {row[1]: 10 ** float(row[0]) for row in rows}


def test_texts_become_a_model_of_their_words(run, tmp_path):
    code, lines, errors = run("a.txt", "--order", "2")
    assert (code, errors) == (0, [])
    assert lines[0] == "new/out.arpa: 7 1-grams, 9 2-grams, of 7 words in 2 lines"
    assert "left out 1 lines (empty), the first a.txt:2" in lines
    assert any("too little text for discounts of 1-grams, 2-grams" in line for line in lines)
    expected = estimate([["the", "cat", "sat"], ["a", "cat", "the", "mat"]], 2)
    found = read(tmp_path / "new/out.arpa")
    for word in [*expected.words, EOS, UNK]:
        assert found[word] == pytest.approx(expected.probability(word), rel=1e-5)
    for word in ("sat", "the"):
        assert found[f"cat {word}"] == pytest.approx(expected.probability(word, ["cat"]), rel=1e-5)


def test_manifests_texts_and_languages(run, tmp_path):
    code, lines, _ = run("m.jsonl", "a.txt", "--lang", "nl")
    assert code == 0
    spoken = {"een", "kat", "hond", "the", "a", "cat", "mat", "sat"}
    assert set(vocabulary(tmp_path / "new/out.arpa")) == spoken
    assert "left out 1 lines (not nl), the first m.jsonl:3" in lines
    assert "left out 2 lines (empty), the first m.jsonl:4" in lines


def test_texts_are_written_as_the_model_writes(run, tmp_path, model):
    code, _, _ = run("m.jsonl", "--model", model, "--lang", "nl")
    assert code == 0
    assert set(vocabulary(tmp_path / "new/out.arpa")) == {"EEN", "KAT", "HOND"}
    run("m.jsonl", "--raw")
    assert {"kat,", "HOND!", "Ci", "!"} < set(vocabulary(tmp_path / "new/out.arpa"))


def test_characters_and_symbols(run, tmp_path, model):
    run("a.txt", "--unit", "characters", "--order", "4")
    assert set(vocabulary(tmp_path / "new/out.arpa")) == {"<space>", *"thecasm"}
    symbols = ("m.jsonl", "a.txt", "--unit", "symbols", "--model", model)
    code, lines, _ = run(*symbols, "--lang", "nl")
    assert code == 0
    assert set(vocabulary(tmp_path / "new/out.arpa")) == {"<space>", *"ENKATHOD"}
    (left,) = [line for line in lines if "not spelled" in line]
    assert left.startswith("left out 2 lines (not spelled by the head), the first a.txt:1")
    assert "'S'" in left
    run("m.jsonl", "--unit", "symbols", "--model", model, "--task", "nl-phonemes")
    assert set(vocabulary(tmp_path / "new/out.arpa")) == {"k", "ɑ", "t", "<space>"}


def test_pruning_and_perplexity(run, tmp_path):
    (tmp_path / "b.txt").write_text("the cat sat\n" * 3 + "the dog\n")
    (tmp_path / "t.txt").write_text("the cat\n\n")
    _, lines, _ = run("b.txt", "--order", "2", "--prune", "0,1", "--test", "t.txt")
    assert "the dog" not in read(tmp_path / "new/out.arpa")
    model = estimate([["the", "cat", "sat"]] * 3 + [["the", "dog"]], 2, (0, 1))
    expected = model.perplexity([["the", "cat"]])
    assert f"t.txt: perplexity {expected:.4g} in 1 lines, ends included" in lines
    assert lines[-1] == "left out 1 lines (empty), the first t.txt:2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.txt"], "none.txt"),
        (["a.txt", "--unit", "symbols"], "--unit symbols needs --model"),
        (["a.txt", "--task", "nl"], "--task needs --model"),
        (["a.txt", "--raw", "--model", "MODEL"], "give one"),
        (["a.txt", "--model", "MODEL"], "give --task, or --lang of one of the model's languages"),
        (["a.txt", "--model", "MODEL", "--task", "language"], "'language' writes no symbols"),
        (["a.txt", "--order", "9"], "KenLM reads 2 to 6"),
        (["latin.txt"], "latin.txt: not UTF-8"),
        (["bad.jsonl"], "bad.jsonl:1: no line of a manifest"),
        (["list.jsonl"], "list.jsonl:1: no line of a manifest"),
        (
            ["m.jsonl", "--lang", "fr"],
            "m.jsonl: no sentence of language fr to estimate from; left out",
        ),
        (["m.jsonl", "--lang", "fr"], "; give other texts, or another --lang"),
        (["empty.txt"], "empty.txt: no sentence to estimate from; give other texts"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_written(run, tmp_path, model, words, message):
    (tmp_path / "latin.txt").write_bytes("café\n".encode("latin-1"))
    (tmp_path / "bad.jsonl").write_text("{text\n")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "list.jsonl").write_text("[1]\n")
    code, lines, errors = run(*(model if word == "MODEL" else word for word in words))
    assert (code, lines, len(errors)) == (1, [], 1)
    assert message in errors[0]
    assert not (tmp_path / "new").exists()


def test_wrong_counts_are_bad_usage(run, capsys):
    with pytest.raises(SystemExit):
        run("a.txt", "--prune", "0,x")
    assert "write counts with commas" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["a.txt", "./m.jsonl", "t.txt"])
def test_texts_are_not_written_over(run, tmp_path, out):
    (tmp_path / "t.txt").write_text("the cat\n")
    before = (tmp_path / out).read_bytes()
    code, _, (error,) = run("a.txt", "m.jsonl", "--test", "t.txt", out=out)
    assert code == 1 and f"--out {Path(out)} is one of the texts to read" in error
    assert (tmp_path / out).read_bytes() == before


def test_pruning_all_but_single_words_is_said(run):
    assert any(
        "--prune leaves nothing longer" in line for line in run("a.txt", "--prune", "0,9")[1]
    )
    assert not any("--prune" in line for line in run("a.txt")[1])
