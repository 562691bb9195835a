"""Bias and Sure: tables, claims and notes that follow from the figures."""

import pytest

from mtl.report import Report
from mtl.studies.bias import tell
from mtl.studies.sure import tell as tell_trials
from mtl.study import Result


def split(arm, seed, alone, seen, unseen, calibrated):
    harmonic = 2 * seen * unseen / (seen + unseen) if seen + unseen else 0.0
    rates = {
        "seen": seen,
        "unseen": unseen,
        "harmonic": harmonic,
        "calibrated harmonic": calibrated,
    }
    figures = {"metric": "accuracy", "value": alone, "n": 10, "bias": [[0.0, 0.9], [0.8, 0.0]]}
    figures |= {name: {"value": value, "n": 50} for name, value in rates.items()}
    figures |= {"spread": [[10, 1.0], [20, 0.1]]} if "+g" in arm else {}
    return Result({"arm": arm, "seed": seed}, figures)


def test_zero_shot_is_told_with_its_bias():
    results = [split("softmax", s, 0.8 + s / 100, 0.9, 0.2, 0.6 + s / 100) for s in range(4)]
    results += [split("one-hot", s, 0.1, 0.9, 0.0, 0.0) for s in range(4)]
    results += [split("squared+g", s, 0.1, 0.1, 0.1, 0.1) for s in range(4)]
    results.append(Result({"arm": "dap", "seed": 0}, None, "ValueError: broken"))
    report = Report("zero_shot", 0, {})
    tell(report, results)
    row = {name: column["softmax"] for name, column in report.comparisons.items()}
    assert (
        row["unseen alone"]["accuracy"] == pytest.approx(0.815) and row["unseen alone"]["n"] == 10
    )
    assert row["harmonic mean"]["accuracy"] == pytest.approx(2 * 0.9 * 0.2 / 1.1)
    assert row["harmonic, calibrated"]["range"] == pytest.approx([0.6, 0.63])
    claims = {claim.claim: claim for claim in report.claims}
    assert len(claims) == 3 and all(claim.verdict == "true" for claim in claims.values())
    assert claims[
        "softmax: attributes beat one-hot for unseen classes"
    ].difference == pytest.approx(0.715)
    bias = claims["softmax: among all, seen classes fare better than unseen"]
    assert bias.difference == pytest.approx(0.7)
    assert any("failed: arm=dap" in note for note in report.notes)
    assert any(
        n.startswith("softmax: unseen alone 81.5% (79.4% to 83.6%), calibr") for n in report.notes
    )
    captions = [caption for _, caption in report.figures]
    assert len(captions) == 3 and captions[-1].startswith("learnt descriptions")


def trial(part, arm, seed, wrong, views=None):
    figures = {"metric": "error", "value": sum(wrong) / 20 / len(wrong), "n": 20 * len(wrong)}
    figures["counts"] = [[float(w), 20.0, f"trial {n}"] for n, w in enumerate(wrong)]
    figures["sure"] = [[0.9, 1.0], [0.7, 0.0]] * 10
    if views:
        figures["views"] = trial(part, arm, seed, views).figures
    return Result({"part": part, "arm": arm, "seed": seed}, figures)


def test_one_shot_is_told_against_pixels():
    results = [trial("small1", "pixels", 0, [14, 16, 15] * 4)]
    results.append(trial("small1", "prototype", 0, [2, 3, 4] * 4, [1, 2, 3] * 4))
    results.append(Result({"part": "small2", "arm": "siamese", "seed": 0}, None, "ValueError: no"))
    report = Report("one_shot", 0, {})
    tell_trials(report, results)
    assert report.comparisons["prototype"]["small1"]["error"] == pytest.approx(0.15)
    assert report.comparisons["prototype, views"]["small1"]["error"] == pytest.approx(0.1)
    assert "pixels, views" not in report.comparisons
    first, second = report.claims
    assert first.claim == "small1: prototype errs less than the nearest pixels"
    assert first.verdict == second.verdict == "true"
    assert (first.difference, second.difference) == pytest.approx((0.6, 0.05))
    assert any(
        "prototype: error 15.0% (" in note and "calibration error 40.0%" in note
        for note in report.notes
    )
    assert len(report.figures) == 2
