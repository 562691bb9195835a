"""Reports as people see them: on a phone and a wide screen, light, dark and on paper."""

import numpy as np
import pytest
from browser import Browser
from test_report import TASKS, made

from mtl.plots import bars, confusion, curves, maps
from mtl.runs import Told, claims_page

WHITE = "rgb(255, 255, 255)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A report with everything in it, and a claims page."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(f"data: {'/a/long/path' * 30}\nsteps: 3\n")
    report = made()
    report.comparisons |= {f"another baseline {n}": {"nl": dict(TASKS["nl"])} for n in range(6)}
    report.notes.append(f"worst nl: '{'word ' * 60}' heard as '{'w' * 200}'")
    report.figures = [
        (
            curves({f"method {n}": {1: n, 2: [n, n + 1]} for n in range(5)}, "step", "loss"),
            "curves",
        ),
        (confusion([(str(n % 12), str(n * n % 12)) for n in range(99)]), "confusions"),
        (maps({"a": np.eye(4), "b": -np.eye(4)}, ["nl", "de", "en", "fr"]), "maps"),
        (bars({"nl": (0.2, 0.1, 0.3)}, "CER", percent=True), "bars"),
    ]
    report.page.audio(np.sin(np.arange(3200) / 9), 16000, "worst of nl")
    report.write(folder)
    sentence = "fine-tuning beats training from scratch with five examples of each class"
    told = [
        Told(
            sentence, verdict, 0.1, [0.0, 0.2], "scratch less full", f"accelerate {n}", f"runs/{n}"
        )
        for n, verdict in enumerate(("true", "false", "undecided"))
    ]
    claims_page(told).write(folder / "claims.html", "Claims")
    return [folder / "report.html", folder / "claims.html"]


def contrast(colour, ground):
    """The ratio of luminances by WCAG 2.1: 4.5 is legible, 21 black on white."""

    def luminance(text):
        parts = [int(part) / 255 for part in text.removeprefix("rgb(").rstrip(")").split(",")]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    low, high = sorted((luminance(colour), luminance(ground)))
    return (high + 0.05) / (low + 0.05)


LETTERS = """[...document.querySelectorAll('svg text')].map(text => {
  const box = text.getBoundingClientRect();
  return Math.min(box.width, box.height) && parseFloat(getComputedStyle(text).fontSize)
    * text.ownerSVGElement.getBoundingClientRect().width / text.ownerSVGElement.viewBox.baseVal.width
})"""
HIDDEN = """[...document.querySelectorAll('pre, table, figure')]
  .filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.outerHTML.slice(0, 60))"""


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_fits_the_screen_and_asks_for_nothing(browser, pages, width, dark):
    for page in pages:
        browser.open(page, width, dark=dark)
        assert browser.run("document.documentElement.scrollWidth") <= width, page
        assert browser.run("parseFloat(getComputedStyle(document.body).fontSize)") >= 16
        assert min(browser.run(LETTERS) or [16]) >= 7.5, "letters in plots"
        ink, body = (
            browser.run(f"getComputedStyle(document.body).{name}") for name in ("color", "width")
        )
        assert contrast(ink, "rgb(18, 18, 18)" if dark else WHITE) > 7
        assert parseable(body) > 0.85 * min(width, 992)
        assert browser.requests() == [page.as_uri()]
        assert browser.complaints() == []


def parseable(pixels):
    return float(pixels.removesuffix("px"))


def test_sound_plays(browser, pages):
    browser.open(pages[0], 390)
    script = """new Promise(done => { const sound = document.querySelector('audio');
      sound.onloadedmetadata = () => done(sound.duration); sound.onerror = () => done(-1);
      sound.load(); sound.preload = 'auto'; })"""
    assert browser.run(script) == pytest.approx(0.2, abs=0.01)
    assert browser.complaints() == []


def test_paper_hides_nothing_and_is_black_on_white(browser, pages):
    for page in pages:
        browser.open(page, 718, dark=True, media="print")  # the width of A4 between its margins
        assert browser.run(HIDDEN) == []
        assert browser.run("document.documentElement.scrollWidth") <= 718
        assert contrast(browser.run("getComputedStyle(document.body).color"), WHITE) > 15
        assert browser.pdf().startswith(b"%PDF")


def test_the_browser_would_tell(browser, tmp_path):
    (tmp_path / "bad.html").write_text(
        "<body style='width: 2000px'><img src='http://127.0.0.1:9/x.png'>"
        "<pre style='width: 90px; overflow: auto'>a line that is too long</pre>"
        "<script>console.error('no')</script>"
    )
    browser.open(tmp_path / "bad.html", 390)
    assert browser.run("document.documentElement.scrollWidth") > 1000
    assert "http://127.0.0.1:9/x.png" in browser.requests()
    assert len(browser.complaints()) >= 1 and len(browser.run(HIDDEN)) == 1
