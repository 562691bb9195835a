import pytest
from loading import load, refuse, run


@pytest.fixture
def recipe():
    return load("heterogeneous")


def test_smoke_trains_alone_and_together(recipe, tmp_path, monkeypatch):
    found = run(recipe, tmp_path, "--smoke", "--fit.threads", 1)
    rows = {arm: rows["4 utterances"] for arm, rows in found["comparisons"].items()}
    assert list(rows) == ["alone", "together"]
    assert {(row["n"], row["seeds"]) for row in rows.values()} == {(4, 1)}
    assert found["claims"] == [] and found["notes"][0].startswith("smoke run")
    monkeypatch.setattr(recipe.Unlike, "network", refuse)
    assert run(recipe, tmp_path, "--smoke")["comparisons"] == found["comparisons"]


def test_fewer_errors_count_as_a_gain(recipe, tmp_path, monkeypatch):
    values = {"alone": 0.5, "together": 0.3}
    seen = []

    class Unlike:
        notes, target = [], type("T", (), {"metric": "cer", "few": lambda self, n, s: [n, s]})()

        def __init__(self, *_):
            pass

        def network(self, arm):
            return arm

        def run(self, arm, items, settings, seconds):
            seen.append((arm, items[0], settings.seed, seconds))
            value = values[arm] + 0.01 * settings.seed
            return {"metric": "cer", "value": value, "n": 3, "counts": []}

    monkeypatch.setattr(recipe, "Unlike", Unlike)
    monkeypatch.setattr(recipe, "made", lambda *_: ())
    found = run(recipe, tmp_path, "--counts", "60,0", "--seeds", 2)
    assert {item[3] for item in seen} == {(12.0, 48.0)} and len(seen) == 8
    claims = {claim["claim"]: claim["difference"] for claim in found["claims"]}
    assert claims == {
        f"{n} utterances: fewer errors beside tasks of another kind of input": pytest.approx(0.2)
        for n in ("60", "all")
    }
    assert found["comparisons"]["alone"]["60 utterances"]["cer"] == pytest.approx(0.505)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seeds", "0"], "--seeds is 0; give at least 1"),
        (["--seconds", "0"], "--seconds and --source-seconds are above 0"),
        (["--data", "a.jsonl"], "--data and --source belong together"),
    ],
)
def test_wrong_options_are_refused_before_training(argv, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "study", refuse)
    with pytest.raises(ValueError, match=message) as error:
        recipe.main([*argv, "--out", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
