"""Diagnosis: what training tasks together did to each of them, against training it alone, and why."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mtl.cause import likely_cause, training_loss, trains_worse
from mtl.evaluate import Evaluation
from mtl.metrics import METRICS, Interval, bootstrap_difference, error_rate
from mtl.report import Report
from mtl.score.conflict import share
from mtl.score.gain import gain

DRAWN = 8  # pairs of tasks whose conflict is drawn over training

Verdict = Literal["helped", "no difference", "hurt"]


class Trained(NamedTuple):
    """What a training run left: `Fitted.history`, and how its model did on new data."""

    history: Sequence[Mapping[str, Any]]
    evaluation: Evaluation


class Partner(NamedTuple):
    """Another task, and its cosine or affinity."""

    task: str
    value: float


class Finding(NamedTuple):
    """One task, trained with the others and alone; `gain` is the share of its error that this removed.

    `opponent` has the lowest cosine of gradients with it, `helper` lowers its loss most with a step of its
    own; None where nobody looked (`Fit.diagnose`). `cause` is for a task that is hurt, else empty.
    """

    task: str
    metric: str
    joint: float
    single: float
    gain: float
    interval: Interval
    opponent: Partner | None
    helper: Partner | None
    verdict: Verdict
    cause: str


@dataclass(frozen=True)
class Diagnosis:
    """A joint run beside the single-task runs of its tasks, which had the same budget.

    `tasks` are the T tasks that were looked at or compared, `cosines` and `affinities` (T, T) means over
    the training, NaN where nobody looked.
    """

    findings: list[Finding]
    tasks: list[str]
    cosines: NDArray[np.float64]
    affinities: NDArray[np.float64]
    history: Sequence[Mapping[str, Any]]

    @cached_property
    def mean_gain(self) -> float:
        """The mean gain over the tasks: Delta_m of their errors (Maninis et al. 2019)."""
        return sum(finding.gain for finding in self.findings) / len(self.findings)

    @cached_property
    def conflicting(self) -> float:
        """The share of pairs that conflict in the mean over training; NaN where none was seen."""
        return share(torch.from_numpy(self.cosines))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Give the columns and a row for each task; rates and gains in per cent."""
        columns = ["task", "metric", "joint", "single", "gain %", "95 % interval"]
        columns += ["most opposed by", "most helped by", "verdict", "likely cause"]
        return columns, [_cells(finding) for finding in self.findings]

    def map(self) -> str:
        """Draw cosines, affinities and gains as one SVG text of `mtl.plots`."""
        from mtl.plots import maps

        gains = {finding.task: 100 * finding.gain for finding in self.findings}
        own = np.diag([math.nan] * len(self.tasks))  # with itself: far above the others
        panels = {
            "cosine of gradients": self.cosines + own,
            "row helps column (affinity, %)": 100 * self.affinities + own,
            "gain, %": np.array([[gains.get(task, math.nan)] for task in self.tasks]),
        }
        seen = {title: panel for title, panel in panels.items() if not np.isnan(panel).all()}
        return maps(seen, self.tasks)

    def course(self) -> str:
        """Draw the cosines of the pairs that conflict most over training; "" where nobody looked."""
        from mtl.plots import curves

        lines: dict[str, dict[float, float | Sequence[float]]] = {}
        for entry in self.history:
            for pair, value in entry.get("conflict", {}).items():
                lines.setdefault(pair, {})[entry["step"]] = value
        low = sorted(lines, key=lambda pair: float(np.mean(list(lines[pair].values()))))[:DRAWN]
        shown = {pair.replace("|", " and "): lines[pair] for pair in low}
        return curves(shown, "step", "cosine of gradients") if shown else ""

    def add_to(self, report: Report) -> None:
        """Add table, map and course to the page of a report, and the verdicts to its notes."""
        columns, rows = self.table()
        page = report.page.heading("What the tasks do to each other")
        page.table(columns, rows, left=["metric", *columns[6:]])
        page.figure(self.map(), "Conflict, help and gain of the tasks")
        page.figure(self.course(), "Conflict over training: below 0, one step undoes the other")
        report.notes.append(f"joint training: mean gain {100 * self.mean_gain:+.1f} % of the error")
        for finding in self.findings:
            cause = f", likely {finding.cause}" if finding.cause else ""
            report.notes.append(f"{finding.task}: {finding.verdict} by joint training{cause}")


def diagnose(joint: Trained, singles: Mapping[str, Trained]) -> Diagnosis:
    """Compare a joint run with the single-task runs of its tasks, by task name, on the same examples.

    A gain is (single error - joint error) / single error, its interval a paired bootstrap over groups; a
    task is helped or hurt where the interval, which says nothing of other seeds, lies on one side of 0. For
    the cause see `likely_cause`, which wants a joint run with `Fit.diagnose`. Raises ValueError where a task
    was not evaluated in both runs or on other examples, and where there is no single run.
    """
    if not singles:
        raise ValueError("no single-task run to compare with; give one for a task at least")
    evaluated = dict.fromkeys(row.task for row in joint.evaluation.rows)
    logged = dict.fromkeys(name for entry in joint.history for name in entry.get("loss", {}))
    looked = {name for entry in joint.history for name in entry.get("affinity", {})}
    tasks = list(evaluated | dict.fromkeys(n for n in logged if f"{n}>{n}" in looked))
    cosines = np.array([[_cosine(joint.history, a, b) for b in tasks] for a in tasks])
    affinities = np.array(
        [[_mean(joint.history, "affinity", f"{a}>{b}") for b in tasks] for a in tasks]
    )
    losses = {
        name: (training_loss(joint.history, name), training_loss(single.history, name))
        for name, single in singles.items()
    }
    struggling = [name for name, (a, b) in losses.items() if a and b and trains_worse(a, b)]
    findings = []
    for name, single in singles.items():
        found = _compare(joint.evaluation, single.evaluation, name)
        place = tasks.index(name)
        against = _others(tasks, place, cosines[place])
        helped = _others(tasks, place, affinities[:, place])
        if found.verdict == "hurt":
            found = found._replace(cause=likely_cause(*losses[name], against, struggling))
        opponent = Partner(*min(against.items(), key=_value)) if against else None
        helper = Partner(*max(helped.items(), key=_value)) if helped else None
        findings.append(found._replace(opponent=opponent, helper=helper))
    return Diagnosis(findings, tasks, cosines, affinities, joint.history)


def _compare(joint: Evaluation, single: Evaluation, task: str) -> Finding:
    """Compare a task's errors on the same examples, and leave out what training tells."""
    ours, alone = joint.of(task), single.of(task)
    if [row.id for row in ours] != [row.id for row in alone]:
        raise ValueError(f"task {task!r}: the two runs were evaluated on different examples")
    metric = next(iter(ours[0].counts))
    figures = [error_rate(*evaluation.counts(task, metric)) for evaluation in (joint, single)]
    errors = [_errors(evaluation, task, metric) for evaluation in (joint, single)]
    own, other = (torch.tensor([error_rate(*counts)], dtype=torch.float64) for counts in errors)
    groups = [row.group for row in ours]
    interval = bootstrap_difference(
        *errors[1], *errors[0], groups=groups if any(groups) else None, relative=True
    )
    verdict: Verdict = "helped" if interval.low > 0 else "no difference"
    verdict = "hurt" if interval.high < 0 else verdict
    gained = float(gain(own, other))
    return Finding(task, metric, figures[0], figures[1], gained, interval, None, None, verdict, "")


def _errors(evaluation: Evaluation, task: str, metric: str) -> tuple[list[float], list[float]]:
    """Give what is wrong, and of how much, one per example."""
    top, bottom = evaluation.counts(task, metric)
    if METRICS[metric].direction == "max":
        top = [whole - right for right, whole in zip(top, bottom, strict=True)]
    return top, bottom


def _mean(history: Sequence[Mapping[str, Any]], kind: str, pair: str) -> float:
    """Average what the looks saw of a pair; NaN where none did."""
    found = [entry[kind][pair] for entry in history if pair in entry.get(kind, {})]
    return sum(found) / len(found) if found else math.nan


def _cosine(history: Sequence[Mapping[str, Any]], a: str, b: str) -> float:
    """A cosine is written once, under either order of the two."""
    found = _mean(history, "conflict", f"{a}|{b}")
    return _mean(history, "conflict", f"{b}|{a}") if math.isnan(found) else found


def _others(tasks: Sequence[str], place: int, values: NDArray[np.float64]) -> dict[str, float]:
    """Name the values that other tasks have."""
    pairs = enumerate(zip(tasks, values.tolist(), strict=True))
    return {name: value for at, (name, value) in pairs if at != place and not math.isnan(value)}


def _value(item: tuple[str, float]) -> float:
    return item[1]


def _cells(finding: Finding) -> list[str]:
    """Write a row of the table."""
    rate = METRICS[finding.metric].scale is None
    figures = [f"{100 * v:.2f}" if rate else f"{v:.4g}" for v in (finding.joint, finding.single)]
    ends = finding.interval
    interval = f"{100 * ends.low:+.1f} to {100 * ends.high:+.1f}" if np.isfinite(ends).all() else ""
    against, helper = finding.opponent, finding.helper
    return [
        finding.task,
        f"{finding.metric} %" if rate else finding.metric,
        *figures,
        f"{100 * finding.gain:+.1f}",
        interval,
        f"{against.task} ({against.value:+.2f})" if against else "",
        f"{helper.task} ({100 * helper.value:+.2g} %)" if helper else "",
        finding.verdict,
        finding.cause,
    ]
