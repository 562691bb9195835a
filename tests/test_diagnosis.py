"""What a diagnosis says of constructed runs, and of tiny real ones whose trouble is known."""

import math

import numpy as np
import pytest
import torch
from test_contract import WIDTH, Linear, Toy
from test_page import Reader
from test_plots import texts
from torch import nn

from mtl.batch import Features
from mtl.config import Fit
from mtl.diagnosis import Trained, diagnose
from mtl.encoder import Encoder
from mtl.evaluate import Evaluation, Row, evaluate
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.metrics import bootstrap_difference
from mtl.model import Model
from mtl.report import Report
from mtl.stream import Stream


def rows(task, wrong, metric="error", group="", start=0):
    """A row per example; `wrong` marks the errors."""
    counts = [float(not w) if metric == "accuracy" else float(w) for w in wrong]
    return [
        Row(task, f"x{start + n}", group and f"{group}{n % 7}", "", "", 1.0, {metric: (count, 1.0)})
        for n, count in enumerate(counts)
    ]


def wrong(count, of=100):
    """Errors spread over the examples."""
    return [n * 37 % of < count for n in range(of)]


def history(conflict=None, affinity=None, **losses):
    """Twenty entries whose losses fall in a line, {task: (first, last)}, and looks in every second."""
    entries = []
    for n in range(20):
        now = {name: a + (b - a) * min(n, 15) / 15 for name, (a, b) in losses.items()}
        entries.append({"step": 20 * (n + 1), "loss": now})
        if conflict is not None and n % 2:
            sway = 0.1 if n % 4 == 1 else -0.1
            entries[-1]["conflict"] = {pair: value + sway for pair, value in conflict.items()}
            entries[-1]["affinity"] = dict(affinity or {})
        entries.append({"step": 20 * (n + 1), "dev": 0.5})
    return entries


OWN = {f"{name}>{name}": 0.5 for name in "abcd"}


def hurt(conflict, joint=0.5, single=0.1, tasks="abc"):
    """A diagnosis of task a, which errs more with the others."""
    together = Evaluation([row for task in tasks for row in rows(task, wrong(40))])
    past = history(conflict, OWN, **dict.fromkeys(tasks, (2.0, joint)))
    alone = Trained(history(a=(2.0, single)), Evaluation(rows("a", wrong(10))))
    (finding,) = diagnose(Trained(past, together), {"a": alone}).findings
    assert finding.verdict == "hurt" and finding.gain == pytest.approx(-3.0)
    return finding.cause


def test_conflict_names_whom_the_gradient_opposes():
    assert hurt({"a|b": -0.3, "a|c": 0.1, "b|c": -0.9}) == "conflict with b"
    assert hurt({"b|a": -0.3, "a|c": -0.2, "d|a": 0.0}, tasks="abcd") == "conflict with b, c"
    assert hurt({"a|b": -0.3}, tasks="ab") == "conflict with b"


def test_too_little_capacity_where_it_opposes_nobody_or_everybody():
    assert hurt({"a|b": 0.0, "a|c": 0.1, "b|c": -0.9}) == "too little capacity"
    assert hurt({"a|b": -0.2, "a|c": -0.3}) == "too little capacity"


def test_too_little_capacity_where_others_struggle_too():
    """Task a opposes b alone, but c, which it does not oppose, trains worse than alone as well."""
    together = Evaluation([row for task in "abc" for row in rows(task, wrong(40))])
    conflict = {"a|b": -0.3, "a|c": 0.1, "b|c": 0.1}
    for loss, causes in ((0.5, ["too little capacity"] * 2), (0.1, ["conflict with b", ""])):
        past = history(conflict, OWN, a=(2.0, 0.5), b=(2.0, 0.5), c=(2.0, loss))
        errors = {"a": 10, "c": 10 if loss > 0.1 else 40}
        singles = {
            task: Trained(history(**{task: (2.0, 0.1)}), Evaluation(rows(task, wrong(count))))
            for task, count in errors.items()
        }
        found = diagnose(Trained(past, together), singles).findings
        assert [finding.cause for finding in found] == causes


def test_unlike_data_where_it_trains_as_well_as_alone():
    assert hurt({"a|b": -0.9, "a|c": 0.1}, joint=0.1) == "unlike data"
    assert hurt({"a|b": -0.9, "a|c": 0.1}, joint=0.0) == "unlike data"
    assert hurt({"a|b": -0.9, "a|c": 0.1}, joint=0.109, single=0.1) == "unlike data", "10 %"
    assert hurt({"a|b": -0.9, "a|c": 0.1}, joint=0.018, single=0.001) == "unlike data", (
        "both learnt"
    )
    assert hurt({"a|b": -0.9, "a|c": 0.1}, joint=0.025, single=0.001) == "conflict with b"


def test_what_was_not_recorded_is_said():
    assert hurt(None) == "too little capacity, or conflict: fit.diagnose would tell"
    together, alone = (Evaluation(rows("a", wrong(count))) for count in (40, 10))
    found = diagnose(Trained([], together), {"a": Trained([], alone)})
    assert found.findings[0].cause == "unknown: a history holds no training loss of it"
    assert found.findings[0].opponent is None and math.isnan(found.conflicting)
    assert found.course() == "" and "gain, %" in texts(found.map())
    assert not any("cosine" in text for text in texts(found.map()))


def made():
    """Task a is helped, b is hurt by c, c stays; d is auxiliary; e was looked at in no run."""
    metrics = {"a": "accuracy", "b": "error", "c": "error"}
    errors = {"a": (10, 40), "b": (60, 20), "c": (30, 31)}
    conflict = {"a|b": 0.3, "a|c": -0.05, "a|d": 0.0, "b|c": -0.4, "b|d": 0.2, "c|d": -0.2}
    affinity = OWN | {"c>a": 0.02, "b>a": -0.01, "a>b": 0.004, "c>b": -0.2, "b>c": -0.1}
    losses = dict.fromkeys("bcd", (2.0, 0.5)) | {"a": (2.0, 0.2), "coral/distance": (1.0, 0.1)}
    together = [row for t, m in metrics.items() for row in rows(t, wrong(errors[t][0]), m, "s")]
    singles = {
        t: Trained(history(**{t: (2.0, 0.2)}), Evaluation(rows(t, wrong(errors[t][1]), m, "s")))
        for t, m in metrics.items()
    }
    return Trained(history(conflict, affinity, **losses), Evaluation(together)), singles


def test_gains_and_intervals_are_of_errors_whatever_the_metric():
    joint, singles = made()
    found = diagnose(joint, singles)
    a, _, c = found.findings
    assert (a.joint, a.single, a.metric) == (0.9, 0.6, "accuracy")
    assert [f.gain for f in found.findings] == pytest.approx([0.75, -2.0, 1 / 31])
    assert found.mean_gain == pytest.approx((0.75 - 2.0 + 1 / 31) / 3)
    assert [f.verdict for f in found.findings] == ["helped", "hurt", "no difference"]
    groups = [f"s{n % 7}" for n in range(100)]
    ones = [1.0] * 100
    expected = bootstrap_difference(wrong(40), ones, wrong(10), ones, groups=groups, relative=True)
    assert a.interval == expected and expected.low > 0
    assert c.interval.low == 0, "not above"


def test_partners_are_the_lowest_cosine_and_the_highest_affinity():
    joint, singles = made()
    found = diagnose(joint, singles)
    a, b, c = found.findings
    assert [f.opponent.task for f in (a, b, c)] == ["c", "c", "b"]
    assert b.opponent.value == pytest.approx(-0.4), "the mean over training"
    assert [f.helper.task for f in (a, b, c)] == ["c", "a", "b"]
    assert [f.helper.value for f in (a, b, c)] == pytest.approx([0.02, 0.004, -0.1])
    assert b.cause == "conflict with c" and (a.cause, c.cause) == ("", "")
    assert found.tasks == ["a", "b", "c", "d"], "what methods add is no task"
    assert found.conflicting == pytest.approx(3 / 6)
    assert found.cosines[1, 2] == found.cosines[2, 1] == pytest.approx(-0.4)
    assert np.isnan(found.cosines.diagonal()).all() and found.affinities[0, 1] == pytest.approx(
        0.004
    )


def test_the_report_shows_table_map_and_course(tmp_path):
    joint, singles = made()
    found = diagnose(joint, singles)
    report = Report("some_recipe", 0, joint.evaluation.tasks())
    found.add_to(report)
    report.write(tmp_path)
    page = Reader((tmp_path / "report.html").read_text("utf-8"))
    columns, lines = found.table()
    assert [row for row in page.rows if row in [columns, *lines]] == [columns, *lines]
    assert lines[1][:5] == ["b", "error %", "60.00", "20.00", "-200.0"]
    assert lines[1][6:] == ["c (-0.40)", "a (+0.4 %)", "hurt", "conflict with c"]
    assert lines[0][-1] == "" and lines[0][5].startswith("+")
    assert "b: hurt by joint training, likely conflict with c" in report.notes
    assert "c: no difference by joint training" in report.notes
    shown = texts(found.map())
    assert {"a", "b", "c", "d", "cosine of gradients", "-0.4", "75", "-200"} <= set(shown)
    assert shown.count("1") == 0, "a task with itself is left empty"
    assert {"b and c", "step", "cosine of gradients"} <= set(texts(found.course()))


def test_what_cannot_be_compared_is_refused():
    joint, singles = made()
    with pytest.raises(ValueError, match="no single-task run"):
        diagnose(joint, {})
    with pytest.raises(ValueError, match="nothing was evaluated of task 'z'; there is: a, b, c"):
        diagnose(joint, {"z": singles["a"]})
    moved = Trained([], Evaluation(rows("a", wrong(10), "accuracy", "s", start=1)))
    with pytest.raises(
        ValueError, match="task 'a': the two runs were evaluated on different examples"
    ):
        diagnose(joint, {"a": moved})


# Real runs


class Narrow(Encoder):
    """A trunk of `dim` units."""

    def __init__(self, width, dim):
        super().__init__(dim)
        self.width = width
        self.project = nn.Linear(width, dim)

    def leave(self, flow):
        return Features(self.project(flow.x), flow.lengths)


class Signs(Toy):
    """Points; a task tells the sign of one coordinate, or the opposite of it."""

    def __init__(self, count, tasks, seed=0):
        super().__init__(count, lambda index, g: (self.points[index], self._said(index)))
        generator = torch.Generator().manual_seed(seed)
        self.points = torch.randn(count, 1, WIDTH, generator=generator)
        self.tasks = tasks

    def _said(self, index):
        x = self.points[index, 0]
        return {
            name: (x[place] > 0).long() ^ turned for name, (place, turned) in self.tasks.items()
        }

    def labels(self, index):
        return {name: str(int(value)) for name, value in self._said(index).items()}


def train(tasks, dim, heads=None):
    """A joint run of tasks on a trunk of some width."""
    torch.manual_seed(0)
    given = [
        Task(name, "speech", (heads or {}).get(name) or Classify(["0", "1"])) for name in tasks
    ]
    model = Model({"speech": Linear(WIDTH, WIDTH)}, Narrow(WIDTH, dim), given)
    config = Fit(
        steps=42, lr=0.1, precision="no", threads=1, dry_run=False, diagnose=6, log_every=6
    )
    fitted = fit(model, {"speech": Stream(Signs(30, tasks), 60.0)}, config, show=False)
    return Trained(fitted.history, evaluate(fitted.model, {"speech": Signs(100, tasks, 1)}))


def compared(tasks, dim, heads=None):
    """The findings of a joint run beside single-task runs."""
    joint = train(tasks, dim, heads)
    singles = {name: train({name: way}, dim) for name, way in tasks.items()}
    return {found.task: found for found in diagnose(joint, singles).findings}


def test_opposite_labels_through_one_head_are_found_to_conflict():
    tasks = {"yes": (0, False), "no": (0, True), "other": (1, False)}
    found = compared(tasks, 4, {"no": "yes"})
    worse = {name for name, finding in found.items() if finding.verdict == "hurt"}
    assert worse and worse <= {"yes", "no"}
    for name in worse:
        other = "no" if name == "yes" else "yes"
        assert found[name].cause == f"conflict with {other}"
        assert found[name].opponent.task == other and found[name].opponent.value < -0.5


def test_too_narrow_a_trunk_is_found_to_be_too_small():
    found = compared({f"t{place}": (place, False) for place in range(4)}, 1)
    worse = [finding for finding in found.values() if finding.verdict == "hurt"]
    assert len(worse) > 1 and {finding.cause for finding in worse} == {"too little capacity"}
