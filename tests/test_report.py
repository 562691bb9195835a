import io
import json
import math
import re
import time
from dataclasses import dataclass

import numpy as np
import pytest
import soundfile
from rich.console import Console
from test_page import Reader

from mtl.data.manifest import read_manifest, write_manifest
from mtl.evaluate import Evaluation, Row
from mtl.fit import Fitted
from mtl.metrics import Interval
from mtl.report import SMOKE, Claim, Report

TASKS = {
    "nl": {
        "cer": 0.078812, "cer_interval": [0.0577, 0.1043], "wer": 0.42155,
        "wer_interval": [-math.inf, math.inf], "n": 100,
    },
    "language": {"accuracy": 0.99336, "accuracy_interval": [0.9881, 0.9979], "n": 600},
}  # fmt: skip


def made():
    claim = Claim("help <nl>", "true", 0.6, Interval(0.51, 0.69))
    report = Report("some_recipe", 3, TASKS, 2, 12.34, {"alone": {"nl": {"cer": 0.1997, "n": 100}}})
    report.claims = [claim, Claim("unknown", "undecided", None, None)]
    report.notes = ["left out 3 & more"]
    return report


def cell(value):
    return "" if value is None else f"{100 * value:.2f}"


def test_page_table_and_file_show_the_same_numbers(tmp_path):
    (tmp_path / "config.yaml").write_text("share: 0.07\n")
    report = made()
    report.write(tmp_path)
    figures = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    reader = Reader((tmp_path / "report.html").read_text("utf-8"))
    columns, *rows = reader.rows
    assert columns == ["task", "n", "metric", "result", "95 % interval", "alone"]
    expected = []
    for task, found in figures["tasks"].items():
        for metric in ("cer", "wer", "accuracy"):
            if metric in found:
                ends = [end for end in found[f"{metric}_interval"] if end is not None]
                interval = " to ".join(f"{100 * end:.1f}" for end in ends)
                alone = figures["comparisons"]["alone"].get(task, {}).get(metric)
                line = [task, str(found["n"]), f"{metric} %", cell(found[metric]), interval]
                expected.append([*line, cell(alone)])
    assert rows == expected
    console = Console(record=True, width=120, file=io.StringIO())
    report.show(console)
    printed = console.export_text()
    for row in rows:
        assert re.search(r"\s+│\s*".join(re.escape(part) for part in row if part), printed)
    for text in ("help <nl>: true, difference +60.0 % (51.0 to 69.0)", "left out 3 & more"):
        assert text in printed and text in reader.text
    assert "unknown: undecided" in printed
    assert figures["claims"][0]["difference"] == 0.6 and figures["claims"][0]["interval"] == [
        0.51,
        0.69,
    ]
    command = f"accelerate launch recipes/some_recipe.py --config {tmp_path / 'config.yaml'}"
    assert command in reader.text and "share: 0.07" in reader.text
    assert "seed 3, 2 process(es), 12 s" in reader.text


@dataclass
class Settings:
    smoke: bool = False


@pytest.mark.parametrize("smoke", [False, True])
def test_a_smoke_run_claims_nothing_and_says_so(smoke, tmp_path, capsys):
    made().publish(Settings(smoke), tmp_path, time.monotonic())
    figures = json.loads((tmp_path / "metrics.json").read_text())
    printed = capsys.readouterr().out
    assert [claim["claim"] for claim in figures["claims"]] == (
        [] if smoke else ["help <nl>", "unknown"]
    )
    assert (SMOKE in figures["notes"]) == smoke == (SMOKE in printed)
    assert ("help <nl>: true" in printed) != smoke


def test_an_interval_without_ends_is_not_shown():
    report = Report("r", 0, {})
    report.claims = [Claim("one ran", "undecided", 0.0, Interval(-math.inf, math.inf))]
    console = Console(record=True, width=120, file=io.StringIO())
    report.show(console)
    assert "one ran: undecided, difference +0.0 %\n" in console.export_text()


def test_runs_that_all_failed_end_in_an_error(tmp_path):
    report = Report("r", 0, {}, notes=["failed: way=full: ValueError: no"])
    with pytest.raises(ValueError, match="no run gave a figure; the first failed: way=full: Val"):
        report.publish(Settings(), tmp_path, time.monotonic())
    assert (tmp_path / "metrics.json").is_file(), "what failed can be looked up"
    report.comparisons = {"2 examples": {"full": {"accuracy": 0.5, "n": 9}}}
    report.publish(Settings(), tmp_path, time.monotonic())


def test_comparisons_alone_make_a_table():
    grid = {"tuned": {"1 layer": {"accuracy": 0.5, "n": 9}}, "frozen": {"2 layers": {"cer": 0.25}}}
    columns, rows = Report("grid", 0, {}, comparisons=grid).table()
    assert columns == ["task", "n", "metric", "tuned", "frozen"]
    assert rows == [
        ["1 layer", "9", "accuracy %", "50.00", ""],
        ["2 layers", "", "cer %", "", "25.00"],
    ]


def row(task, name, reference, prediction, **counts):
    return Row(task, name, "", reference, prediction, 1.0, counts)


def test_errors_can_be_heard_and_confusions_seen(tmp_path):
    tone = np.sin(np.arange(8000) / 5)
    soundfile.write(tmp_path / "a.wav", np.tile(tone, 4), 16000)
    lines = [
        {"audio_filepath": "a.wav", "duration": 0.5, "offset": 0.5, "id": "x", "text": "ab"},
        {"audio_filepath": "none.wav", "duration": 0.5, "id": "y", "text": "ab"},
    ]
    write_manifest(tmp_path / "m.jsonl", lines)
    rows = [row("nl", "x", "ab", "<b>", cer=(2, 2)), row("nl", "z", "a", "a", cer=(0, 1))]
    rows += [row("cy", "y", "ab", "b", cer=(1, 2)), row("cy", "w", "ab", "ab", cer=(0, 2))]
    rows += [row("language", str(n), "nl", "cy", accuracy=(0, 1)) for n in range(7)]
    report = Report("r", 0, Evaluation(rows).tasks())
    report.add_errors(Evaluation(rows), read_manifest(tmp_path / "m.jsonl"))
    assert report.notes == ["worst nl: 'ab' heard as '<b>'", "worst cy: 'ab' heard as 'b'"]
    report.write(tmp_path)
    html = (tmp_path / "report.html").read_text("utf-8")
    reader = Reader(html)
    assert html.count("<audio") == 1, "the other one cannot be read"
    assert len(re.search(r"wav;base64,([^\"]*)", html)[1]) * 3 / 4 == pytest.approx(
        2 * 8000, rel=0.01
    )
    assert all(note in reader.text for note in report.notes)
    assert "language: confusions" in reader.text and ">7</text>" in html


def test_training_curves_leave_out_auxiliary_tasks(tmp_path):
    from test_model import build, three_tasks

    first, *_ = three_tasks()
    model = build(first, first._replace(name="nl-b1", head="nl", at="b1", auxiliary=True))
    history = [
        {"step": 5, "loss": {"nl": 1.5, "nl-b1": 2.5, "l2sp/pull": 0.1}},
        {"step": 5, "dev": 0.5},
    ]
    report = Report("r", 0, {})
    report.add_learning(Fitted(model, 5, "last", 1.0, history), "all languages")
    report.write(tmp_path)
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "all languages: training" in html and "dev error" in html and "l2sp/pull" in html
    assert "nl-b1" not in html


def test_figures_with_a_unit_are_not_made_per_cent():
    tasks = {"age": {"mae": 2.5, "mae_interval": [2.0, 3.0], "f1": 0.5, "n": 7}}
    rows = Report("r", 0, tasks, comparisons={"alone": {"age": {"mae": 4.0}}}).table()[1]
    assert ["age", "7", "mae", "2.50", "2.0 to 3.0", "4.00"] in rows
    assert ["age", "7", "f1 %", "50.00", "", ""] in rows
