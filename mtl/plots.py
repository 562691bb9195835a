"""Plots: curves, bars, confusion matrices, maps and image sheets, as SVG text inside a page.

The only file that imports matplotlib. Text and axes take the colour of the page around them, so that a
plot reads well in the dark and in the light.
"""

import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

INK = "#010203"  # stands for the page's own text colour, which no plotting library can know
# Okabe and Ito 2008 without yellow and black, and two more that no colour blindness mixes up with these
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#962dff", "#873c1e")
MARKS = "os^Dv<>P"
STYLE: Any = {
    "font.family": "sans-serif",
    "svg.fonttype": "none",  # text stays text: small files, and the page's colour
    "svg.hashsalt": "mtl",  # the same figures give the same file
    "text.parse_math": False,  # a $ in a label is a $
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    "grid.alpha": 0.25,
}
WRITTEN = 20  # classes up to which a confusion matrix shows its numbers


def curves(
    lines: Mapping[str, Mapping[float, float | Sequence[float]]],
    x: str,
    y: str,
    *,
    percent: bool = False,
) -> str:
    """Draw labelled lines, {label: {x: y}}; several y at one x, one per seed, give the mean and a band.

    The band reaches from the smallest to the largest. `percent` shows fractions as per cent.

    >>> curves({"base": {1: [0.1, 0.3], 2: 0.2}}, "layers", "error", percent=True)[:4]
    '<svg'
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, lines, x, y)
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        return _svg(figure)


def learning(history: Sequence[Mapping[str, Any]], hidden: Iterable[str] = ()) -> str:
    """Draw `Fitted.history`: the training loss of each task, and the error on the dev data beside them.

    `hidden` names losses to leave out. Gives "" where nothing was logged.
    """
    losses: dict[str, dict[float, float]] = {}
    dev: dict[float, float] = {}
    for entry in history:
        for name, value in entry.get("loss", {}).items():
            losses.setdefault(name, {})[entry["step"]] = value
        if "dev" in entry:
            dev[entry["step"]] = entry["dev"]
    lines = {name: line for name, line in losses.items() if name not in set(hidden)}
    if not (lines or dev):
        return ""
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6 if lines and dev else 6.4, 3.6), layout="constrained")
        panels = iter(figure.subplots(1, bool(lines) + bool(dev), squeeze=False)[0])
        if lines:
            _draw(next(panels), lines, "step", "training loss", marks=False)
        if dev:
            axes = next(panels)
            _draw(axes, {"mean over the tasks": dev}, "step", "dev error")
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        return _svg(figure)


def bars(values: Mapping[str, tuple[float, float, float]], x: str, *, percent: bool = False) -> str:
    """Draw a horizontal bar per label, from {label: (value, low, high)}; an end that is not finite
    draws no whisker.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.8 + 0.35 * len(values)), layout="constrained")
        axes = figure.add_subplot()
        for place, (value, low, high) in enumerate(values.values()):
            axes.barh(place, value, color=COLOURS[0])
            if np.isfinite([low, high]).all():
                axes.plot([low, high], [place, place], color=INK, linewidth=1.5)
        axes.set_yticks(range(len(values)), list(values))
        axes.invert_yaxis()
        axes.set_xlabel(x)
        axes.grid(axis="x")
        if percent:
            axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        return _svg(figure)


def confusion(pairs: Iterable[tuple[Any, Any]]) -> str:
    """Draw how often each class (row) was taken for each (column), from (reference, prediction) pairs.

    A colour is the share of its row; up to 20 classes the counts are written in.
    """
    classes, counts = count_pairs(pairs)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(max(2.4 + 0.42 * len(classes), 3.2), 12.0)
    with rc_context(STYLE):
        figure = Figure(figsize=(size, size), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        axes.set_xticks(
            range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 3 else 0
        )
        axes.set_yticks(range(len(classes)), classes)
        axes.set_xlabel("prediction")
        axes.set_ylabel("reference")
        for (row, column), count in np.ndenumerate(counts):
            if count and len(classes) <= WRITTEN:
                colour = "#ffffff" if shares[row, column] > 0.5 else "#000001"
                axes.text(column, row, str(count), ha="center", va="center", color=colour)
        return _svg(figure)


def count_pairs(pairs: Iterable[tuple[Any, Any]]) -> tuple[list[str], NDArray[np.int64]]:
    """Count (reference, prediction) pairs: the classes (C,), sorted, and the counts (C, C).

    >>> classes, counts = count_pairs([("a", "a"), ("a", "b"), ("b", "b")])
    >>> classes, counts.tolist()
    (['a', 'b'], [[1, 1], [0, 1]])
    """
    named = [(str(reference), str(prediction)) for reference, prediction in pairs]
    classes = sorted({name for pair in named for name in pair})
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for reference, prediction in named:
        counts[classes.index(reference), classes.index(prediction)] += 1
    return classes, counts


def maps(panels: Mapping[str, ArrayLike], rows: Sequence[str]) -> str:
    """Draw matrices side by side, {title: (R, C)}, whose rows are the same; NaN leaves a place empty.

    A square one has the names of the rows on its columns as well. Blue is above 0 and red below, up to the
    largest size in the panel; up to 20 rows the numbers are written in. Raises ValueError for other shapes.

    >>> maps({"cosine": [[np.nan, -0.5], [-0.5, np.nan]], "gain": [[2.0], [-1.0]]}, ["a", "b"])[:4]
    '<svg'
    """
    arrays = {title: np.asarray(values, np.float64) for title, values in panels.items()}
    for title, array in arrays.items():
        if array.ndim != 2 or len(array) != len(rows):
            raise ValueError(f"{title} has shape {array.shape}; give ({len(rows)}, C), a row each")
    widths = [array.shape[1] + 1.5 for array in arrays.values()]
    size = (min(1.2 + 0.5 * sum(widths), 18.0), min(1.8 + 0.42 * len(rows), 10.0))
    with rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(1, len(arrays), squeeze=False, width_ratios=widths)[0]
        for axes, (title, array) in zip(grid, arrays.items(), strict=True):
            _matrix(axes, array, rows)
            axes.set_title(title, fontsize=10)
        return _svg(figure)


def scatter(panels: Mapping[str, Mapping[str, ArrayLike]]) -> str:
    """Draw points side by side, {title: {group: (N, 2)}}, a colour for each group; axes mean nothing.

    >>> scatter({"before": {"source": [[0.0, 1.0]], "target": [[1.0, 0.0]]}})[:4]
    '<svg'
    """
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.6 * columns, 2.7 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes in grid:
            axes.set_axis_off()
        for axes, (title, groups) in zip(grid, panels.items(), strict=False):
            for (name, points), colour in zip(groups.items(), cycle(COLOURS), strict=False):
                x, y = np.asarray(points).T
                axes.scatter(x, y, s=6, color=colour, alpha=0.6, linewidths=0, label=name)
            axes.set_title(title, fontsize=10)
        grid[0].legend(frameon=False, fontsize=8)
        return _svg(figure)


def _matrix(axes: Any, array: NDArray[np.float64], rows: Sequence[str]) -> None:
    """Colour a matrix around 0, and write its numbers where there is room."""
    finite = np.where(np.isfinite(array), array, np.nan)
    most = np.nanmax(np.abs(finite), initial=0.0) or 1.0
    axes.imshow(finite, cmap="RdBu", vmin=-most, vmax=most)
    axes.set_yticks(range(len(rows)), rows)
    columns = rows if array.shape[1] == len(rows) > 1 else []
    axes.set_xticks(
        range(len(columns)), columns, rotation=90 if any(len(c) > 3 for c in rows) else 0
    )
    for (row, column), value in np.ndenumerate(array):
        if not np.isnan(value) and len(rows) <= WRITTEN:
            dark = np.isfinite(value) and abs(value) > 0.6 * most
            colour = "#ffffff" if dark else "#000001" if np.isfinite(value) else INK
            text = f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, size=7)


def sheet(images: Sequence[ArrayLike], captions: Sequence[str], columns: int = 8) -> str:
    """Draw small images in a grid, a caption below each: arrays (H, W), (H, W, 3) or (3, H, W).

    Values are 0 to 255 where they are whole numbers, else stretched from the smallest to the largest.
    Raises ValueError where images and captions differ in number, or there are none.
    """
    if len(images) != len(captions) or not len(images):
        raise ValueError(f"{len(images)} images and {len(captions)} captions; give one for each")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(1.25 * columns, 1.5 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes in grid:
            axes.set_axis_off()
        for axes, image, caption in zip(grid, images, captions, strict=False):
            axes.imshow(_pixels(image), cmap="gray")
            # below the image, where set_xlabel would write had the axes not been off
            axes.text(0.5, -0.04, caption, transform=axes.transAxes, ha="center", va="top", size=8)
        return _svg(figure)


def _pixels(image: ArrayLike) -> NDArray[Any]:
    """Give (H, W) or (H, W, 3), colours last; fractions stretched to 0 ... 1."""
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3):
        raise ValueError(f"an image has shape {pixels.shape}; give (H, W), (H, W, 3) or (3, H, W)")
    if pixels.dtype.kind != "f":
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    stretched: NDArray[Any] = (pixels - low) / (high - low or 1.0)
    return stretched


def _draw(
    axes: Any,
    lines: Mapping[str, Mapping[float, float | Sequence[float]]],
    x: str,
    y: str,
    marks: bool = True,
) -> None:
    """Draw lines and bands into axes; a repeated colour comes with other dashes."""
    looks = cycle((colour, dash) for dash in ("-", "--", ":") for colour in COLOURS)
    for (label, line), (colour, dash), mark in zip(lines.items(), looks, cycle(MARKS)):
        places = sorted(line)
        points = [np.atleast_1d(line[place]) for place in places]
        means, lows, highs = (
            [float(reduce(values)) for values in points] for reduce in (np.mean, np.min, np.max)
        )
        style = {"marker": mark, "markersize": 4} if marks else {}
        axes.plot(places, means, dash, color=colour, label=label, **style)
        if lows != highs:
            axes.fill_between(places, lows, highs, color=colour, alpha=0.18, linewidth=0)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid()
    if all(float(place).is_integer() for line in lines.values() for place in line):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8, ncols=1 + (len(lines) > 8))


def _svg(figure: Figure) -> str:
    """Write a figure as an <svg> element without a fixed size, a prologue or metadata."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        # The reader's browser has fonts for scripts that matplotlib's own one lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    # Names of groups would repeat in a page of several plots, and nothing refers to them.
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])
    return text.replace(INK, "currentColor").strip()
