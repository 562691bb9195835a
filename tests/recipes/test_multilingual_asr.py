import json
import os
import runpy
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from loading import load
from safetensors.torch import load_file

from mtl import Model
from mtl.config import Fit
from mtl.data.manifest import ManifestError, read_manifest
from mtl.data.splits import Source
from mtl.data.synthetic import make_corpus
from mtl.recogniser import Net
from mtl.tune.lhuc import Scale

RECIPE = Path(__file__).parents[2] / "recipes" / "multilingual_asr.py"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "mtl"))


def recipe():
    return load("multilingual_asr")


def run(*argv):
    recipe().main([str(word) for word in argv])


def test_smoke_ends_with_the_figures_and_a_model_that_loads(tmp_path, capsys):
    run("--smoke", "--out", tmp_path)
    figures = json.loads((tmp_path / "metrics.json").read_text())
    languages = {"de", "en", "es", "fr", "it", "nl"}
    assert set(figures["tasks"]) == {*languages, "language"}
    assert all(figures["tasks"][lang]["n"] == 4 for lang in languages)
    assert set(figures["comparisons"]["alone"]) == {"nl"}
    assert figures["claims"] == [] and figures["notes"][0] == "smoke run: the figures mean nothing"
    assert f"{100 * figures['tasks']['nl']['cer']:.2f}" in capsys.readouterr().out
    assert languages < set(Model.from_pretrained(tmp_path / "model").tasks)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("<audio") == len(languages), "the worst utterance of each"
    for text in ("all languages: training", "nl alone: training", "language: confusions"):
        assert text in page
    for task, found in figures["tasks"].items():
        value = found["accuracy" if task == "language" else "cer"]
        assert f"<td>{100 * value:.2f}</td>" in page
    results = ModelCard.load(tmp_path / "model" / "README.md").data.eval_results
    assert {result.dataset_config for result in results} == set(figures["tasks"])


def test_own_manifests_are_split_by_speaker_and_capped(tmp_path):
    made = make_corpus({"en": 12, "nl": 12}, dev=2, test=4, folder=tmp_path)
    argv = ["--data", made["train"], "--test", made["test"], "--low-resource", "nl=5", "--smoke"]
    run(*argv, "--languages", "en,nl", "--out", tmp_path / "run", "--no-baseline")
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(figures["tasks"]) == {"en", "nl", "language"}
    assert figures["comparisons"] == {}
    assert any("held out by speakers" in note for note in figures["notes"])
    splits = Source(data=[made["train"]], test=[made["test"]], low_resource="nl=5").read()
    assert sum(utterance.lang == "nl" for utterance in splits.train) == 5
    voices = [{u.speaker for u in part if u.lang == "en"} for part in (splits.train, splits.dev)]
    assert not voices[0] & voices[1]


def test_unknown_languages_and_shared_ids_are_named(tmp_path):
    made = make_corpus({"en": 4}, dev=1, test=1, folder=tmp_path)
    with pytest.raises(ManifestError, match=r"no training utterance in \['cy'\]; there are: en"):
        Source(data=[made["train"]], languages="en,cy").read()
    again = made["train"].with_name("again.jsonl")
    again.write_bytes(made["train"].read_bytes())
    with pytest.raises(ManifestError, match="id 'en-train-00000' stands in"):
        Source(data=[made["train"], again]).read()
    with pytest.raises(ValueError, match="write language=utterances"):
        Source(data=[made["train"]], low_resource="nl=few").read()


def test_languages_without_training_data_are_left_out_of_the_test(tmp_path):
    made = make_corpus({"en": 8, "nl": 8}, dev=2, test=2, folder=tmp_path)
    english = Source(data=[made["train"]], test=[made["test"]], dev=[made["dev"]], languages="en")
    assert {u.lang for u in english.read().test} == {"en"}
    only = tmp_path / "nl.jsonl"
    lines = [line for line in made["train"].read_text().splitlines() if '"nl"' in line]
    only.write_text("\n".join(lines))
    dutch = Source(data=[only], dev=[made["dev"]], test=[made["test"]]).read()
    assert {u.lang for u in dutch.test} == {"nl"}
    assert "test: left out utterances of languages not trained on: en 2" in dutch.notes
    with pytest.raises(ManifestError, match=r"no dev utterance of \['nl'\]"):
        one = tmp_path / "one.jsonl"
        one.write_text(lines[0])
        Source(data=[one], test=[made["test"]]).read()


def test_a_refused_run_leaves_the_settings_of_the_other(tmp_path):
    argv = ["--smoke", "--languages", "en=4", "--low-resource", "nl=4", "--no-baseline"]
    run(*argv, "--out", tmp_path)
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(ValueError, match=r"differs in fit.lr \(0.002 there, 0.001 here\)"):
        run(*argv, "--fit.lr", 1e-3, "--out", tmp_path)
    assert (tmp_path / "config.yaml").read_text() == before


def test_test_texts_that_were_trained_on_are_counted(tmp_path):
    made = make_corpus({"en": 4}, dev=1, test=1, folder=tmp_path)
    copied = tmp_path / "copied.jsonl"
    copied.write_text(made["train"].read_text().replace('"en-train', '"seen'))
    lines = [json.loads(line) for line in copied.read_text().splitlines()]
    for line in lines:
        line["audio_filepath"] = str(made["train"].parent / line["audio_filepath"])
    copied.write_text("\n".join(map(json.dumps, lines)))
    notes = Source(data=[made["train"]], test=[copied], hold_out="utterances").read().notes
    known = len(read_manifest(made["train"])) - 1  # one of the four is held out for dev
    assert f"{known} of 4 test texts also occur in training" in notes


def test_a_wrong_manifest_ends_with_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(RECIPE), "--data", str(tmp_path / "no.jsonl")])
    with pytest.raises(SystemExit, match=r"error: .*no\.jsonl: no such manifest"):
        runpy.run_path(str(RECIPE), run_name="__main__")


def test_the_language_alone_trains_as_the_others_do():
    config = recipe().Config
    fit = Fit(precision="no", threads=3, workers=1, lr=1e-4)
    alone = config(fit=fit).alone
    assert (alone.precision, alone.threads, alone.workers, alone.lr) == ("no", 3, 1, Fit().lr)
    alone = config(fit=fit, alone=Fit(precision="bf16", threads=2)).alone
    assert (alone.precision, alone.threads, alone.workers) == ("bf16", 2, 1)


def test_a_trunk_is_named_once():
    config = recipe().Config
    assert config(trunk="a").net.trunk == config(net=Net(trunk="a")).net.trunk == "a"
    assert config(trunk="a", net=Net(trunk="a")).net.trunk == "a", "as config.yaml has it"
    with pytest.raises(ValueError, match=r"--trunk a --net\.trunk b: give one"):
        config(trunk="a", net=Net(trunk="b"))


def test_languages_that_the_corpus_cannot_speak_are_named():
    for low in ("nl=60", "xx=60"):
        with pytest.raises(ValueError, match="there is no language 'xx' to speak"):
            Source(languages="xx", low_resource=low, smoke=True).read()
    with pytest.raises(
        ValueError, match=r"^en: the embedded corpus needs a count, such as en=1500"
    ):
        Source(languages="en", smoke=True).read()


@pytest.mark.parametrize("share", [1, 0, -0.1, 7])
def test_a_share_that_leaves_nothing_is_refused(share, tmp_path):
    with pytest.raises(ValueError, match=rf"--share is {float(share)}; it is a part"):
        run("--smoke", "--share", share, "--out", tmp_path)


@pytest.mark.parametrize("share", [1, -0.1])
def test_a_share_of_nobody_that_leaves_no_speaker_is_refused(share, tmp_path):
    with pytest.raises(ValueError, match=rf"--sat is {float(share)}; it is a share of the draws"):
        run("--smoke", "--sat", share, "--out", tmp_path)


def test_speaker_adaptive_training_ends_with_the_network_for_nobody(tmp_path, monkeypatch):
    heard = {True: set(), False: set()}
    forward = Scale.forward

    def spy(scale, flow):
        heard[scale.training].update(flow.groups["speaker"].tolist())
        return forward(scale, flow)

    monkeypatch.setattr(Scale, "forward", spy)
    made = make_corpus({"en": 8, "nl": 8}, dev=1, test=2, folder=tmp_path)
    # The dev part is of the training speakers: their vectors exist, but must not be used.
    argv = ["--data", made["train"], "--dev", made["train"], "--test", made["test"], "--smoke"]
    run(*argv, "--low-resource", "nl=8", "--sat", 0.5, "--out", tmp_path)
    assert 0 in heard[True] and len(heard[True]) > 2, "speakers and nobody train"
    assert heard[False] == {0}, "the dev part is judged as the saved model is used"
    for name in ("multilingual", "nl-alone"):
        weights = tmp_path / name / "checkpoints/step-00000008/step.safetensors"
        rows = load_file(weights)["model.trunk.after.b1.lhuc.a"]
        assert len(rows) > 2 and rows[1:].any() and not rows[0].any()
    model = Model.from_pretrained(tmp_path / "model")
    assert model.edits == [] and not [name for name in model.state_dict() if "lhuc" in name]
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert set(figures["tasks"]) == {"en", "nl", "language"}


def test_a_file_where_the_output_should_go_is_refused(tmp_path):
    (tmp_path / "notes").write_text("my notes")
    for out in (tmp_path / "notes", tmp_path / "notes" / "run"):
        with pytest.raises(ValueError) as error:
            run("--smoke", "--out", out)
        assert str(error.value) == f"--out {tmp_path / 'notes'} is a file; give a folder"


@pytest.mark.slow
@pytest.mark.skipif("MTL_DATA" not in os.environ, reason="MTL_DATA names no folder of real data")
def test_spoken_digits_are_learnt(tmp_path):
    fsdd = Path(os.environ["MTL_DATA"], "speech", "fsdd")
    argv = ["--data", fsdd / "train.jsonl", "--test", fsdd / "test.jsonl", "--fit.steps", 600]
    run(*argv, "--hold-out", "utterances", "--out", tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["tasks"]["en"]["wer"] <= 0.03
