import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from loading import load, refuse
from test_adapt import TONES, build, speak

from mtl import Model
from mtl.adapt import WAYS
from mtl.data.splits import Source
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.languages import SPEECH
from mtl.recogniser import Net, recogniser
from mtl.report import Report
from mtl.study import Result

RECIPE = Path(__file__).parents[2] / "recipes" / "speaker_adaptation.py"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "mtl"))


@pytest.fixture
def recipe():
    return load("speaker_adaptation")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Manifests of two speakers, of one who is only tested, and of a source, beside a model of theirs."""
    folder = tmp_path_factory.mktemp("people")
    for name, count in (("anna", 4), ("ben", 2), ("carl", 2), ("source", 3)):
        speak(folder, name, count)
    save(build(Task("nl", SPEECH, CTC(list(TONES)))), folder / "m")
    return folder


def save(model, place):
    """Save a model that learnt nothing, but writes something."""
    with torch.no_grad():
        for head in model.heads.values():
            head.output.bias[0] = -2.0
    model.save_pretrained(place)


def run(recipe, out, *argv):
    recipe.main([*map(str, argv), "--settings.threads", "1", "--out", str(out)])
    return json.loads((out / "metrics.json").read_text())


def test_smoke_gives_every_method_and_does_nothing_twice(recipe, tmp_path, monkeypatch):
    train = [u for u in Source(smoke=True).read().train if u.lang == "de"]
    torch.manual_seed(0)
    save(recogniser(train, Net(dim=16, depth=1, inner=""))[0], tmp_path / "m")
    argv, methods = ["--smoke", "--model", tmp_path / "m"], ["lin", "input", "full"]
    found = run(recipe, tmp_path / "run", *argv)
    counts = [f"{count} utterances" for count in (0, 1, 2)]
    assert list(found["comparisons"]) == counts
    assert list(found["comparisons"][counts[0]]) == ["none", "others after none"]
    for count in counts[1:]:
        rows = found["comparisons"][count]
        assert list(rows) == methods + [f"others after {method}" for method in methods]
        assert all((row["n"], row["seeds"]) == (4, 1) and row["cer"] > 0 for row in rows.values())
    assert found["claims"] == []
    assert [note.split(":")[0] for note in found["notes"]] == ["smoke run", "with 1", "with 2"]
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert page.count("<svg") == 2 and "other people&#x27;s errors: mean and range" in page
    settings = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (settings["voices"], settings["counts"], settings["settings"]["steps"]) == (
        "whisper", "1,2", 2,
    )  # fmt: skip
    assert len(list((tmp_path / "run").glob("*/cells/*.json"))) == 1 + 2 * len(methods)

    monkeypatch.setattr(recipe, "treat", refuse)
    again = run(recipe, tmp_path / "run", *argv)
    for name in ("comparisons", "claims", "notes"):
        assert again[name] == found[name]


def test_own_speakers_and_a_method_that_cannot_go(recipe, people, tmp_path):
    argv = ["--model", people / "m", "--data", people / "anna.jsonl", people / "ben.jsonl"]
    argv += ["--test", *(people / f"{name}.jsonl" for name in ("anna", "ben", "carl"))]
    argv += ["--settings.steps", 1, "--counts", "2,3", "--seeds", 2]
    found = run(recipe, tmp_path, *argv, "--adapt", "lin, full+replay")
    assert [list(rows) for rows in found["comparisons"].values()] == [
        ["none", "others after none"],
        *[["lin", "others after lin"]] * 2,
    ]
    rows = found["comparisons"]
    assert rows["2 utterances"]["lin"]["seeds"] == 4, "two speakers, two seeds"
    assert rows["3 utterances"]["lin"]["seeds"] == 2, "ben said two only"
    failed = [note for note in found["notes"] if note.startswith("failed:")]
    assert len(failed) == 6 and all("full+replay" in n and "needs `source`" in n for n in failed)

    more = [*argv, "--source", people / "source.jsonl", "--conservative", 0.25]
    found = run(recipe, tmp_path, *more, "--adapt", "full+replay")
    assert list(found["comparisons"]["3 utterances"]) == ["full+replay", "others after full+replay"]
    assert not [note for note in found["notes"] if note.startswith("failed")]
    assert (
        yaml.safe_load((tmp_path / "config.yaml").read_text())["settings"]["conservative"] == 0.25
    )


def test_each_run_has_its_method_and_seed(recipe, people, tmp_path, monkeypatch):
    done = []

    def noted(base, speakers, name, count, settings):
        done.append((name, count, settings.by, settings.conservative, settings.seed))
        return recipe_treat(base, speakers, name, 0, settings)

    recipe_treat = recipe.treat
    monkeypatch.setattr(recipe, "treat", noted)
    argv = ["--model", people / "m", "--data", people / "anna.jsonl", people / "ben.jsonl"]
    run(recipe, tmp_path, *argv, "--seeds", 2, "--counts", 1, "--adapt", "lhuc,full+kl")
    assert [cell[:2] for cell in done if not cell[1]] == [("anna", 0), ("ben", 0)]
    ways = (("lhuc", 0.0), ("full", 0.5))
    assert {cell for cell in done if cell[1]} == {
        (name, 1, *way, seed) for name in ("anna", "ben") for way in ways for seed in (0, 1)
    }


def test_claims_compare_what_both_methods_were_tested_on(recipe):
    results = []
    for method, errors in (("lin", 1), ("full", 3)):
        for voice in "abcdefg":
            cell = {"method": method, "count": 1, "speaker": voice, "seed": 0}
            figures = {"value": errors / 9, "metric": "cer", "n": 2, "lost": 0.1, "kb": 1.0}
            figures |= {"seconds": 1.0, "counts": [[errors, 9, voice]] * 2}
            results.append(Result(cell, figures))
    results[-1] = results[-1]._replace(figures=None, problem="failed")
    report = Report("test", 0, {})
    recipe.tell(report, results)
    (claim,) = report.claims
    assert (claim.claim, claim.verdict, claim.difference) == (
        "lin has fewer errors than full with 1 utterances", "true", pytest.approx(2 / 9),
    )  # fmt: skip


def test_another_model_is_another_study(recipe, people, tmp_path):
    argv = ["--data", people / "anna.jsonl", people / "ben.jsonl", "--settings.steps", 1]
    argv += ["--counts", "1", "--adapt", "lhuc", "--model", tmp_path / "m"]
    for seed in (0, 1):
        save(build(Task("nl", SPEECH, CTC(list(TONES))), seed=seed), tmp_path / "m")
        run(recipe, tmp_path / "run", *argv)
    assert len(list((tmp_path / "run").glob("*/cells"))) == 2


def test_without_a_model_the_multilingual_one_is_trained_once(recipe, tmp_path, monkeypatch):
    taught = []

    class Other:
        @staticmethod
        def main(argv):
            taught.append(argv)
            Path(argv[argv.index("--out") + 1], "model").mkdir(parents=True)

    monkeypatch.setitem(sys.modules, "multilingual_asr", Other)
    config = recipe.Config(out=tmp_path / "runs" / "speaker_adaptation")
    whole = str(tmp_path / "runs" / "multilingual_asr")
    assert [recipe.recogniser(config) for _ in range(2)] == [f"{whole}/model"] * 2
    assert taught == [["--no-baseline", "--out", whole]]
    config.smoke = True  # its model must not be taken for the whole one
    assert recipe.recogniser(config) != f"{whole}/model" and "--smoke" in taught[1]


def test_the_whole_grid(recipe, people, tmp_path, monkeypatch):
    """All methods, six voices and more, three seeds."""
    cells, asked = [], []

    def made(lang, voices, small):
        asked.append((lang, voices, small))
        return recipe.read_speakers([people / "anna.jsonl", people / "ben.jsonl"])

    def noted(wanted, *_, **__):
        cells.extend(wanted)
        return []

    monkeypatch.setattr(recipe, "made_speakers", made)
    monkeypatch.setattr(recipe, "study", noted)
    run(recipe, tmp_path, "--full", "--model", people / "m", "--counts", "1")
    assert asked == [("de", list(recipe.VOICES), False)] and len(recipe.VOICES) >= 6
    methods = recipe.METHODS.split(",")
    assert set(WAYS) < set(methods)
    assert set(cells) == {
        *(("none", name, 0, 0) for name in ("anna", "ben")),
        *((m, name, 1, s) for m in methods for name in ("anna", "ben") for s in (0, 1, 2)),
    }
    for method in methods:
        recipe.read_method(method, recipe.Adapt())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--adapt", "lhuc,lhuk"], "'lhuk' is no part of a method; choose from full, input"),
        (["--smoke", "--voices", "wisper"], "there is no voice 'wisper' to speak; near it are wh"),
        (["--voices", "whisper,nobody"], "there is no voice 'nobody' to speak"),
        (["--smoke", "--lang", "xx"], "the corpus has no 'xx'; choose from de, en, es, fr, it, nl"),
        (["--data", "none.jsonl"], "none.jsonl: no such manifest"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_trained(
    argv, message, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(recipe, "recogniser", refuse)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        run(recipe, tmp_path / "out", *argv)
    assert not (tmp_path / "out").exists()


def test_a_model_that_lacks_the_language_is_refused(recipe, people, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "treat", refuse)
    message = "speaker 'whisper' has test texts in: de; this model writes: nl"
    with pytest.raises(ValueError, match=message):
        run(recipe, tmp_path / "out", "--smoke", "--model", people / "m")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_smoke_trains_the_multilingual_model_itself(recipe, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(RECIPE.parent)
    found = run(recipe, tmp_path / "speaker_adaptation", "--smoke")
    assert {"0 utterances", "1 utterances", "2 utterances"} == set(found["comparisons"])
    (place,) = tmp_path.glob("*/model")
    assert "de" in Model.from_pretrained(place).tasks
