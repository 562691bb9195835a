import pytest

from mtl.report import Report
from mtl.studies.gained import tell
from mtl.study import Result


def cell(arm, seed, value, task="labels"):
    figures = {"metric": "error", "value": value, "n": 9, "counts": []}
    return Result({"task": task, "arm": arm, "count": 10, "seed": seed}, figures)


def test_shares_of_errors_are_judged_seed_by_seed():
    results = []
    for seed in range(3):
        base = 0.2 + 0.1 * seed
        ways = {"raw pixels": 1, "PCA": 0.9, "random dictionary": 0.5, "sparse coding": 0.5}
        results += [cell(arm, seed, base * share) for arm, share in ways.items()]
    report = Report("x", 0, {})
    tell(report, results)
    found = {claim.claim: claim for claim in report.claims}
    raw = found["sparse coding, 10 labels: at least 30% fewer errors than raw pixels"]
    assert (raw.verdict, raw.difference) == ("true", pytest.approx(0.5))
    same = found["sparse coding, 10 labels: fewer errors than random dictionary"]
    assert same.difference == pytest.approx(0.0) and same.verdict != "true"
    assert list(report.comparisons["raw pixels"]) == ["10 labels"]
    assert not any("autoencoder" in claim for claim in found)


def test_clusters_are_told_apart_from_labels():
    runs = [(0.2, 0.5), (0.3, 0.7), (0.2, 0.6)]
    results = [
        Result(
            {"task": "clusters", "arm": "texts", "count": 0, "seed": seed},
            {"k-means": 0.1, "alone": alone, "self-taught": helped},
        )
        for seed, (alone, helped) in enumerate(runs)
    ]
    report = Report("x", 0, {})
    tell(report, results)
    (claim,) = report.claims
    assert claim.verdict == "true" and claim.difference == pytest.approx((0.3 + 0.4 + 0.4) / 3)
    assert report.notes[0].endswith("k-means 0.100, alone 0.233, self-taught 0.600")
    assert not report.comparisons and len(report.figures) == 1
