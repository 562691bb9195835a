import pytest

from mtl.report import Report
from mtl.studies.counted import tell
from mtl.study import Result


def cell(part, arm, setting, seed, value):
    figures = {"metric": "error", "value": value, "n": 5, "counts": []}
    return Result({"part": part, "arm": arm, "setting": setting, "seed": seed}, figures)


def test_gains_that_shrink_with_labels_and_grow_with_the_source():
    results = []
    for seed in range(4):
        wobble = 0.01 * seed
        results += [cell("ratio", "KMM", "", seed, 0.95 + wobble / 2)]
        results += [cell("shift", "unweighted", "covariate", seed, 0.4 + wobble)]
        results += [cell("shift", "KMM", "covariate", seed, 0.1)]
        for part, settings in (("labels", ("10", "800")), ("sizes", ("100", "0.1"))):
            for setting, gain in zip(settings, (0.2, -0.05), strict=True):
                results += [cell(part, "target-only", setting, seed, 0.5 + wobble)]
                results += [cell(part, "TrAdaBoost", setting, seed, 0.5 - gain)]
                results += [cell(part, "balanced", setting, seed, 0.5 - gain)]
    report = Report("x", 0, {})
    tell(report, results)
    found = {claim.claim: claim for claim in report.claims}
    assert found["KMM: rank correlation with the true ratio above 0.9"].verdict == "true"
    assert found["covariate shift: weights by KMM take errors off"].difference == pytest.approx(
        0.315
    )
    assert found["the gain of a source shrinks from 10 to 800 target labels"].verdict == "true"
    assert found["with 800 target labels a source hurts"].verdict == "true"
    assert found["the gain of a source grows from 100 to 0.1 times the target"].verdict == "false"
    less = found["10 labels: TrAdaBoost makes at least 20% fewer errors than the target alone"]
    assert less.verdict == "true" and 0.3 < less.difference < 0.5
    assert set(report.comparisons["TrAdaBoost"]) == {
        "10 labels",
        "800 labels",
        "source 100 times",
        "source 0.1 times",
    }
    assert len(report.figures) == 2
