"""Page: one HTML file that needs nothing else. Text is escaped; plots and sounds lie inside the file."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from mtl.atomic import atomic_text
from mtl.tables import html_table

# The policy makes the promise hold: a browser would load nothing even if a part asked for it.
_TOP = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
 overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
th, td {{ padding: .25rem .8rem; border-bottom: 1px solid #8886; text-align: right; }}
th.left, td.left {{ text-align: left; }}
caption, figcaption {{ text-align: left; opacity: .75; }}
th, td {{ overflow-wrap: normal; }}
td {{ white-space: nowrap; }}
td.left {{ white-space: normal; }}
td:first-child {{ min-width: 6rem; }}
figure {{ margin: 1.5rem 0; overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; fill: currentColor; }}
audio {{ display: block; }}
pre {{ padding: .8rem; border: 1px solid #8886; overflow-x: auto; }}
/* on a phone a plot keeps its size, or its letters would get too small, and is moved sideways */
@media (max-width: 40rem) {{ svg {{ max-width: none; }} th, td {{ padding: .25rem .5rem; }} }}
/* paper cannot be moved: lines break, and nothing falls apart between two sheets */
@media print {{
 :root {{ color-scheme: light; }}
 body {{ max-width: none; margin: 0; font-size: 11pt; }}
 table {{ display: table; font-size: 9pt; }}
 th, td {{ padding: .2rem .4rem; white-space: normal; overflow-wrap: anywhere; }}
 tr, figure, pre {{ break-inside: avoid; }}
 figure {{ overflow: visible; }}
 pre {{ white-space: pre-wrap; overflow: visible; break-inside: auto; }}
 svg {{ max-width: 100%; }}
 audio {{ display: none; }}
}}
</style>
</head>
<body>
"""


class Page:
    """Parts of a page, top to bottom; every method adds one and gives the page back.

    >>> page = Page().heading("Errors").table(["task", "CER %"], [["nl", "7.88"]]).text("a < b")
    >>> "<td>7.88</td>" in page.html("Run"), "a &lt; b" in page.html("Run")
    (True, True)
    """

    def __init__(self) -> None:
        self.parts: list[str] = []

    def heading(self, text: str) -> "Page":
        """Begin a section."""
        return self._add(f"<h2>{escape(text)}</h2>")

    def text(self, text: str) -> "Page":
        """Add a paragraph."""
        return self._add(f"<p>{escape(text)}</p>")

    def items(self, texts: Iterable[str]) -> "Page":
        """Add a list; none for no texts."""
        lines = "\n".join(f"<li>{escape(text)}</li>" for text in texts)
        return self._add(f"<ul>\n{lines}\n</ul>") if lines else self

    def code(self, text: str) -> "Page":
        """Add a command or a file, as it stands."""
        return self._add(f"<pre>{escape(text)}</pre>")

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        caption: str = "",
        left: Sequence[str] = (),
    ) -> "Page":
        """Add a table; the columns named in `left` (and the first) hold text, the others numbers."""
        return self._add(html_table(columns, rows, caption, left))

    def figure(self, svg: str, caption: str = "") -> "Page":
        """Add a plot of `mtl.plots`; none for an empty one."""
        return self._figure(svg, caption) if svg else self

    def audio(self, samples: ArrayLike, hz: int, caption: str = "") -> "Page":
        """Add samples (N,), -1 to 1, to be played. As 16-bit wav: 43 kB of page a second at 16 kHz."""
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, np.asarray(samples), hz, format="WAV", subtype="PCM_16")
        coded = base64.b64encode(file.getvalue()).decode()
        player = f'<audio controls preload="none" src="data:audio/wav;base64,{coded}"></audio>'
        return self._figure(player, caption)

    def html(self, title: str) -> str:
        """Give the whole page."""
        title = escape(title)
        body = "\n".join([f"<h1>{title}</h1>", *self.parts])
        return f"{_TOP.format(title=title)}{body}\n</body>\n</html>\n"

    def write(self, path: Path, title: str) -> None:
        """Write the page in one move. Raises `mtl.atomic.DiskFull` when the disk fills."""
        atomic_text(path, self.html(title))

    def _figure(self, inner: str, caption: str) -> "Page":
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        return self._add(f"<figure>{inner}{below}</figure>")

    def _add(self, part: str) -> "Page":
        self.parts.append(part)
        return self
