"""Predict: run a model over data, batched by length; answers come back in the data's order."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mtl.batch import Batch, Example, collate
from mtl.device import one_thread
from mtl.head import Prediction, Scores
from mtl.joint import decide
from mtl.model import Model
from mtl.ops import masked_mean
from mtl.polyglot import Heard, hear
from mtl.stream import Data

Select = Callable[[int], Sequence[str]]
Decoder = Callable[[Scores], list[Prediction]]


class Answer(NamedTuple):
    """What a model says of one example: predictions by task, or why it could not be used."""

    example: int
    id: str
    predictions: dict[str, Prediction]
    problem: str = ""


def predict(
    model: Model,
    data: Data,
    stream: str,
    *,
    tasks: Sequence[str] | Select | None = None,
    batch: float = 60.0,
    share: tuple[int, int] = (0, 1),
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    decoders: Mapping[str, Decoder] | None = None,
) -> list[Answer]:
    """Predict every example of `data`, which `stream` reads.

    `tasks` names the tasks to answer (default: all of the stream), or gives them per index. `batch` is
    the seconds (or examples) that run at once; `share` = (rank, world) takes that part of the batches.
    `decoders` decide, by task, in the place of its head's `predict`, such as `mtl.decode.beam.Beam`.
    Raises ValueError for a task that the model lacks, or a batch of nothing.
    """
    for name in decoders or ():
        model.head(name)  # raises where there is none
    every = [task.name for task in model.tasks_of(stream) if not task.auxiliary]
    select = tasks if callable(tasks) else lambda index: every if tasks is None else tasks
    answers: list[Answer] = []
    with _evaluating(model):
        for indices, examples, failed in _loaded(data, batch, share):
            answers += failed
            if examples:
                with autocast(), torch.inference_mode():
                    asked = set().union(*map(select, indices))
                    heard = _heard(model, stream, collate(examples), (), asked)
                    answers += _answers(model, heard, indices, examples, select, decoders or {})
    return sorted(answers)


def extract(
    model: Model, data: Data, stream: str, at: str | None = None, batch: float = 60.0
) -> NDArray[np.float32]:
    """Give each example's features, averaged over its frames: (N, D), at the trunk's end or a block.

    Raises ValueError naming the first example that cannot be used, or where there is none at all.
    """
    if not len(data):
        raise ValueError("no features to extract: the data hold no example")
    rows: dict[int, NDArray[np.float32]] = {}
    taps = () if at is None else (at,)
    with _evaluating(model):
        for indices, examples, failed in _loaded(data, batch, (0, 1)):
            if failed:
                raise ValueError(f"{failed[0].id}: {failed[0].problem}")
            with torch.inference_mode():
                features = _heard(model, stream, collate(examples), taps).told.at(at)
                means = masked_mean(features.x, features.lengths).float().cpu().numpy()
            rows.update(zip(indices, means, strict=True))
    return np.stack([rows[index] for index in range(len(data))])


@contextmanager
def _evaluating(model: Model) -> Iterator[None]:
    """Put stems, trunk and heads into evaluation mode, and each back into the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _loaded(
    data: Data, batch: float, share: tuple[int, int]
) -> Iterator[tuple[list[int], list[Example], list[Answer]]]:
    """Load batches of like length; examples that cannot be used come back as answers."""
    rank, world = share
    for chunk in chunks(data.seconds, batch)[rank::world]:
        indices, examples, failed = [], [], []
        with one_thread():  # as while training: several would round differently
            for index in chunk:
                try:
                    examples.append(data.example(index, targets=False))
                    indices.append(index)
                except ValueError as error:
                    failed.append(Answer(index, data.ids[index], {}, str(error)))
        if examples or failed:
            yield indices, examples, failed


def chunks(seconds: NDArray[np.float64], batch: float) -> list[list[int]]:
    """Cut examples, shortest first, into batches of at most `batch` padded seconds.

    >>> chunks(np.array([3.0, 1.0, 1.0]), 3.0)
    [[1, 2], [0]]
    """
    if not batch > 0:
        raise ValueError(f"batch is {batch}; give the seconds (or examples) at once, above 0")
    cut: list[list[int]] = [[]]
    for index in np.argsort(seconds, kind="stable").tolist():
        if cut[-1] and (len(cut[-1]) + 1) * seconds[index] > batch:
            cut.append([])
        cut[-1].append(index)
    return cut


def _heard(
    model: Model,
    stream: str,
    batch: Batch,
    taps: Sequence[str] = (),
    asked: Collection[str] = (),
) -> Heard:
    """Run a batch on the model's device, as far as the tasks that are `asked` (default: all) need it."""
    tasks = [task for task in model.tasks_of(stream) if not task.auxiliary]
    inner = [task.at for task in tasks if not asked or task.name in asked]
    wanted = {*taps, *(block for block in inner if block is not None)}
    return hear(model, stream, batch.to(next(model.parameters()).device), wanted, asked)


def _answers(
    model: Model,
    heard: Heard,
    indices: list[int],
    examples: list[Example],
    select: Select,
    decoders: Mapping[str, Decoder],
) -> list[Answer]:
    """Ask each task's head about the rows that want it."""
    predictions: list[dict[str, Prediction]] = [{} for _ in indices]
    wanted = [set(select(index)) for index in indices]
    for name in sorted(set().union(*wanted)):
        rows = [row for row, names in enumerate(wanted) if name in names]
        head = model.head(name)
        features = heard.of(name).at(model.tasks[name].at).select(torch.tensor(rows))
        scores = head.scores(features)
        decoder = decoders.get(name)
        said = decoder(scores) if decoder else decide(model, name, features, scores)
        for row, prediction in zip(rows, said, strict=True):
            predictions[row][name] = prediction
    return [
        Answer(index, example.id, answer)
        for index, example, answer in zip(indices, examples, predictions, strict=True)
    ]
