"""painted: what a report says of translations, of figures made up so that all can be had by hand."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mtl.painted import costs, show
from mtl.report import Report
from mtl.study import Result

RIGHT = {"source-only": 0.4, "dann": 0.6, "unit": 0.8, "target-only": 1.0}
COSTS = {"source-only": 0.1, "dann": 0.2, "unit": 0.75, "target-only": 0.1}


def png(shade):
    file = io.BytesIO()
    Image.fromarray(np.full((2, 2, 3), shade, np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def results(seeds=3):
    found = []
    for seed in range(seeds):
        for arm, right in RIGHT.items():
            value = right + 0.02 * seed * (arm == "unit")
            figures = {"target": {"value": value, "metric": "accuracy", "n": 10, "counts": []}}
            figures["cost"] = COSTS[arm] * (1 + seed)
            if arm == "unit":
                rows = {
                    "source": [png(0), png(9)],
                    "translated": [png(7), png(8)],
                    "target": [png(1)] * 2,
                }
                figures |= {"kept": 0.5 + 0.1 * seed, "sure": 0.9, "nearer": [8.0, 2.0 + seed]}
                figures["sheet"] = {} if seed else rows
            found.append(Result({"arm": arm, "seed": seed}, figures))
    return [*found, Result({"arm": "unit", "seed": 9}, None, "bad")]


@pytest.fixture
def report():
    made = Report("test", 0, {})
    show(made, results())
    return made


def test_what_translates_is_compared_with_what_does_not(report):
    (claim,) = report.claims
    assert claim.claim == "unit: more is right than with dann"
    assert (claim.verdict, claim.difference) == ("true", pytest.approx(0.22))


def test_a_step_is_counted_in_those_of_the_source_alone(report):
    (line,) = [note for note in report.notes if note.startswith("seconds")]
    assert line.endswith(
        "source-only 0.200, dann 0.400 (2.0 times), unit 1.500 (7.5 times), target-only 0.200 (1.0 times)"
    )
    assert costs({"dann": [{"cost": 0.2}]}) == ["seconds of a step: dann 0.200"]
    assert costs({"dann": [{}]}) == [], "of runs that were kept from before"


def test_the_judge_is_quoted(report):
    (line,) = [note for note in report.notes if note.startswith("unit")]
    assert "60.0% of translations" in line and "(90.0% right on those)" in line
    assert "was 8, that of translations is 3" in line


def test_the_sheet_is_drawn_once(report):
    ((drawn, caption),) = report.figures
    assert caption.startswith("unit: pictures of the source") and drawn.count("<image") == 6
    assert [name for name in ("source", "translated", "target") if f">{name}<" in drawn] == [
        "source",
        "translated",
        "target",
    ]


def test_of_a_control_nothing_is_claimed():
    made = Report("test", 0, {})
    show(made, results(), claimed=False)
    assert not made.claims and len(made.notes) == 1 and len(made.figures) == 1
