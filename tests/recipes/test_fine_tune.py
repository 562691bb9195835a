import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers
import yaml
from loading import load, refuse, run
from PIL import Image
from test_pretrained_sources import write_ctc

import mtl.problem
from mtl.ways import WAYS

RECIPE = Path(__file__).parents[2] / "recipes" / "fine_tune.py"
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16}


@pytest.fixture
def recipe():
    return load("fine_tune")


@pytest.fixture
def tuned(recipe, monkeypatch):
    """The ways that were gone, in their order."""
    ways, tune = [], recipe.tune

    def noted(model, problem, items, way, config, k):
        ways.append(way)
        return tune(model, problem, items, way, config, k)

    monkeypatch.setattr(recipe, "tune", noted)
    return ways


@pytest.fixture
def vit(tmp_path):
    torch.manual_seed(0)
    config = transformers.ViTConfig(**VIT, intermediate_size=24, patch_size=8)
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    size = {"size": {"height": 16, "width": 16}}
    transformers.ViTImageProcessor(**size).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


@pytest.fixture
def folder(tmp_path):
    for shade, name in enumerate(("bright", "dark")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(5):
            picture = Image.new("L", (8, 8), 200 * (1 - shade) + index)
            picture.save(tmp_path / "data" / name / f"{index}.png")
    return tmp_path / "data"


@pytest.fixture
def manifest(tmp_path):
    lines = []
    for index in range(12):
        wave = np.random.default_rng(index).standard_normal(8000) * 0.1
        soundfile.write(tmp_path / f"{index}.wav", wave, 16000)
        line = {"audio_filepath": f"{index}.wav", "duration": 0.5, "speaker": f"s{index % 4}"}
        lines.append(line | {"text": ("ate a toe", "eat")[index % 2], "lang": "en"})
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_smoke_gives_every_way_and_what_it_forgot(recipe, tuned, tmp_path, monkeypatch, capsys):
    found = run(recipe, tmp_path, "--smoke")
    rows = found["comparisons"]["2 examples"]
    assert list(rows) == [*WAYS, *(f"source after {way}" for way in WAYS)] and tuned == list(WAYS)
    assert {rows[way]["n"] for way in WAYS} == {50}
    assert {rows[f"source after {way}"]["n"] for way in WAYS} == {34}
    assert found["claims"] == [] and found["notes"][0] == "smoke run: the figures mean nothing"
    assert f"{100 * rows['full']['accuracy']:.2f}" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "<svg" in page and f"<td>{100 * rows['full']['accuracy']:.2f}</td>" in page
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["counts"] == "2"

    tuned.clear()
    with monkeypatch.context() as patched:
        patched.setattr(mtl.problem, "learn", refuse)
        again = run(recipe, tmp_path, "--smoke")
    assert tuned == [] and again["comparisons"] == found["comparisons"]


def test_other_ways_are_added_and_other_settings_start_anew(recipe, tuned, tmp_path, vit, folder):
    argv = ["--smoke", "--trunk", vit, "--data", folder]
    run(recipe, tmp_path / "out", *argv, "--ways", "head")
    found = run(recipe, tmp_path / "out", *argv, "--ways", "bitfit, head")
    assert tuned == ["head", "bitfit"]
    assert list(found["comparisons"]["2 examples"]) == ["bitfit", "head"]
    for number, other in enumerate((["--fit.lr", 1e-3], ["--k", 2], ["--test", folder]), start=3):
        run(recipe, tmp_path / "out", *argv, "--ways", "head", *other)
        assert len(tuned) == number, other


def test_a_trunk_without_a_head_goes_every_way_but_kl(recipe, tuned, tmp_path, vit, folder):
    found = run(recipe, tmp_path / "out", "--smoke", "--trunk", vit, "--data", folder)
    ways = [way for way in WAYS if way != "kl"]
    assert tuned == ways and list(found["comparisons"]["2 examples"]) == ways
    assert {row["n"] for row in found["comparisons"]["2 examples"].values()} == {2}
    assert [note for note in found["notes"] if "failed" in note] == []
    assert "kl is left out: the trunk came without a head" in found["notes"]
    assert any("2 blocks, width 16" in note for note in found["notes"])


def test_speech_shows_what_the_old_head_forgot(recipe, tuned, tmp_path, manifest):
    write_ctc(tmp_path / "hf")
    argv = ["--smoke", "--trunk", tmp_path / "hf", "--data", manifest, "--known", manifest]
    found = run(recipe, tmp_path / "out", *argv, "--ways", "scratch,full,kl")
    rows = found["comparisons"]["2 examples"]
    assert tuned == ["scratch", "full", "kl"] and not [n for n in found["notes"] if "failed" in n]
    assert {rows[way]["n"] for way in tuned} == {3}, "one speaker of four"
    assert {rows[f"source after {way}"]["n"] for way in tuned} == {12}
    assert all("cer" in row for row in rows.values())


def test_cells_that_fail_are_noted_and_leave_their_claims_undecided(recipe, tmp_path, vit, folder):
    argv = ["--trunk", vit, "--data", folder, "--ways", "scratch,full", "--counts", "99,0, 1"]
    found = run(recipe, tmp_path / "out", *argv, "--seeds", 2, "--fit.steps", 1)
    assert list(found["comparisons"]) == ["1 examples", "all examples"]
    failed = [note for note in found["notes"] if note.startswith("failed: way=")]
    assert len(failed) == 4 and all("has 4 pictures, 99 are wanted" in note for note in failed)
    claims = {claim["claim"]: claim for claim in found["claims"]}
    counts = [f"fine-tuning beats scratch with {count} examples" for count in ("1", "99", "all")]
    assert list(claims) == [*counts, "it gains more with 1 examples than with all"]
    assert claims[counts[1]]["verdict"] == "undecided" and claims[counts[1]]["difference"] is None
    assert all(claims[name]["difference"] is not None for name in claims if name != counts[1])


def test_pictures_that_cannot_be_read_are_told_of(recipe, tmp_path, vit, folder):
    for index in range(4):  # of five, two of which are learnt from
        (folder / "bright" / f"{index}.png").write_bytes(b"none")
    argv = ["--smoke", "--trunk", vit, "--data", folder, "--test", folder, "--ways", "full"]
    for _ in range(2):  # finished runs still know it
        notes = run(recipe, tmp_path / "out", *argv)["notes"]
        (tested,) = (note for note in notes if note.startswith("test examples, which count as"))
        assert "errors: 4 could not be used, the first bright/0.png:" in tested
        (learnt,) = (note for note in notes if note.startswith("training examples: "))
        assert "could not be used, the first bright/" in learnt


def test_runs_that_all_fail_are_an_error(recipe, tmp_path, vit, folder):
    argv = ["--trunk", vit, "--data", folder, "--ways", "lpft", "--counts", "1", "--seeds", "1"]
    with pytest.raises(ValueError, match="no run gave a figure; the first failed: way=lpft"):
        run(recipe, tmp_path / "out", *argv, "--fit.steps", 1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--counts", "99,100"], "class '1' has 91 pictures, 99 are wanted"),
        (["--k", "99"], "--k is 99, but this trunk has 3 blocks"),
        (["--ways", "full,fulll"], "way 'fulll' is not known; choose from scratch, head,"),
        (["--counts", "2,few"], "--counts '2,few' --seeds 3: give numbers such as 2,20"),
        (["--counts", "-2"], "--counts '-2' --seeds 3: give numbers such as 2,20"),
        (["--counts", ""], "--counts '' --seeds 3: give numbers such as 2,20"),
        (["--seeds", "0"], "--counts '2,5,20,80' --seeds 0: .* at least 1 seed"),
        (["--data", "missing"], "missing: no such file or folder"),
        (["--known", "nothing"], "nothing holds no"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(mtl.problem, "learn", refuse)
    (tmp_path / "nothing").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_the_small_network_takes_no_speech_and_a_trunk_needs_a_head(
    recipe, tmp_path, manifest, vit, folder, monkeypatch
):
    monkeypatch.setattr(mtl.problem, "learn", refuse)
    for argv in (["--data", manifest], ["--known", folder]):
        with pytest.raises(ValueError, match="--known and speech need --trunk"):
            recipe.main([*map(str, argv), "--out", str(tmp_path / "out")])
    argv = ["--trunk", vit, "--data", folder, "--known", folder]
    with pytest.raises(ValueError, match=r"--known tests a head, but there is none: .*vit"):
        recipe.main([*map(str, argv), "--out", str(tmp_path / "out")])


def test_an_unknown_way_ends_with_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(RECIPE), "--ways", "none"])
    with pytest.raises(SystemExit, match=r"^error: way 'none' is not known; choose from [^\n]*$"):
        runpy.run_path(str(RECIPE), run_name="__main__")
