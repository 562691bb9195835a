"""Crossing: what a trained network does in two domains, and what validators say of it."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtl.batch import Features
from mtl.data.speech import screen
from mtl.fit import Fitted
from mtl.head import Task
from mtl.model import Model
from mtl.predict import extract
from mtl.problem import Recordings, figures
from mtl.score.a_distance import a_distance
from mtl.score.flat import flat
from mtl.score.validation import VALIDATORS, Held
from mtl.shift import SOURCE, TARGET, TASK, Shift, unlabelled
from mtl.stream import Data

ASKED = "target label"
LOOKED_AT = 500  # examples of a domain, whose features are compared
MAPPED = 150  # and those drawn in the map
ACCURACY = "/accuracy"  # ends the name under which a method reports its domain classifier


def measure(shift: Shift, fitted: Fitted, drawn: bool = False) -> dict[str, Any]:
    """Test a network in both domains, and compare its features of data that it has not learnt from.

    Gives, as JSON can hold it: `source` and `target` as `mtl.problem.figures` does; `distance`, the proxy
    A-distance of the test examples' features; `validators`, from the source's test examples and the target's
    training examples, whose labels are not looked at; `told`, [step, accuracy] of the domain classifier;
    `map`, points by domain where `drawn`; and what was `untrained`, {id: reason}. What cannot be used is
    left out, but for the figures of a test. `cost` is the seconds of a step.
    """
    model = fitted.model
    if (
        ASKED not in model.tasks
    ):  # the same head, now asked of the target, which had no task in training
        model.add(Task(ASKED, TARGET, TASK, label="label"))
    sides: dict[str, Any] = {SOURCE: shift.source, TARGET: shift.target}
    found: dict[str, Any] = {
        name: figures(model, side, side.test, name) for name, side in sides.items()
    }
    seen = {name: _seen(model, shift, side.test, name) for name, side in sides.items()}
    tested = {name: rows for name, (_, rows) in seen.items()}
    found["distance"] = _distance(tested[SOURCE], tested[TARGET])
    held = _held(model, shift, *seen[SOURCE])
    found["validators"] = {name: _score(score, held) for name, score in VALIDATORS.items()}
    found["told"] = told(fitted.history)
    found["map"] = _map(tested) if drawn else {}
    found["cost"] = fitted.seconds / max(fitted.steps, 1)
    found["untrained"] = _unheard(model, sides) | fitted.skipped
    return found


def told(history: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Give [step, accuracy] of a domain classifier at every logged step; none for methods without one.

    >>> told([{"step": 20, "loss": {"label": 0.7, "dann/accuracy": 0.5}}, {"step": 40, "dev": 0.1}])
    [[20, 0.5]]
    """
    return [
        [entry["step"], value]
        for entry in history
        for name, value in entry.get("loss", {}).items()
        if name.endswith(ACCURACY)
    ]


def a_few(items: Sequence[Any]) -> list[Any]:
    """Choose some, always the same; those of a small set in its order."""
    if len(items) <= LOOKED_AT:
        return list(items)
    return random.Random(1).sample(list(items), LOOKED_AT)


def _seen(
    model: Model, shift: Shift, items: Sequence[Any], stream: str
) -> tuple[list[Any], NDArray[np.float32]]:
    """Give some of the items that can be used, and what the head reads of each: (N, D)."""
    side: Any = shift.source  # both prepare their items alike
    few = a_few(items)
    data = side.data(model, unlabelled(few), stream=stream)
    kept = [item for index, item in enumerate(few) if _usable(data, index)]
    return kept, extract(model, side.data(model, unlabelled(kept), stream=stream), stream)


def _usable(data: Data, index: int) -> bool:
    try:
        data.example(index, targets=False)
    except ValueError:
        return False
    return True


def _unheard(model: Model, sides: Mapping[str, Any]) -> dict[str, str]:
    """Name the recordings that were left out of training without being read: {id: reason}."""
    heard = {name: side for name, side in sides.items() if isinstance(side, Recordings)}
    skips = [s for name, side in heard.items() for s in screen(side.train, model, name)[1]]
    return {skip.id: skip.reason for skip in skips}


def _held(model: Model, shift: Shift, tested: Sequence[Any], features: NDArray[np.float32]) -> Held:
    """Collect what validators look at."""
    _, other = _seen(model, shift, shift.target.train, TARGET)
    classes = shift.classes
    labels = np.array([classes.index(str(item.label)) for item in tested])
    logits = [_logits(model, rows) for rows in (features, other)]
    rows = [each.astype(np.float64) for each in (features, other)]
    return Held(logits[0], logits[1], rows[0], rows[1], labels)


@torch.no_grad()
def _logits(model: Model, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    device = next(model.parameters()).device
    x = torch.from_numpy(rows).to(device)[:, None]
    scores = model.scores(TASK, Features(x, torch.ones(len(x), dtype=torch.long, device=device)))
    logits: NDArray[np.float64] = scores.x.double().cpu().numpy()
    return logits


def _distance(source: NDArray[np.float32], target: NDArray[np.float32]) -> float | None:
    return None if min(len(source), len(target)) < 5 else a_distance(source, target)


def _score(score: Any, held: Held) -> float | None:
    """Give a validator's score; none where there are too few examples for it."""
    try:
        return float(score(held))
    except ValueError:
        return None


def _map(tested: Mapping[str, NDArray[np.float32]]) -> dict[str, list[list[float]]]:
    rows = {name: each[:MAPPED] for name, each in tested.items()}
    placed = flat(np.concatenate(list(rows.values()))).round(3)
    parts = np.split(placed, [len(rows[SOURCE])])
    return {name: part.tolist() for name, part in zip(rows, parts, strict=True)}
