"""What is said of runs together and alone: figures made up so that every number can be had by hand."""

import math
import statistics

import numpy as np
import pytest
import torch

from mtl.config import Fit
from mtl.data.images import Images, Picture, from_arrays
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.regress import Regress
from mtl.model import Model
from mtl.predict import predict
from mtl.report import Report
from mtl.stems.pixels import Pixels
from mtl.stream import Stream
from mtl.study import Result
from mtl.together import figures, numbers, refuse_none, tell
from mtl.trunks.resnet import ResNet

# Accuracies by seed. Together, digits gain 0.02, 0.03, 0.04, and words lose 0.00, 0.01, 0.02.
ALONE = {"digits": (0.90, 0.91, 0.92), "words": (0.80, 0.81, 0.82)}
TOGETHER = {"digits": (0.92, 0.94, 0.96), "words": (0.80, 0.80, 0.80)}


def task(value, metric="accuracy", n=4, skipped=None):
    right = [float(place < round(value * n)) for place in range(n)]
    counts = [[hit, 1.0, f"x{place}"] for place, hit in enumerate(right)]
    return {"value": value, "metric": metric, "n": n, "counts": counts, "skipped": skipped or {}}


def run(arm, seed, values, count=5, history=(), **more):
    """A run of one task alone, or of several together."""
    alone = arm == "alone"
    cell = {"arm": arm, "task": next(iter(values)) if alone else "", "count": count, "seed": seed}
    cell |= {"tasks": 0 if alone else len(values)} | more
    tasks = {n: v if isinstance(v, dict) else task(v) for n, v in values.items()}
    return Result(cell, {"tasks": tasks, "history": list(history), "untrained": {}})


def runs(count=5, **more):
    found = []
    for seed in range(3):
        found += [run("alone", seed, {n: v[seed]}, count, **more) for n, v in ALONE.items()]
        together = {n: v[seed] for n, v in TOGETHER.items()}
        found.append(run("together", seed, together, count, **more))
    return found


def told(results, margin=0.0):
    report = Report("test", 0, {})
    tell(report, results, "count", "examples of each class", margin)
    return report


def interval(values):
    """Student's t of three values, from a table: 4.3027 standard errors."""
    mean, error = statistics.mean(values), statistics.stdev(values) / math.sqrt(3)
    return pytest.approx((mean - 4.3027 * error, mean + 4.3027 * error), abs=1e-5)


def claims(report):
    return {claim.claim.partition(": ")[2]: claim for claim in report.claims}


def test_the_table_has_the_mean_and_range_of_each_task():
    rows = told(runs()).comparisons
    assert list(rows) == ["alone, count 5", "together 2, count 5"]
    digits = rows["together 2, count 5"]["digits"]
    assert digits["accuracy"] == pytest.approx(0.94) and digits["range"] == [0.92, 0.96]
    assert (digits["n"], digits["seeds"]) == (4, 3)
    assert rows["alone, count 5"]["words"]["accuracy"] == pytest.approx(0.81)


def test_gains_are_judged_for_each_task_and_on_average():
    report = told(runs())
    found = claims(report)
    assert list(found) == [
        f"fewer errors {where}" for where in ("in digits", "in words", "on average")
    ]
    digits, words, mean = found.values()
    assert digits.difference == pytest.approx(0.03) and digits.interval == interval(
        [2e-2, 3e-2, 4e-2]
    )
    assert words.difference == pytest.approx(-0.01)
    assert (digits.verdict, words.verdict, mean.verdict) == ("true", "undecided", "true")
    assert mean.difference == pytest.approx(0.01) and mean.interval == interval([0.01, 0.01, 0.01])
    # Errors alone: 0.09 and 0.19, of which 0.01 is 1 / 14.
    assert "together 2, count 5: mean error -7.1% against alone, 2 tasks" in report.notes


def test_with_a_margin_it_is_claimed_that_little_is_lost():
    found = claims(told(runs(), margin=0.05))
    assert list(found)[1] == "less than 5 points more errors in words"
    words = found["less than 5 points more errors in words"]
    assert words.difference == pytest.approx(-0.01), "what was measured, without the margin"
    low, high = words.interval
    assert (low, high) == interval([0.0, -0.01, -0.02])
    assert low > -0.05 and words.verdict == "true"
    narrow = claims(told(runs(), margin=0.02))["less than 2 points more errors in words"]
    assert low < -0.02 < high and narrow.verdict == "undecided"
    worse = [r for r in runs() if r.cell["arm"] == "alone"]
    worse += [run("together", seed, {"digits": 0.5, "words": 0.5}) for seed in range(3)]
    assert {claim.verdict for claim in told(worse, 0.02).claims} == {"false"}


def test_what_is_an_error_already_counts_the_other_way():
    results = [run("alone", seed, {"read": task(0.5, "cer")}) for seed in range(3)]
    results += [run("together", seed, {"read": task(0.3, "cer"), "x": 0.5}) for seed in range(3)]
    report = told(results)
    assert claims(report)["fewer errors in read"].difference == pytest.approx(0.2)
    assert "together 2, count 5: mean error -40.0% against alone, 1 tasks" in report.notes


def test_draws_count_as_seeds_and_only_those_that_all_tasks_have():
    results = []
    for draw in (0, 1):
        for seed in (0, 1):
            if (draw, seed) != (1, 1):
                results.append(run("alone", seed, {"words": 0.5 + draw / 10}, draw=draw))
            results.append(run("alone", seed, {"digits": 0.5}, draw=draw))
            both = {"digits": 0.7, "words": 0.8}
            results.append(run("together", seed, both, draw=draw))
    report = told(results)
    found = claims(report)
    assert found["fewer errors in digits"].difference == pytest.approx(0.2)
    assert found["fewer errors in words"].difference == pytest.approx((0.3 + 0.3 + 0.2) / 3)
    assert found["fewer errors on average"].difference == pytest.approx((0.25 + 0.25 + 0.2) / 3)
    assert report.comparisons["alone, count 5"]["words"]["seeds"] == 3


def test_each_number_of_examples_is_judged_and_drawn():
    assert told(runs()).figures == []
    report = told([*runs(5), *runs(50)])
    assert [claim.claim.partition(":")[0] for claim in report.claims] == [
        "together 2, count 5"
    ] * 3 + ["together 2, count 50"] * 3
    ((svg, caption),) = report.figures
    assert svg.startswith("<svg") and "range over tasks and seeds" in caption


def test_many_tasks_are_judged_on_average_alone():
    names = [f"t{number}" for number in range(13)]
    results = [run("alone", seed, {name: 0.5}) for seed in range(2) for name in names]
    results += [run("together", seed, dict.fromkeys(names, 0.75)) for seed in range(2)]
    assert [claim.claim for claim in told(results).claims] == [
        "together 13, count 5: fewer errors on average"
    ]


def test_failed_runs_and_examples_that_were_skipped_are_told_of():
    results = runs()
    lost = task(0.8, skipped={"b.png": "b.png: no picture", "c.png": "x"})
    results.append(run("alone", 3, {"words": lost}))
    results[0].figures["untrained"] = {"a.wav": "no sound"}
    results.append(Result(results[0].cell | {"seed": 4}, None, "ValueError: too few"))
    notes = told(results).notes
    assert (
        "test examples, which count as errors: 2 could not be used, the first b.png: no picture"
        in notes
    )
    assert "training examples: 1 could not be used, the first a.wav: no sound" in notes
    assert [n for n in notes if n.startswith("failed: ")] == [
        "failed: arm=alone task=digits count=5 seed=4 tasks=0: ValueError: too few"
    ]


def test_arms_without_anything_alone_are_only_tabled():
    report = told([r for r in runs() if r.cell["arm"] == "together"])
    assert report.claims == [] and list(report.comparisons) == ["together 2, count 5"]


def test_the_first_seed_that_was_looked_at_is_diagnosed():
    """Digits are hurt, and only words oppose them; nobody looked at the other seed."""
    pairs = {"digits>digits": 0.5, "words>words": 0.5, "words>digits": -0.1}
    past = {"step": 20, "conflict": {"digits|words": -0.5}, "affinity": pairs}
    joint = [past | {"loss": {"digits": loss, "words": 0.1}} for loss in (2.0, 1.0)]
    single = [{"step": 20, "loss": {"digits": loss}} for loss in (2.0, 0.1)]
    values = {"digits": task(0.1, n=100), "words": task(0.9, n=100)}
    results = [run("together", seed, values, history=joint) for seed in (1, 0)]
    better = {"digits": task(0.9, n=100)}
    results += [run("alone", seed, better, history=single) for seed in (0, 1)]
    report = told(results)
    assert "digits: hurt by joint training, likely conflict with words" in report.notes
    assert "joint training: mean gain -800.0 % of the error" in report.notes
    assert not any(note.startswith("words:") for note in report.notes), "it was not trained alone"


# The figures of a run


def pictures(count, seed=0):
    """Dark and bright squares."""
    x = np.random.default_rng(seed).integers(0, 56, (count, 8, 8), np.uint8)
    y = np.arange(count) % 2
    return from_arrays(x + (200 * y[:, None, None]).astype(np.uint8), y, f"made{seed}")


def network(*tasks):
    torch.manual_seed(0)
    return Model({"images": Pixels(1, 8, 4)}, ResNet(4, [8]), tasks, {"more": "images"})


def test_figures_count_what_the_model_says(tmp_path):
    shade = Task("shade", "images", Classify(["0", "1"]), label="label")
    light = Task("light", "more", Regress([0.0], [1.0]))
    model = network(shade, light)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"none")
    learnt = {"images": Stream(Images([*pictures(6), Picture("bad", "0", bad)], model), 7)}
    fitted = fit(model, learnt, Fit(steps=2, dry_run=False, log_every=1), show=False)
    shades = [*pictures(9, 1), Picture("lost", "1", bad)]
    greys = [
        Picture(f"g{n}", "", p.source, {"light": float(p.source.mean())})
        for n, p in enumerate(pictures(3, 2))
    ]
    tested = {"images": Images(shades, model), "more": Images(greys, model, "more")}
    found = figures(model, tested, fitted)
    assert list(found["tasks"]) == ["shade", "light"], "as the model has them"
    said = [
        a.predictions["shade"].value for a in predict(model, Images(shades[:9], model), "images")
    ]
    right = [float(value == picture.label) for value, picture in zip(said, shades, strict=False)]
    own = found["tasks"]["shade"]
    assert (own["metric"], own["n"]) == ("accuracy", 10)
    assert own["value"] == pytest.approx(sum(right) / 10), "what cannot be read is an error"
    assert own["counts"] == [[r, 1.0, p.id] for r, p in zip([*right, 0.0], shades, strict=True)]
    assert list(own["skipped"]) == ["lost"] and list(found["untrained"]) == ["bad"]
    assert [entry["step"] for entry in found["history"]] == [1, 2]
    read = predict(model, Images(greys, model, "more"), "more")
    errors = [
        abs(a.predictions["light"].value - p.labels["light"])
        for a, p in zip(read, greys, strict=True)
    ]
    assert found["tasks"]["light"]["metric"] == "mae"
    assert found["tasks"]["light"]["value"] == pytest.approx(np.mean(errors), rel=1e-4)


def test_numbers_and_counts_are_read_or_refused():
    assert numbers(" 2,10") == [2, 10]
    for text in ("", "2,", "two", "-1", "1.5"):
        with pytest.raises(ValueError, match="give whole numbers, comma separated, such as 2,10"):
            numbers(text)
    refuse_none(seeds=1, batch=2)
    with pytest.raises(ValueError, match="--batch is -1; give at least 1"):
        refuse_none(seeds=1, batch=-1)
