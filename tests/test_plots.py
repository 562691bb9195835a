import base64
import io
import re
import xml.etree.ElementTree as ET

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from mtl.plots import COLOURS, INK, bars, confusion, count_pairs, curves, learning, maps, sheet

SVG = "{http://www.w3.org/2000/svg}"


def settings():
    """All but the backend, which matplotlib chooses when it is first asked."""
    return {name: matplotlib.rcParams[name] for name in matplotlib.rcParams if name != "backend"}


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter(f"{SVG}text")]


def vertices(svg, colour):
    """The points of lines in a colour, as the file holds them: y grows downwards."""
    paths = re.findall(rf'<path d="([^"]*)"[^>]*stroke: {colour}; stroke-width: 1.5', svg)
    return [np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), float) for path in paths]


def test_curves_draw_means_and_bands_over_seeds():
    svg = curves({"base": {1: [0.1, 0.3], 3: 0.2, 2: [0.5, 0.5]}}, "layers", "error", percent=True)
    (line,) = vertices(svg, "#0072b2")
    x, y = line.T
    assert (x[1] - x[0]) == pytest.approx(x[2] - x[1], abs=0.01), "sorted by x, whatever the order"
    assert y[0] == pytest.approx(y[2], abs=0.01) and y[1] < y[0]
    assert "layers" in texts(svg) and "error" in texts(svg) and "20.0%" in texts(svg)
    band = svg.count("fill-opacity: 0.18")
    assert band == 1
    assert "fill-opacity: 0.18" not in curves({"base": {1: [0.1], 2: 0.2}}, "x", "y")


def test_labels_are_escaped_and_never_formulas():
    svg = curves({"<b>$x": {1: 1}, "&": {1: 2}, "\N{CJK UNIFIED IDEOGRAPH-6DF1}": {1: 3}}, "$", "y")
    assert {"<b>$x", "&", "\N{CJK UNIFIED IDEOGRAPH-6DF1}", "$"} <= set(texts(svg))


def test_learning_shows_losses_and_the_error_on_dev():
    history = [{"step": 20, "loss": {"nl": 2.0, "nl-b1": 3.0, "coral/distance": 0.1}}]
    history += [{"step": 40, "loss": {"nl": 1.0, "nl-b1": 2.0}}, {"step": 40, "dev": 0.25}]
    found = texts(learning(history, hidden=["nl-b1"]))
    assert {"nl", "coral/distance", "training loss", "dev error", "step"} <= set(found)
    assert "nl-b1" not in found
    assert "dev error" not in texts(learning(history[:2]))
    assert "training loss" not in texts(learning(history[2:]))
    assert learning([]) == ""


def test_bars_have_whiskers_where_the_interval_is_finite():
    values = {"nl": (0.2, 0.1, 0.3), "one speaker": (0.5, -np.inf, np.inf)}
    svg = bars(values, "CER", percent=True)
    assert {"nl", "one speaker", "CER"} <= set(texts(svg))
    assert len(vertices(svg, "currentColor")) == 1


def test_confusions_are_counted_as_scikit_learn_counts():
    rng = np.random.default_rng(0)
    truth, said = rng.choice(list("abcd"), 60), rng.choice(list("abcde"), 60)
    classes, counts = count_pairs(zip(truth, said, strict=True))
    assert classes == list("abcde")
    np.testing.assert_array_equal(counts, confusion_matrix(truth, said, labels=classes))
    svg = confusion(zip(truth, said, strict=True))
    shown = [int(text) for text in texts(svg) if text.isdecimal()]
    assert shown == counts[counts > 0].tolist(), "row by row"
    many = confusion([(f"c{n}", f"c{n}") for n in range(30)])
    assert {"c0", "c29"} <= set(texts(many)) and "1" not in texts(many)


def test_maps_share_their_rows_and_leave_out_nan():
    nan, inf = np.nan, np.inf
    svg = maps({"cosine": [[nan, -0.25], [-0.25, nan]], "gain": [[123.4], [-inf]]}, ["nl", "cy"])
    shown = texts(svg)
    assert shown.count("nl") == 3 and shown.count("cy") == 3, "rows of both, columns of the square"
    assert shown.count("-0.25") == 2 and {"123", "-inf", "cosine", "gain"} <= set(shown)
    assert "nan" not in shown
    many = maps({"cosine": np.eye(30)}, [f"t{n}" for n in range(30)])
    assert "t29" in texts(many) and "1" not in texts(many), "no room for numbers"
    assert maps({"nothing": [[nan, nan], [nan, nan]]}, ["a", "b"]).startswith("<svg")
    with pytest.raises(ValueError, match=r"gain has shape \(1, 2\); give \(2, C\)"):
        maps({"gain": [[1.0, 2.0]]}, ["a", "b"])


def test_a_map_is_blue_above_zero_and_red_below():
    red, _, blue = colour(maps({"gain": [[2.0]]}, ["a"]))
    assert blue > red + 50
    red, _, blue = colour(maps({"gain": [[-2.0]]}, ["a"]))
    assert red > blue + 50
    assert np.ptp(colour(maps({"gain": [[0.0]]}, ["a"]))) < 5, "neither"


def colour(svg):
    """The mean colour of the picture inside an SVG text, where it is not transparent."""
    (coded,) = re.findall(r'"data:image/png;base64,([^"]*)"', svg)
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(coded)))
    return 255 * pixels[pixels[:, :, 3] == 1][:, :3].mean(0)


def test_a_sheet_shows_every_image_with_its_caption():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (8, 9, 3), dtype=np.uint8), rng.normal(size=(8, 8))]
    images += [rng.uniform(size=(3, 8, 9)), np.zeros((1, 8, 8))]
    svg = sheet(images, ["a", "b", "c", "d"], columns=3)
    assert texts(svg) == ["a", "b", "c", "d"]
    links = [element.attrib for element in ET.fromstring(svg).iter(f"{SVG}image")]
    assert len(links) == 4
    for link in links:
        assert link["{http://www.w3.org/1999/xlink}href"].startswith("data:image/png;base64,")
    with pytest.raises(ValueError, match="1 images and 2 captions"):
        sheet(images[:1], ["a", "b"])
    with pytest.raises(ValueError, match=r"an image has shape \(4,\)"):
        sheet([np.zeros(4)], ["a"])


def test_plots_take_the_colour_of_the_page_and_leave_no_trace():
    before = settings()
    svg = curves({"a": {1: 1, 2: 2}, "b": {1: 2, 2: 1}}, "x", "y")
    assert settings() == before
    assert "currentColor" in svg and INK not in svg
    assert svg == curves({"a": {1: 1, 2: 2}, "b": {1: 2, 2: 1}}, "x", "y"), "the same every time"
    assert "<metadata" not in svg and "<!DOCTYPE" not in svg
    names = [element.get("id") for element in ET.fromstring(svg).iter() if element.get("id")]
    assert len(names) == len(set(names)) and not any(name.startswith("figure") for name in names)


# What is left of red, green and blue (linear): Machado, Oliveira and Fernandes 2009, severity 1
BLIND = {
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deutan": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritan": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def seen(colour, kind):
    """A colour in CIELAB, where a distance of 2.3 is just noticeable, as people see it."""
    x = XYZ @ np.clip(np.array(BLIND[kind]) @ linear(colour), 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", BLIND)
def test_lines_differ_for_people_who_see_few_colours(kind):
    places = [seen(colour, kind) for colour in COLOURS]
    gaps = [np.linalg.norm(a - b) for n, a in enumerate(places) for b in places[:n]]
    assert min(gaps) > 15


@pytest.mark.parametrize("ground", ["#ffffff", "#121212"])
def test_lines_are_seen_on_light_and_dark(ground):
    lights = [XYZ[1] @ linear(colour) + 0.05 for colour in (ground, *COLOURS)]
    assert min(max(lights[0] / light, light / lights[0]) for light in lights[1:]) > 2
