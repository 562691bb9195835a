"""Tables: figures by task and metric as rows of text, and rows as plain text or HTML."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from mtl.metrics import METRICS

LEFT = ("task", "metric")  # columns of text


def figures_table(
    tasks: Mapping[str, Mapping[str, Any]],
    comparisons: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Give columns and rows, one for each metric of each task; fractions in per cent.

    `comparisons` are further columns, {name: {task: figures}}.

    >>> figures_table({"nl": {"cer": 0.0788, "cer_interval": [0.06, 0.1], "n": 100}})[1]
    [['nl', '100', 'cer %', '7.88', '6.0 to 10.0']]
    """
    others = comparisons or {}
    own = ["result", "95 % interval"] if tasks else []
    names = dict.fromkeys([*tasks, *(task for found in others.values() for task in found)])
    rows = []
    for task in names:
        sets = [tasks, *others.values()]
        given: list[Mapping[str, Any]] = [found.get(task, {}) for found in sets]
        count = next((str(figures["n"]) for figures in given if "n" in figures), "")
        for metric in METRICS:
            if any(metric in figures for figures in given):
                times = times_of(metric)
                result, *rest = [shown(figures.get(metric), times) for figures in given]
                interval = bounds(given[0].get(f"{metric}_interval"), times)
                cells = [result, interval] if own else []
                rows.append([task, count, titled(metric), *cells, *rest])
    return ["task", "n", "metric", *own, *others], rows


def times_of(metric: str) -> int:
    """Give 100 for fractions, which are shown in per cent, and 1 for what has a unit."""
    return 1 if METRICS[metric].scale else 100


def titled(metric: str) -> str:
    """Name a metric, with per cent for fractions."""
    return metric if times_of(metric) == 1 else f"{metric} %"


def shown(value: float | None, times: int) -> str:
    """Write a figure; "" for none."""
    return "" if value is None else f"{times * value:.2f}"


def bounds(interval: Sequence[float | None] | None, times: int = 100) -> str:
    """Write an interval; "" for none, or one without ends.

    >>> bounds([0.5, 0.25]), bounds([-math.inf, math.inf])
    ('50.0 to 25.0', '')
    """
    if interval is None:
        return ""
    ends = [end for end in interval if end is not None and math.isfinite(end)]
    return f"{times * ends[0]:.1f} to {times * ends[1]:.1f}" if len(ends) == 2 else ""


def text_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table as plain text, numbers to the right.

    >>> print(text_table(["task", "cer %"], [["nl", "7.88"]]))
    task  cer %
    nl     7.88
    """
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]

    def written(cells: Sequence[str]) -> str:
        sides = [str.ljust if c in LEFT or not i else str.rjust for i, c in enumerate(columns)]
        triples = zip(sides, cells, widths, strict=True)
        return "  ".join(side(cell, width) for side, cell, width in triples).rstrip()

    return "\n".join(map(written, lines))


def split_columns(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> Iterator[list[int]]:
    """Split a table that is wider than a screen: give the columns of each part, by place.

    Each begins with the columns of text and "n", which are taken to wrap at a quarter of the width.

    >>> rows = [["nl", "100", "cer %", "7.88", "9.10"]]
    >>> list(split_columns(["task", "n", "metric", "scratch", "tuned"], rows, 40))
    [[0, 1, 2, 3], [0, 1, 2, 4]]
    """
    lines = [columns, *rows]
    widths = [3 + max(len(line[place]) for line in lines) for place in range(len(columns))]
    named = [place for place, column in enumerate(columns) if column in (*LEFT, "n")]
    left = width - 1 - sum(min(widths[place], width // 4) for place in named)
    part, room = list(named), left
    for place in (place for place in range(len(columns)) if place not in named):
        if widths[place] > room and len(part) > len(named):
            yield part
            part, room = list(named), left
        part, room = [*part, place], room - widths[place]
    yield part


def html_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    left: Sequence[str] = LEFT,
) -> str:
    """Write a table as HTML; the columns named in `left` (and the first) hold text, the others numbers."""
    sides = [' class="left"' if c in left or not i else "" for i, c in enumerate(columns)]

    def line(cells: Sequence[str], tag: str) -> str:
        pairs = zip(cells, sides, strict=True)
        joined = "".join(f"<{tag}{side}>{escape(cell)}</{tag}>" for cell, side in pairs)
        return f"<tr>{joined}</tr>"

    head = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    body = "\n".join(line(row, "td") for row in rows)
    return f"<table>\n{head}{line(columns, 'th')}\n{body}\n</table>"
