import json
from importlib import import_module

import pytest
import talking
from talking import model, text, times, write

from mtl import Task
from mtl.__main__ import main
from mtl.data.manifest import read_manifest, write_manifest
from mtl.heads.classify import Classify
from mtl.load import Loaded

SAID = {"a": text(20, 1), "b": text(30, 2)}


def rows(**changes):
    lines = [
        {
            "audio_filepath": f"sounds/{name}.wav",
            "text": f"{said.upper()}!",
            "lang": "cy",
            "mine": 7,
        }
        for name, said in SAID.items()
    ]
    lines[0] |= {"id": "first one"}
    lines[1] |= {"speaker": "anna"} | changes
    return lines


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Run `mtl align` on rows: (exit code, lines written, output, lines of the error output)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sounds").mkdir()
    made = model(languages=("cy", "nl"))
    made.add(Task("speaker", "speech", Classify(["anna"])))
    monkeypatch.setattr(import_module("mtl.load"), "load", lambda *_, **__: Loaded(made))
    for name, said in SAID.items():
        write(tmp_path / f"sounds/{name}.wav", [0.5, said, 0.5])

    def run(lines, *words, out="new/aligned.jsonl"):
        write_manifest("m.jsonl", lines)
        code = main(["align", "m.jsonl", "--model", "m", "--out", out, *words])
        shown = capsys.readouterr()
        made = tmp_path / out
        lines = made.read_text().splitlines() if made.is_file() else []
        return code, [json.loads(line) for line in lines], shown.out, shown.err.splitlines()

    return run


def assert_times(words, truth):
    assert [word["word"] for word in words] == [word for word, _, _ in truth]
    for word, (_, start, end) in zip(words, truth, strict=True):
        assert word["start"] == pytest.approx(start, abs=0.021)
        assert word["end"] == pytest.approx(end, abs=0.021)
        assert 0.5 < word["confidence"] <= 1


def test_words_of_a_manifest_get_times(run, tmp_path):
    code, lines, out, errors = run(rows())
    assert (code, errors) == (0, [])
    assert out == "aligned 2 of 2 utterances: new/aligned.jsonl\n"
    for line, said in zip(lines, SAID.values(), strict=True):
        assert_times(line["words"], times(said, 0.5))
    assert [line["mine"] for line in lines] == [7, 7]
    assert [line["audio_filepath"] for line in lines] == ["../sounds/a.wav", "../sounds/b.wav"]
    old, new = read_manifest("m.jsonl"), read_manifest("new/aligned.jsonl")
    for one, two in zip(old, new, strict=True):
        assert one.audio.resolve() == two.audio.resolve()
        fields = ("id", "text", "lang", "speaker", "seconds", "offset")
        assert [getattr(one, f) for f in fields] == [getattr(two, f) for f in fields]


def test_parts_of_a_file_count_from_their_own_start(run):
    lines = rows()
    lines[0] |= {"offset": 0.25, "duration": 3.3}
    code, found, _, _ = run(lines)
    assert code == 0
    assert_times(found[0]["words"], times(SAID["a"], 0.25))


def test_symbols_and_ctm(run, tmp_path):
    code, lines, _, _ = run(rows(), "--by", "symbols", "--ctm")
    letters = SAID["a"].replace(" ", "")
    assert code == 0 and [word["word"] for word in lines[0]["words"]] == list(letters)
    starts = [0.5 + talking.STEP * i for i, symbol in enumerate(SAID["a"]) if symbol != " "]
    assert [word["start"] for word in lines[0]["words"]] == pytest.approx(starts, abs=0.021)
    ctm = [line.split() for line in (tmp_path / "new/aligned.ctm").read_text().splitlines()]
    assert [row[4] for row in ctm] == [word["word"] for line in lines for word in line["words"]]
    assert {row[0] for row in ctm} == {"first_one", "b"}


def test_absolute_paths_stay(run, tmp_path):
    path = str(tmp_path / "sounds/b.wav")
    assert run(rows(audio_filepath=path))[1][1]["audio_filepath"] == path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": "ab ñ"}, "'ñ' (U+00F1)"),
        ({"text": ""}, "it has no 'cy', from which task 'cy' aligns"),
        ({"text": "?!"}, "is empty after normalising"),
        ({"text": "a" * 500}, "999 symbols (with repeats) but 245 frames: too short for CTC"),
        ({"lang": "fr"}, "language 'fr' has no task; this model has: cy, nl"),
        ({"audio_filepath": "none.wav", "duration": 3.0}, "none.wav: no such file"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_cannot_be_aligned_is_named_and_left_out(run, change, says):
    code, lines, out, (error,) = run(rows(**change))
    assert code == 1 and out.startswith("aligned 1 of 2 utterances")
    assert [line["id"] for line in lines] == ["first one"]
    assert error.startswith("mtl: m.jsonl:2 (") and error.count("m.jsonl:2") == 1
    assert says in error


def test_a_task_can_be_named(run):
    code, lines, _, errors = run(rows(lang="nl"), "--task", "cy")
    assert code == 1 and len(lines) == 1  # the second has a text in Dutch only
    assert errors[0].endswith("is in nl; task 'cy' aligns cy")
    for task, says in (("speaker", "its head is Classify, not CTC"), ("xx", "no task 'xx'")):
        code, _, _, (error,) = run(rows(), "--task", task, out="other.jsonl")
        assert code == 1 and says in error


def test_the_manifest_itself_is_not_overwritten(run):
    code, _, _, (error,) = run(rows(), out="./m.jsonl")
    assert code == 1 and "is the manifest itself; name another file" in error


def test_many_utterances_keep_their_order(run, monkeypatch):
    monkeypatch.setattr("mtl.commands.align.GROUP", 3)
    lines = [row | {"id": f"{n} {row['audio_filepath']}"} for n in range(4) for row in rows()]
    code, found, _, _ = run(lines)
    assert code == 0 and [line["id"] for line in found] == [line["id"] for line in lines]
    for line in found:
        said = SAID["a" if "a.wav" in line["id"] else "b"]
        assert [word["word"] for word in line["words"]] == said.split()


def test_where_nothing_is_aligned_an_older_file_stays(run):
    _, before, _, _ = run(rows(), "--ctm")
    code, lines, out, errors = run([row | {"lang": "fr"} for row in rows()], "--ctm")
    assert (code, lines, out) == (1, before, "") and len(before) == 2
    assert "m.jsonl: nothing could be aligned; new/aligned.jsonl is not written" in errors[-1]
