import pytest
import yaml
from loading import load, refuse, run

import mtl.made
import mtl.problem
from mtl.report import Report
from mtl.study import Result

KINDS = {"base", "selfer frozen", "selfer tuned", "transfer frozen", "transfer tuned"}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path_factory.getbasetemp() / "mtl"))


@pytest.fixture
def recipe():
    return load("layer_transfer")


def forbid_learning(recipe, patched):
    patched.setattr(mtl.problem, "learn", refuse)
    patched.setattr(recipe, "learn", refuse)


def test_smoke_gives_both_pairs_and_does_nothing_twice(recipe, tmp_path, monkeypatch):
    argv = ["--smoke", "--images.threads", 1, "--speech.threads", 1]
    found = run(recipe, tmp_path, *argv)
    assert set(found["comparisons"]) == KINDS
    assert list(found["comparisons"]["base"]) == ["images, 0 of 4", "speech, 0 of 5"]
    cut = [f"images, {k} of 4" for k in (1, 4)] + [f"speech, {k} of 5" for k in (1, 5)]
    for kind in KINDS - {"base"}:
        rows = found["comparisons"][kind]
        assert list(rows) == cut, "smoke takes the first and the last layer"
        assert [("accuracy" in row, row["n"]) for row in rows.values()] == [(True, 34)] * 2 + [
            (False, 4)
        ] * 2
    assert found["claims"] == [] and "smoke run: the figures mean nothing" in found["notes"]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("<svg") == 2 and "speech: mean and range over seeds" in page
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["seeds"] == 1
    networks = {folder.name for folder in tmp_path.glob("*/networks/*")}
    assert networks == {f"{pair}-{part}-0" for pair in ("images", "speech") for part in "AB"}

    with monkeypatch.context() as patched:
        forbid_learning(recipe, patched)
        again = run(recipe, tmp_path, *argv)
    for name in ("comparisons", "claims"):
        assert again[name] == found[name]


def test_the_first_layers_and_all_of_them_are_claimed_of(recipe):
    results = []
    for kind, kept, value in (("base", 0, 0.75), *(("transfer frozen", k, 0.5) for k in (1, 3))):
        cell = {"pair": "images", "kind": kind, "kept": kept, "seed": 0}
        figures = {"metric": "accuracy", "value": value, "n": 9, "counts": [[value, 1, "x"]] * 9}
        results.append(Result(cell, figures))
    report = Report("test", 0, {})
    recipe._tell(report, "images", results, "accuracy")
    assert [(claim.claim, claim.difference) for claim in report.claims] == [
        ("images: 1 of 3 layers, frozen, cost less than 2 %", -0.25),
        ("images: 3 of 3 layers, frozen, cost more than 2 %", 0.25),
    ]


def test_other_settings_train_anew(recipe, tmp_path, monkeypatch):
    argv = ["--smoke", "--pairs", "images"]
    run(recipe, tmp_path, *argv)
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/cells/*")}
    run(recipe, tmp_path, *argv, "--images.lr", 1e-3)
    cells = set(tmp_path.glob("*/cells/*"))
    assert len(kept) == 9 and len(cells) == 18
    assert all(file.stat().st_mtime_ns == time for file, time in kept.items())


def test_the_whole_grid_cuts_behind_every_layer(recipe, tmp_path):
    lab = recipe.Lab(recipe.Config(out=tmp_path, seeds=2))
    small = {"images": mtl.made.signs(0, 5), "speech": (None, None)}
    lab.tasks = lambda pair, seed: small[pair]
    cells = lab.cells("images")
    assert len(cells) == len(set(cells)) == 2 * (1 + 4 * 4)
    assert {(c.kind, c.kept) for c in cells if c.seed == 1} == {
        ("base", 0),
        *((kind, kept) for kind in KINDS - {"base"} for kept in (1, 2, 3, 4)),
    }


LAYERS = ["stems.", "trunk.blocks.b1.", "trunk.blocks.b2.", "trunk.blocks.b3.", "heads."]


@pytest.mark.parametrize("source", ["selfer", "transfer"])
@pytest.mark.parametrize("manner", ["frozen", "tuned"])
def test_the_first_layers_come_from_the_other_network(
    source, manner, recipe, tmp_path, monkeypatch
):
    lab = recipe.Lab(recipe.Config(out=tmp_path, smoke=True))
    lab.settings["images"].steps = 1
    seen = []
    monkeypatch.setattr(recipe, "figures", lambda model, *_: seen.append(model) or {})
    starts, learn = [], recipe.learn

    def noted(model, problem, items, config):
        starts.append({name: value.clone() for name, value in model.state_dict().items()})
        learn(model, problem, items, config)

    monkeypatch.setattr(recipe, "learn", noted)
    lab.run(recipe.Cell("images", f"{source} {manner}", 2, 0))
    end, start = seen[0].state_dict(), starts[0]
    a, b = (lab._network("images", part, 0).state_dict() for part in "AB")
    given, other = (a, b) if source == "transfer" else (b, a)
    for name, value in start.items():
        layer = next(place for place, prefix in enumerate(LAYERS) if name.startswith(prefix))
        assert value.equal(given[name]) == (layer < 2) or value.dim() == 1, name
        assert not value.equal(other[name]) or value.dim() == 1, name
        held = manner == "frozen" and layer < 2
        assert end[name].equal(value) == held, name


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--pairs", "images,sounds"], "pair 'sounds' is not known; choose from images, speech"),
        (["--pairs", ""], "pair '' is not known; choose from images, speech"),
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    forbid_learning(recipe, monkeypatch)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
