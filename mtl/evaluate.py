"""Evaluate: compare a model's predictions with the labels, with intervals and the worst examples."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

from mtl.head import Prediction
from mtl.languages import PHONEMES
from mtl.metrics import METRICS, Interval, bootstrap, error_rate
from mtl.model import Model
from mtl.predict import Decoder, predict
from mtl.stream import Data
from mtl.tables import figures_table, html_table, text_table
from mtl.text import TextRules, normalise


class Row(NamedTuple):
    """One example under one task: `counts` gives each metric's (numerator, denominator).

    `problem` says why it, or its label, could not be used; a label that could not be read is None in
    `reference`.
    """

    task: str
    id: str
    group: str
    reference: Any
    prediction: Any
    confidence: float
    counts: dict[str, tuple[float, float]]
    problem: str = ""


@dataclass(frozen=True)
class Evaluation:
    """The rows of an evaluation, and the figures they add up to: printed, a table; in a notebook, too."""

    rows: list[Row]

    def __repr__(self) -> str:
        return text_table(*figures_table(self.tasks()))

    def _repr_html_(self) -> str:
        return html_table(*figures_table(self.tasks()))

    def of(self, task: str) -> list[Row]:
        """Give one task's rows. Raises ValueError, naming the tasks, where there are none."""
        if rows := [row for row in self.rows if row.task == task]:
            return rows
        known = ", ".join(dict.fromkeys(row.task for row in self.rows)) or "none"
        raise ValueError(f"nothing was evaluated of task {task!r}; there is: {known}")

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Give {task: {metric: value, metric_interval: [low, high], "n": examples}}."""
        names = dict.fromkeys(row.task for row in self.rows)
        return {name: self._figures(name) for name in names}

    def _figures(self, task: str) -> dict[str, Any]:
        rows = self.of(task)
        figures: dict[str, Any] = {}
        for metric in rows[0].counts:
            figures[metric] = self._rate(task, metric)
            figures[f"{metric}_interval"] = list(self.interval(task, metric))
        skipped = sum(bool(row.problem) for row in rows)
        return figures | {"n": len(rows)} | ({"skipped": skipped} if skipped else {})

    def _rate(self, task: str, metric: str) -> float:
        """Give a metric's figure; NaN where there was nothing to count, such as no class at all."""
        errors, lengths = self.counts(task, metric)
        return error_rate(errors, lengths) if any(lengths) else math.nan

    def counts(self, task: str, metric: str) -> tuple[list[float], list[float]]:
        """Give a metric's numerators and denominators, one per example."""
        pairs = [row.counts[metric] for row in self.of(task)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    def interval(self, task: str, metric: str) -> Interval:
        """Give a metric's 95 % bootstrap interval, resampling whole groups (speakers)."""
        if math.isnan(self._rate(task, metric)):
            return Interval(-math.inf, math.inf)
        groups = [row.group for row in self.of(task)]
        found = bootstrap(*self.counts(task, metric), groups=groups if any(groups) else None)
        most = 1.0 if METRICS[metric].direction == "max" else math.inf
        bounded = all(map(math.isfinite, found))
        return Interval(max(found.low, 0.0), min(found.high, most)) if bounded else found

    def worst(self, task: str, count: int = 5) -> list[Row]:
        """Give the examples with most errors by the first metric."""
        rows = self.of(task)
        metric = next(iter(rows[0].counts))
        best_first = METRICS[metric].direction == "max"
        rows = sorted(rows, key=lambda row: row.counts[metric][0], reverse=not best_first)
        return rows[:count]

    def score(self) -> float:
        """Give one number to select models by, lower is better: the mean error over the tasks.

        An error that has a unit is divided by that of always saying the mean (`Metric.scale`).
        Raises ValueError where no example has a label of any task.
        """
        errors: list[float] = []
        for task in dict.fromkeys(row.task for row in self.rows):
            metric = METRICS[next(iter(self.of(task)[0].counts))]
            value = self._rate(task, metric.name)
            if math.isnan(value):
                continue
            if metric.scale:
                known = [row.reference for row in self.of(task) if row.reference is not None]
                value /= metric.scale(known)
            errors.append(value if metric.direction == "min" else 1 - value)
        if not errors:
            raise ValueError("nothing to score: no example has a label of a task of this model")
        return sum(errors) / len(errors)


def evaluate(
    model: Model,
    data: Mapping[str, Data],
    *,
    batch: float = 60.0,
    accelerator: Any = None,
    decoders: Mapping[str, Decoder] | None = None,
) -> Evaluation:
    """Evaluate every task that is not auxiliary on the labels that the data sets, by stream, hold for it.

    An example that cannot be used (unreadable, too short) counts as an error and keeps its row, which
    names the `problem`; so does one whose class the head does not know. A label that cannot be read (no
    number, a map that is missing) gives nothing to compare with: its row counts in no figure, but as
    skipped.

    With an accelerator the batches are shared between processes, and all of them get the whole result.
    `decoders` decide, by task, in the place of its head's `predict`; those of heads of phones write words,
    which are compared with the text.
    """
    share = (
        (0, 1) if accelerator is None else (accelerator.process_index, accelerator.num_processes)
    )
    autocast = nullcontext if accelerator is None else accelerator.autocast
    how = {"batch": batch, "share": share, "autocast": autocast, "decoders": decoders}
    rows = []
    for stream, items in data.items():
        rows += _stream_rows(model, stream, items, **how)
    if share[1] > 1:
        from accelerate.utils import gather_object

        rows = gather_object(rows)
    return Evaluation([row for _, row in sorted(rows, key=lambda row: row[0])])


def _stream_rows(
    model: Model, stream: str, data: Data, **how: Any
) -> list[tuple[tuple[str, int], Row]]:
    tasks = [task for task in model.tasks_of(stream) if not task.auxiliary]

    def select(index: int) -> list[str]:
        known = data.labels(index)
        return [task.name for task in tasks if (task.label or task.name) in known]

    answers = predict(model, data, stream, tasks=select, **how)
    speakers = data.column("speaker")
    rows = []
    for answer in answers:
        for name in select(answer.example):
            prediction = answer.predictions.get(name, Prediction(model.head(name).blank, 0.0))
            labels = data.labels(answer.example)
            row = _row(model, name, labels, prediction, name in (how.get("decoders") or {}))
            speaker = speakers[answer.example]
            # An unknown speaker is a group alone: one group of all would leave no interval.
            group = answer.id if speaker == "unknown" else speaker
            row = row._replace(id=answer.id, group=group, problem=answer.problem or row.problem)
            rows.append(((name, answer.example), row))
    return rows


def _row(
    model: Model, task: str, labels: Mapping[str, Any], prediction: Prediction, decoded: bool
) -> Row:
    head, name = model.head(task), model.tasks[task].label or task
    chosen = model.tasks[task].metric
    metrics = head.metrics if chosen is None else (chosen,)
    words = decoded and metrics == ("per",)  # a lexicon made words of phones
    metrics = ("cer", "wer") if words else metrics
    try:
        reference = _text(name, labels) if words else head.reference(labels[name])
    except ValueError as error:  # no number, a map that is not there: nothing to compare with
        nothing = dict.fromkeys(metrics, (0.0, 0.0))
        return Row(task, "", "", None, prediction.value, prediction.confidence, nothing, str(error))
    problem = "" if words else head.unknown(reference)
    counts = {name: METRICS[name].per_example(reference, prediction.value) for name in metrics}
    return Row(task, "", "", reference, prediction.value, prediction.confidence, counts, problem)


def _text(phonemes: str, labels: Mapping[str, Any]) -> str:
    """Give the text that goes with phonemes."""
    text = labels.get(phonemes.removesuffix(PHONEMES), labels.get("text", ""))
    return normalise(text, TextRules())
