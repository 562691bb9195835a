"""What is said of adapted runs: figures made up so that every number can be had by hand."""

import statistics

import pytest

from mtl.across import advice, cause, classifier, tell
from mtl.report import Report
from mtl.study import Result

ALONE = {"right": (0.5, 0.6, 0.7), "distance": 1.8}
ARMS = {
    "source-only": ALONE,
    "dann": {"right": (0.7, 0.8, 0.9), "distance": 0.8},
    "ddc": {"right": (0.4, 0.4, 0.4), "distance": 0.6},
    "dan": {"right": (0.3, 0.3, 0.3), "distance": 1.7},
    "target-only": {"right": (0.99, 0.99, 0.99), "distance": 2.0},
}


def accuracy(value):
    counts = [[float(place < round(10 * value)), 1.0, f"x{place}"] for place in range(10)]
    return {"metric": "accuracy", "value": value, "n": 10, "counts": counts}


def run(arm, seed, right, distance, told=(), certain=None):
    figures = {"target": accuracy(right), "source": accuracy(0.9), "distance": distance}
    figures["validators"] = {"entropy": certain, "source accuracy": 0.9 - 0.1 * (arm == "dann")}
    figures |= {"told": list(told), "untrained": {}}
    figures["map"] = {} if seed else {"source": [[0.0, 0.1]], "target": [[1.0, 0.9]]}
    return Result({"arm": arm, "seed": seed}, figures)


@pytest.fixture(scope="module")
def report():
    results = [
        run(
            arm,
            seed,
            given["right"][seed],
            given["distance"],
            [[20, 0.9], [40, 1.0]] * (arm == "dann"),
        )
        for seed in range(3)
        for arm, given in ARMS.items()
    ]
    report = Report("test", 0, {})
    tell(report, results)
    return report


def test_the_table_has_a_row_for_each_arm(report):
    assert list(report.comparisons) == ["target", "source"]
    rows = report.comparisons["target"]
    assert list(rows) == list(ARMS)
    for arm, given in ARMS.items():
        assert rows[arm]["accuracy"] == pytest.approx(statistics.mean(given["right"]))
    assert rows["dann"]["range"] == [0.7, 0.9] and rows["dann"]["seeds"] == 3


def test_each_method_is_judged_by_what_it_gains_and_by_the_distance(report):
    claims = {claim.claim.split(" (")[0]: claim for claim in report.claims}
    gain = claims["dann: more of the target is right than from the source alone"]
    assert (gain.verdict, gain.difference) == ("true", pytest.approx(0.2))
    lost = claims["dan: more of the target is right than from the source alone"]
    assert (lost.verdict, lost.difference) == ("false", pytest.approx(-0.3))
    falls = claims["dann: the A-distance falls"]
    assert (falls.verdict, falls.difference) == ("true", pytest.approx((1.8 - 0.8) / 2))
    assert len(claims) == 6, "two for each of three methods, none for the others"


def test_of_a_control_the_opposite_is_claimed():
    results = [
        run(arm, seed, ARMS[arm]["right"][seed], 1.0)
        for seed in range(3)
        for arm in ("source-only", "dann", "dan")
    ]
    report = Report("test", 0, {})
    tell(report, results, harmful=True)
    claims = {claim.claim: (claim.verdict, claim.difference) for claim in report.claims}
    name = "{}: less of the target is right than from the source alone"
    assert claims[name.format("dan")] == ("true", pytest.approx(0.3))
    assert claims[name.format("dann")] == ("false", pytest.approx(-0.2))


def test_negative_transfer_is_said_with_its_likelier_cause(report):
    (data,) = [note for note in report.notes if note.startswith("dan: NEGATIVE")]
    (method,) = [note for note in report.notes if note.startswith("ddc: perhaps NEGATIVE")]
    assert "30.0 points" in data and "still far apart (A-distance 1.80 -> 1.70)" in data
    assert "20.0 points" in method and "mixed up classes" in method
    assert not any("NEGATIVE" in note and "dann" in note for note in report.notes)
    assert cause(2.0, 1.01) != cause(2.0, 0.99)


@pytest.mark.parametrize(
    ("right", "distance", "said"),
    [
        ((0.3, 0.4, 0.5), 0.5, "dan: NEGATIVE TRANSFER, 20.0 points; likely domains are close"),
        ((0.2, 0.6, 0.7), 0.5, "dan: perhaps NEGATIVE TRANSFER, 10.0 points; likely domains"),
        ((0.3, 0.4, 0.5), None, "dan: NEGATIVE TRANSFER, 20.0 points; too few to say why"),
        ((0.5, 0.6, 0.7), 0.5, ""),
    ],
)
def test_negative_transfer_is_as_sure_as_its_interval(right, distance, said):
    arms = {"source-only": ALONE, "dan": {"right": right, "distance": distance}}
    results = [
        run(arm, seed, given["right"][seed], given["distance"])
        for seed in range(3)
        for arm, given in arms.items()
    ]
    report = Report("test", 0, {})
    tell(report, results)
    notes = [note for note in report.notes if "NEGATIVE" in note]
    assert len(notes) == bool(said) and all(note.startswith(said) for note in notes)


def test_distances_curves_and_maps_are_shown(report):
    (line,) = [note for note in report.notes if note.startswith("proxy A-distance")]
    assert "source-only 1.80, dann 0.80, ddc 0.60, dan 1.70" in line
    captions = [caption for _, caption in report.figures]
    assert any(c.startswith("domain classifier") for c in captions)
    assert any("t-SNE" in c for c in captions)
    (maps,) = [svg for svg, caption in report.figures if "t-SNE" in caption]
    assert all(f">{arm}<" in maps for arm in ARMS)
    assert any("domain classifier at 1 to the end" in note for note in report.notes)


def test_validators_advise_beside_the_oracle():
    certain = {"source-only": -0.5, "dann": -0.1, "target-only": 0.0}
    found = {
        arm: {0: run(arm, 0, ARMS[arm]["right"][0], 1.0, certain=value).figures}
        for arm, value in certain.items()
    }
    assert advice(found) == [
        "advice of validators, which chose nothing here:",
        "entropy: would choose dann (70.0% right)",
        "source accuracy: would choose source-only (50.0% right)",
        "labels of the test: the oracle dann (70.0%)",
    ]
    found["dann"][0]["validators"]["entropy"] = None
    assert not any("entropy" in line for line in advice(found))
    assert advice({"source-only": found["source-only"]}) == []


@pytest.mark.parametrize(
    ("accuracies", "starts"),
    [
        ([], ""),
        ([0.5] * 8, "at chance"),
        ([0.5, 0.7, 0.5], ""),
        ([0.5, 0.7, 0.2, 0.9], "far below chance"),
        ([0.5, 0.9, *[0.97, 1.0] * 3], ""),
        ([0.5, 0.7, 0.9, 0.9, 0.9, 0.9, 0.98, 1.0], "at 1 to the end"),
    ],
)
def test_domain_classifiers_that_do_not_work(accuracies, starts):
    said = classifier(accuracies)
    assert said.startswith(starts) and bool(said) == bool(starts)


def test_a_failed_run_is_noted_and_the_others_told():
    results = [run("source-only", 0, 0.5, None), Result({"arm": "dann", "seed": 0}, None, "bad")]
    report = Report("test", 0, {})
    tell(report, results)
    failed = [note for note in report.notes if note.startswith("failed")]
    assert failed == ["failed: arm=dann seed=0 place=target: bad"], "once, not for each domain"
    assert list(report.comparisons["target"]) == ["source-only"] and report.claims == []
