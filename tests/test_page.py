import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from mtl.page import Page
from mtl.plots import confusion, curves

VOID = {"meta", "link", "br", "img", "input", "hr"}
LOADS = {"src", "href", "xlink:href", "data", "poster", "action", "srcset"}


class Reader(HTMLParser):
    """Checks that elements nest, and collects what the page would load, its cells and its text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.loads, self.rows, self.text = [], [], [], ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in LOADS]
        self.loads += re.findall(r"url\((.*?)\)", " ".join(value or "" for _, value in attrs))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if "style" not in self.open:
            self.text += data


@pytest.fixture
def page():
    plot = curves({"<i>": {1: [0.1, 0.2], 2: 0.3}}, "x", "y")
    page = Page().heading("A & B").text("<script>alert(1)</script>").items(["one <", "two"])
    page.table(["task", "CER %"], [["n<l", "7.88"], ["en", "1.00"]], caption="all > none")
    page.figure(plot, 'a "plot"').figure(confusion([("a", "b")])).figure("")
    return page.audio(np.sin(np.arange(1600) / 5), 16000, "heard <b>").code("x = 1 && y\n")


def test_everything_is_there_and_escaped(page):
    reader = Reader(page.html("Run <1>"))
    for text in (
        "Run <1>",
        "A & B",
        "<script>alert(1)</script>",
        "one <",
        "all > none",
        "heard <b>",
    ):
        assert text in reader.text
    assert reader.rows == [["task", "CER %"], ["n<l", "7.88"], ["en", "1.00"]]
    assert 'a "plot"' in reader.text and "x = 1 && y\n" in reader.text
    assert "<script" not in page.html("Run <1>")


def test_nothing_is_loaded_from_elsewhere(page):
    html = page.html("Run")
    outside = [link for link in Reader(html).loads if not link.startswith(("#", "data:"))]
    assert outside == []
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, never loaded
    assert set(re.findall(r"https?://[^\"' <]*", html)) == names
    assert "default-src 'none'" in html


def test_the_sound_can_be_played(page):
    (coded,) = re.findall(r"data:audio/wav;base64,([^\"]*)", page.html("Run"))
    samples, hz = soundfile.read(io.BytesIO(base64.b64decode(coded)))
    assert hz == 16000
    np.testing.assert_allclose(samples, np.sin(np.arange(1600) / 5), atol=1e-4)


def test_dark_and_light(page):
    assert "color-scheme: light dark" in page.html("Run")
    assert not re.findall(r"(?<!-)(?:color|background): (?:#|black|white)", page.html("Run"))


def test_an_empty_page_and_empty_parts():
    assert Page().items([]).figure("").parts == []
    assert Reader(Page().html("Empty")).text.split() == ["Empty", "Empty"]


def test_it_is_written_whole(page, tmp_path):
    page.write(tmp_path / "deep" / "report.html", "Run")
    assert (tmp_path / "deep" / "report.html").read_text("utf-8") == page.html("Run")
