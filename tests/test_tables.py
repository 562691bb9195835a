import math
from io import StringIO

import pytest
from rich.console import Console
from test_page import Reader

from mtl.evaluate import Evaluation, Row
from mtl.report import Report
from mtl.tables import bounds, html_table, text_table


def test_an_evaluation_shows_its_figures_printed_and_in_a_notebook():
    rows = [Row("n<l", str(i), "", "ab", "ab", 1.0, {"cer": (i % 2, 2)}) for i in range(8)]
    rows += [Row("age", str(i), "", 3.0, 2.0, 1.0, {"mae": (1.0, 1)}) for i in range(8)]
    found = Evaluation(rows)
    wanted = found.tasks()
    columns, *cells = Reader(found._repr_html_()).rows
    assert columns == ["task", "n", "metric", "result", "95 % interval"]
    assert [row[:4] for row in cells] == [
        ["n<l", "8", "cer %", f"{100 * wanted['n<l']['cer']:.2f}"],
        ["age", "8", "mae", "1.00"],
    ]
    low, high = wanted["n<l"]["cer_interval"]
    assert cells[0][4] == f"{100 * low:.1f} to {100 * high:.1f}"
    printed = [line.split("  ") for line in repr(found).splitlines()]
    assert [[c.strip() for c in line if c.strip()] for line in printed] == [columns, *cells]
    assert len({len(line) for line in repr(found).splitlines()}) == 1, "columns are aligned"


def test_an_evaluation_of_nothing_is_an_empty_table():
    assert repr(Evaluation([])) == "task  n  metric"
    assert Reader(Evaluation([])._repr_html_()).rows == [["task", "n", "metric"]]


def test_text_stands_to_the_left_and_is_escaped():
    html = html_table(["a", "b", "c"], [["<", "1", "x"]], caption="t & u", left=("c",))
    assert '<td class="left">&lt;</td><td>1</td><td class="left">x</td>' in html
    assert "<caption>t &amp; u</caption>" in html
    assert text_table(["task", "n"], [["x", "10"], ["yyyyy", "2"]]).splitlines() == [
        "task    n", "x      10", "yyyyy   2",
    ]  # fmt: skip


def test_intervals_without_an_end_are_left_out():
    assert bounds([0.1, 0.2]) == "10.0 to 20.0" and bounds([1.0, 2.5], times=1) == "1.0 to 2.5"
    for interval in (None, [None, None], [0.1, None], [-math.inf, 0.2]):
        assert bounds(interval) == ""


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_figure_is_cut_on_a_narrow_screen(width):
    report = Report("arms", 0, {}, 1)
    names = [f"an arm {number}" for number in range(9)]
    report.comparisons = {
        name: {"a task with a long name": {"cer": 0.1 + place / 1000, "n": 100}}
        for place, name in enumerate(names)
    }
    screen = Console(width=width, file=StringIO())
    report.show(screen)
    text = screen.file.getvalue()
    assert all(
        name in text and f"{10 + place / 10:.2f}" in text for place, name in enumerate(names)
    )
    assert max(map(len, text.splitlines())) <= width
    assert (text.count("metric") == 1) == (width == 200)
