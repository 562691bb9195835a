"""painted: what a report says of methods that translate pictures, from the cells of a study.

A cell has an `arm` and a `seed`; its figures are those of `mtl.crossing.measure` and `mtl.likeness.likeness`.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtl.plots import sheet
from mtl.report import Report
from mtl.shift import SOURCE_ONLY, TARGET, TARGET_ONLY
from mtl.study import Result
from mtl.tally import judge

Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def show(report: Report, results: Sequence[Result], claimed: bool = True) -> None:
    """Add sheets of translations, what steps cost and, where `claimed`, what translations show, and claims.

    These are, of each method that translates and each that does not, that more of the target is right with
    the first.
    """
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        if result.figures is not None:
            runs.setdefault(result.cell["arm"], []).append(result.figures)
    report.notes += costs(runs)
    painters = [arm for arm, found in runs.items() if "kept" in found[0]]
    others = [arm for arm in runs if arm not in (*painters, SOURCE_ONLY, TARGET_ONLY)]
    at = [Result(r.cell, None if r.figures is None else r.figures[TARGET]) for r in results]
    for arm in painters:
        for drawn in [_sheet(found["sheet"]) for found in runs[arm] if found["sheet"]]:
            caption = f"{arm}: pictures of the source, their translations, and of the target"
            report.figures.append((drawn, caption))
        if claimed:
            report.notes.append(_kept(arm, runs[arm]))
            report.claims += [
                judge(f"{arm}: more is right than with {o}", at, {"arm": arm}, {"arm": o})
                for o in others
            ]


def costs(runs: Runs) -> list[str]:
    """Say what a step costs, in those of learning from the source alone.

    >>> costs({"source-only": [{"cost": 0.01}], "dann": [{"cost": 0.02}, {"cost": 0.03}]})
    ['seconds of a step: source-only 0.010, dann 0.025 (2.5 times)']
    """
    known = {
        arm: mean(f["cost"] for f in found) for arm, found in runs.items() if "cost" in found[0]
    }
    alone = known.get(SOURCE_ONLY, 0.0)
    shown = [
        f"{arm} {cost:.3f}"
        + (f" ({cost / alone:.1f} times)" if alone and arm != SOURCE_ONLY else "")
        for arm, cost in known.items()
    ]
    return [f"seconds of a step: {', '.join(shown)}"] if shown else []


def _kept(arm: str, found: Sequence[Mapping[str, Any]]) -> str:
    """Say what the judge says of translations, as means over seeds."""
    kept, sure = (mean(f[name] for f in found) for name in ("kept", "sure"))
    before, after = (mean(f["nearer"][place] for f in found) for place in (0, 1))
    return (
        f"{arm}: {kept:.1%} of translations show what they did before, says a network that learnt from "
        f"real target pictures ({sure:.1%} right on those); the source's Fréchet distance to them was "
        f"{before:.3g}, that of translations is {after:.3g}"
    )


def _sheet(rows: Mapping[str, Sequence[str]]) -> str:
    """Draw rows of pictures, named at their first one."""
    images = [_pixels(text) for row in rows.values() for text in row]
    captions = [
        name if not place else "" for name, row in rows.items() for place in range(len(row))
    ]
    return sheet(images, captions, columns=max(map(len, rows.values())))


def _pixels(text: str) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
