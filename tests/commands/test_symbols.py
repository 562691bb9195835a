import json

import pytest
import torch

from mtl import Model, Task
from mtl.__main__ import main
from mtl.data.manifest import write_manifest
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.heads.phoneme import Phoneme
from mtl.stems.logmel import LogMel
from mtl.trunks.transformer import Transformer


def row(text, lang="de", seconds=2.0, **more):
    return {"audio_filepath": "a.wav", "duration": seconds, "text": text, "lang": lang, **more}


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run `mtl symbols` beside a model: (exit code, lines of the output, lines of the error output)."""
    torch.manual_seed(0)
    tasks = [
        Task("de", "speech", CTC(list(" abß"))),
        Task("de-b1", "speech", "de", "b1", label="de", auxiliary=True),
        Task("nl", "speech", CTC(["a"])),
        Task("nl-phonemes", "speech", Phoneme([" ", "a"])),
        Task("language", "speech", Classify(["de", "nl"])),
    ]
    trunk = Transformer(8, 1, 2, 2)
    Model({"speech": LogMel(8, bins=20)}, trunk, tasks).save_pretrained(tmp_path / "m")
    lines = [row("Ab, cab!"), row("bad cab"), row("a?", "nl", phonemes="nˈaː"), row("b", "nl")]
    write_manifest(tmp_path / "t.jsonl", lines)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main(["symbols", "--model", "m", "--data", "t.jsonl", *words])
        shown = capsys.readouterr()
        return code, shown.out.splitlines(), shown.err.splitlines()

    return run


def tensors(folder):
    return Model.from_pretrained(folder).state_dict()


def test_other_symbols(run, tmp_path):
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    line = "task de: 3 of its 5 symbols are old ones, 2 new: c d, 1 gone: ß"
    assert run("--task", "de", "--out", "new") == (0, [line, "new"], [])
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    model, old, new = Model.from_pretrained("new"), tensors("m"), tensors("new")
    assert model.head("de").symbols == model.head("de-b1").symbols == [" ", "a", "b", "c", "d"]
    assert new["heads.de.output.weight"][:4].equal(old["heads.de.output.weight"][:4])
    rest = [name for name in old if not name.startswith("heads.de.")]
    assert rest and all(new[name].equal(old[name]) for name in rest)


def test_added_symbols_and_phones(run):
    said = run("--task", "de", "--out", "new", "--add")
    assert said[1][0] == "task de: 4 of its 6 symbols are old ones, 2 new: c d, 0 gone"
    assert Model.from_pretrained("new").head("de").symbols == list(" abßcd")
    old, new = tensors("m"), tensors("new")
    assert new["heads.de.output.bias"][:5].equal(old["heads.de.output.bias"])
    said = run("--task", "nl-phonemes", "--out", "ipa", "--add", "--symbols", "phones")
    assert said[1][0] == "task nl-phonemes: 2 of its 4 symbols are old ones, 2 new: aː n, 0 gone"


def test_pieces(run):
    code, lines, errors = run("--task", "de", "--out", "new", "--symbols", "bpe:500")
    assert (
        code == 0 and lines[0].startswith("task de: 3 of its ") and lines[0].endswith("1 gone: ß")
    )
    head = Model.from_pretrained("new").head("de-b1")
    assert head.decode(head.encode("bad cab")) == "bad cab"
    assert errors == [f"mtl: {len(head.symbols)} pieces, as the texts hold no more than that"]


def test_what_can_not_be_used_is_counted_and_named(run):
    lines = [row("ab", seconds=0.02), row("!?"), row("bab" * 9), row("ab")]
    write_manifest("u.jsonl", lines)
    code, _, errors = run("--task", "de", "--out", "new", "--data", "u.jsonl")
    assert code == 0
    assert errors[0] == "mtl: left out 1 of 4: u.jsonl:2: nothing is left of '!?'"
    assert errors[1].startswith("mtl: 1 of 3 utterances cannot be learnt: u.jsonl:1: 2 symbols")
    write_manifest("v.jsonl", [row("", "nl", phonemes="a!"), row("", "nl", phonemes="ab")])
    _, lines, errors = run("--task", "nl-phonemes", "--out", "ipa", "--data", "v.jsonl")
    assert (
        "v.jsonl:1: phonemes 'a!': '!' (U+0021) is no IPA" in errors[0] and "1 new: b" in lines[0]
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--task", "fr"], "no task 'fr'; this model has: de, de-b1, nl"),
        (["--task", "language"], "head Classify, which spells nothing; CTC heads have: de, nl"),
        (["--task", "de", "--symbols", "bpe"], "--symbols is 'bpe'; give chars or bpe:N"),
        (
            ["--task", "de", "--symbols", "phones"],
            "'de': --symbols is 'phones'; give chars or bpe:N or unigram:N",
        ),
        (["--task", "nl-phonemes", "--symbols", "chars"], "--symbols is 'chars'; give phones"),
        (["--task", "de", "--out", "t.jsonl/new"], "--out t.jsonl/new: t.jsonl is a file"),
        (["--task", "de", "--symbols", "bpe:3"], "3 pieces are too few: the texts hold 5"),
        (["--task", "de", "--data", "fr.jsonl"], "has a label 'de'; texts there: fr 1"),
        (["--task", "de", "--data", "no.jsonl"], "none of the 1 texts can be used"),
        (["--task", "de", "--out", "m"], "--out m lies in the model's folder"),
        (["--task", "de", "--out", "m/new"], "--out m/new lies in the model's folder"),
        (["--task", "de", "--out", "t.jsonl"], "--out t.jsonl exists: name a new folder"),
    ],
)
def test_refusals(words, says, run, tmp_path):
    write_manifest("fr.jsonl", [row("oui", "fr")])
    write_manifest("no.jsonl", [row("?!")])
    code, lines, errors = run("--out", "new", *words)
    assert (code, lines) == (1, []) and says in errors[-1]
    assert not (tmp_path / "new").exists()
    assert json.loads((tmp_path / "m" / "config.json").read_text())["tasks"]
