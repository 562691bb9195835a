"""likeness: whether translated pictures look like the target, and still show what they showed."""

import base64
import io
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.batch import Batch
from mtl.crossing import a_few
from mtl.method import Method
from mtl.model import Model
from mtl.score.frechet import frechet
from mtl.shift import SOURCE, TASK, Shift, unlabelled
from mtl.translating import Translating

COLUMNS = 10  # pictures in a row of the sheet
AT_ONCE = 100  # pictures, which bounds the memory


def likeness(
    shift: Shift, methods: Iterable[Method], judge: Callable[[], Model], drawn: bool = False
) -> dict[str, Any]:
    """Ask a network that has learnt from REAL target pictures, in its stream `source`, about translations.

    Of the source's test pictures, and gives, as JSON can hold it: `kept`, the share of translations that the
    judge takes for what their picture shows; `sure`, the share of the target's test pictures that it knows;
    `nearer`, the Fréchet distance between the judge's features of the target's test pictures and those of the
    source's, before and after; and where `drawn` a `sheet`, rows of PNG files by name. {} where no method
    translates; then no judge is made.
    """
    found = [method for method in methods if isinstance(method, Translating)]
    if not found:
        return {}
    method, told = found[0].eval(), judge().eval()
    (items, x), (real, y) = (
        _pixels(shift, told, side.test) for side in (shift.source, shift.target)
    )
    torch.manual_seed(0)  # of noise and styles
    with torch.no_grad():
        device = method.centre.device
        painted = torch.cat([method.translate(p.to(device)).cpu() for p in _parts(x)])
    before, after, aim = (_read(told, pictures) for pictures in (x, painted, y))
    count = min(len(x), len(y))  # distances of other numbers cannot be compared
    rows = {"source": x, "translated": painted, "target": y}
    shown = _spread([str(item.label) for item in items])
    sheet = {name: [_png(method, p[n]) for n in shown] for name, p in rows.items()}
    return {
        "kept": _right(shift, items, after[1]),
        "sure": _right(shift, real, aim[1]),
        "nearer": [frechet(each[0][:count], aim[0][:count]) for each in (before, after)],
        "sheet": sheet if drawn else {},
    }


def _pixels(shift: Shift, model: Model, items: Any) -> tuple[list[Any], Tensor]:
    """Give some pictures that can be read, and as the model's stem prepares them: (N, C, S, S)."""
    side: Any = shift.source
    some, kept, prepared = a_few(items), [], []
    data = side.data(model, unlabelled(some), stream=SOURCE)
    for index, item in enumerate(some):
        with suppress(ValueError):
            prepared.append(data.example(index).input)
            kept.append(item)
    return kept, torch.stack(prepared)


@torch.no_grad()
def _read(model: Model, pictures: Tensor) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Give the features (N, D) and the numbers of the classes (N,) that a network sees."""
    features, classes = [], []
    device = next(model.parameters()).device
    for part in _parts(pictures):
        lengths = torch.full((len(part),), part.shape[-1], device=device)
        f = model(SOURCE, Batch(part.to(device), lengths))
        features.append(f.x.mean(1).float().cpu())
        classes.append(model.scores(TASK, f).x.argmax(1).cpu())
    return torch.cat(features).numpy(), torch.cat(classes).numpy()


def _parts(pictures: Tensor) -> tuple[Tensor, ...]:
    """Cut pictures into parts of AT_ONCE."""
    return pictures.tensor_split(list(range(AT_ONCE, len(pictures), AT_ONCE)))


def _right(shift: Shift, items: Any, numbers: NDArray[np.int64]) -> float:
    """Give the share of items whose label is the class of that number."""
    classes = shift.classes
    pairs = zip(items, numbers.tolist(), strict=True)
    return float(np.mean([str(item.label) == classes[number] for item, number in pairs]))


def _spread(labels: list[str]) -> list[int]:
    """Choose pictures for a row: one of each class, in their order, and more of them where there is room.

    >>> _spread(["b", "a", "b", "a"])
    [1, 0, 3, 2]
    """
    seen: dict[str, int] = {}
    turns = []
    for label in labels:
        turns.append(seen.get(label, 0))
        seen[label] = turns[-1] + 1
    order = sorted(range(len(labels)), key=lambda n: (turns[n], labels[n]))
    return order[:COLUMNS]


def _png(method: Translating, picture: Tensor) -> str:
    """Write a prepared picture (C, S, S) as a PNG file, in text."""
    from PIL import Image

    even = (picture - method.centre.cpu()) / method.reach.cpu()
    pixels = ((even + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
