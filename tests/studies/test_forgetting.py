import json

import pytest

from mtl.metrics import METRICS
from mtl.report import Report
from mtl.studies.forgetting import AHEAD, LAST, TARGET, balanced, claims, fewer, tell
from mtl.study import Result

TASKS = ["de", "en", "es"]


def errors(value, n=40, outputs="x"):
    """So many examples of four speakers, 100 characters each, with as many errors on average."""
    counts = [[100 * value + (5 if i % 2 else -5) * value, 100, f"s{i % 4}"] for i in range(n)]
    found = {"metric": "cer", "value": value, "n": n, "counts": counts}
    return found | {"outputs": outputs, "skipped": {}}


def result(arm, after, end=None, seed=0, course="languages", **more):
    tasks = {}
    names = TASKS[-len(after) :] if arm == "random" else TASKS[: len(after)]
    names = ["en"] if arm == "harmful" else names
    for place, name in enumerate(names):
        last = after[place] if end is None else end[place]
        tasks[name] = {
            "after": errors(after[place]),
            "end": errors(last, outputs="x" if last == after[place] else "y"),
        }
        if place:
            tasks[name] |= {"milliseconds": 10.0 * place, "trained": 2_000_000, "parameters": 5e6}
    figures = {"tasks": tasks, "one": arm != "scratch", "order": TASKS, "untrained": {}}
    return Result({"course": course, "arm": arm, "seed": seed}, figures | {"notes": []} | more)


def told(results):
    report = Report("progressive", 0, {})
    tell(report, results)
    return report


def test_tasks_of_unequal_size_count_the_same():
    found = balanced([errors(0.1, n=400), errors(0.5, n=4)])
    assert found["value"] == pytest.approx(0.3) and found["n"] == 404
    rate = sum(row[0] for row in found["counts"]) / sum(row[1] for row in found["counts"])
    assert rate == pytest.approx(0.3)


def test_rows_tell_errors_means_and_what_was_forgotten():
    report = told(
        [
            result("scratch", [0.1, 0.4, 0.6]),
            result("tuned", [0.1, 0.2, 0.4], [0.5, 0.3, 0.4]),
            result("random", [0.3, 0.5]),
        ]
    )
    table = report.comparisons
    value = {arm: {row: f["cer"] for row, f in rows.items()} for arm, rows in table.items()}
    assert value["scratch"] == pytest.approx(
        {"de": 0.1, "en": 0.4, "es": 0.6, AHEAD: 0.5, LAST: 1.1 / 3}
    )
    assert value["tuned"] == pytest.approx(
        {"de": 0.1, "en": 0.2, "es": 0.4, AHEAD: 0.3, LAST: 0.4}
        | {"de forgotten": 0.4, "en forgotten": 0.1}
    )
    assert value["random"] == pytest.approx({"en": 0.3, "es": 0.5, AHEAD: 0.4, "en forgotten": 0.0})
    assert (
        "languages: tuned: outputs of 0 of 2 earlier tasks bit-identical in the end" in report.notes
    )
    assert (
        "languages: random: outputs of 1 of 1 earlier tasks bit-identical in the end"
        in report.notes
    )
    assert not any("scratch: outputs" in note for note in report.notes)
    cost = (
        "languages: tuned: CPU time a step, weights trained: en 10 ms, 2.000 of 5.000 M; es 20 ms, "
    )
    assert any(note.startswith(cost) for note in report.notes)
    assert len(report.figures) == 2 and all(svg.startswith("<svg") for svg, _ in report.figures)


def test_gains_are_shares_of_the_errors_from_scratch():
    """With one seed over speakers, with several over seeds."""
    a, b = ({"arm": arm} for arm in ("new", "old"))
    rows = [Result(like | {"seed": 0}, errors(v)) for like, v in ((a, 0.3), (b, 0.4))]
    found = fewer("less", rows, a, b, 0.2)
    assert found.difference == pytest.approx(0.25) and found.verdict == "true"
    low, high = found.interval
    assert low == pytest.approx(0.25) == high, "the same share for each speaker"
    assert fewer("less", rows, a, b, 0.3).verdict == "false"
    more = [Result(like | {"seed": 1}, errors(v)) for like, v in ((a, 0.1), (b, 0.4))]
    found = fewer("less", rows + more, a, b)
    assert found.difference == pytest.approx(0.5) and found.verdict == "undecided"
    low, high = found.interval
    assert (low + high) / 2 == pytest.approx(0.5) and high - low > 1


def test_claims_compare_with_scratch_with_rivals_and_with_harm():
    results = [
        result("scratch", [0.1, 0.4, 0.6]),
        result("progressive", [0.1, 0.2, 0.3]),
        result("replay", [0.1, 0.2, 0.2], [0.1, 0.1, 0.2]),
        result("harmful", [0.9]),
    ]
    found = {claim.claim: claim for claim in claims("x", results)}
    assert list(found) == [
        "x: progressive: at least 20% fewer errors than scratch from the second task on (relative)",
        "x: replay: fewer errors than scratch from the second task on (relative)",
        "x: progressive: fewer errors than replay in the end",
        "x: a harmful first column makes the second worse than scratch",
    ]
    gain, replay, rival, harm = found.values()
    assert gain.verdict == "true" and gain.difference == pytest.approx(0.5)
    assert gain.difference > TARGET
    assert replay.difference == pytest.approx(0.6)
    assert rival.verdict == "false" and rival.difference == pytest.approx(0.4 / 3 - 0.2)
    assert harm.verdict == "true" and harm.difference == pytest.approx(0.5)


def test_a_share_of_no_errors_is_not_judged():
    rows = [result("progressive", [0.1, 0.05], seed=s) for s in (0, 1)]
    rows += [result("scratch", [0.1, v], seed=s) for s, v in ((0, 0.0), (1, 0.5))]
    claim = claims("x", rows)[0]
    assert claim.claim.endswith("(relative): absolute, as some run has no errors")
    assert claim.difference == pytest.approx(((0 - 0.05) + (0.5 - 0.05)) / 2)
    one = claims("x", [r for r in rows if r.cell["seed"] == 0])[0]
    assert one.verdict == "false" and one.difference == pytest.approx(-0.05)


def test_harm_within_its_interval_is_undecided():
    results = []
    for seed, more in enumerate((-0.05, 0.1, 0.02)):
        results += [result("scratch", [0.1, 0.4], seed=seed)]
        results += [result("harmful", [0.4 + more], seed=seed)]
    (harm,) = (c for c in claims("x", results) if "harmful" in c.claim)
    assert harm.verdict == "undecided" and harm.difference == pytest.approx(0.07 / 3)


def test_scales_shares_and_heat_maps():
    looked = {
        "scales": {"en": {"b2": {"de": 0.5}, "end": {"de": 0.25}}},
        "fisher": {"en": {"de": {"b1": 0.1, "b2": 0.3}, "en": {"b1": 0.9, "b2": 0.7}}},
        "perturbation": {"en": {"de": {"b1": 0.5, "b2": 0.5}, "en": {"b1": 0.5, "b2": 0.5}}},
    }
    report = told(
        [result("progressive", [0.1, 0.2], **looked), result("progressive", [0.1, 0.3], seed=1)]
    )
    note = (
        "languages: progressive: scales of the first column in en: b2 0.5000, end 0.2500; its share of the "
        "Fisher information 20%"
    )
    assert note in report.notes
    assert [caption for _, caption in report.figures][2:] == [
        "languages: shares by column, and block: b1, b2"
    ] * 2


def test_rows_of_several_courses_keep_apart_and_failures_are_told():
    failed = Result({"course": "languages", "arm": "head", "seed": 0}, None, "ValueError: no")
    report = told(
        [result("tuned", [0.1, 0.2]), result("tuned", [0.3, 0.4], course="other"), failed]
    )
    rows = report.comparisons["tuned"]
    assert rows["languages: de"]["cer"] == 0.1 and rows["other: de"]["cer"] == 0.3
    assert f"other: {AHEAD}" in rows and "de" not in rows
    assert "failed: course=languages arm=head seed=0: ValueError: no" in report.notes
    assert json.dumps(report.comparisons) and set(METRICS) & set(rows["other: de"])
