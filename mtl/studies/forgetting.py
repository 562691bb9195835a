"""Forgetting: what a sequence of tasks gained from those before, and lost of them, from the cells of a study.

A cell has a `course`, an `arm` of `mtl.studies.arms` and a `seed`; its figures are those of its `run`, and of
`mtl.studies.borrowed` where columns were grown.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import mean
from typing import Any

from mtl.metrics import bootstrap_difference, verdict
from mtl.plots import curves, maps
from mtl.report import Claim, Report
from mtl.study import Result
from mtl.tally import judge, lines, over_seeds, skips, tally

SCRATCH, PROGRESSIVE, HARMFUL = "scratch", "progressive", "harmful"
GROWN = (PROGRESSIVE, "begun")  # of which the target is wanted
RIVALS = ("tuned", "replay", "compress")  # one network that may forget
TARGET = 0.2  # of the errors of scratch columns
AHEAD, LAST = "later tasks, mean", "in the end, mean"
Figures = Mapping[str, Any]


def tell(report: Report, results: Sequence[Result]) -> None:
    """Add the table, the claims, notes and tables of forgetting, scales and costs, curves and heat maps."""
    failed = [result for result in results if result.figures is None]
    done = [result for result in results if result.figures is not None]
    by_course: dict[str, list[Result]] = {}
    for result in done:
        by_course.setdefault(result.cell["course"], []).append(result)
    rows = {course: [*_errors(own), *_lost(own)] for course, own in by_course.items()}
    named = _namer([{row.cell["task"] for row in own} for own in rows.values()])
    for course, own in by_course.items():
        tally(report, rows[course], named, "{arm}".format_map)
        report.claims += claims(course, own)
        report.notes += [*_kept(course, own), *_costs(course, own), *_scales(course, own)]
        report.notes += list(dict.fromkeys(note for r in own for note in _of(r)["notes"]))
        _draw(report, course, own)
    tally(report, failed, str, str)
    every = [Result({}, f["after"]) for r in done for f in _of(r)["tasks"].values()]
    report.notes += skips(every, "skipped", "test examples, which count as errors")
    report.notes += skips(done, "untrained", "training examples")


def balanced(figures: Sequence[Figures]) -> dict[str, Any]:
    """Make one task of several, each of which counts the same: the value is the mean of theirs.

    >>> two = [{"metric": "cer", "value": v, "n": 1, "counts": [[v * 8, 8, "x"]]} for v in (0.25, 0.75)]
    >>> balanced(two)
    {'metric': 'cer', 'value': 0.5, 'n': 2, 'counts': [[0.25, 1.0, 'x'], [0.75, 1.0, 'x']]}
    """
    counts = []
    for each in figures:
        total = sum(row[1] for row in each["counts"])
        counts += [[row[0] / total, row[1] / total, row[2]] for row in each["counts"]]
    found = {"metric": figures[0]["metric"], "value": mean(each["value"] for each in figures)}
    return {**found, "n": sum(each["n"] for each in figures), "counts": counts}


def claims(course: str, results: Sequence[Result]) -> list[Claim]:
    """Judge each arm against scratch, progressive columns against rivals in the end, and harm."""
    rows = _errors(results)
    ahead = [row for row in rows if row.cell["task"] == AHEAD]
    ended = [row for row in rows if row.cell["task"] == LAST]
    arms, found = {row.cell["arm"] for row in ahead}, []
    for arm in dict.fromkeys(row.cell["arm"] for row in ahead):
        if arm != SCRATCH and SCRATCH in arms:
            margin = TARGET if arm in GROWN else 0.0
            more = f"at least {TARGET:.0%} fewer" if margin else "fewer"
            text = f"{course}: {arm}: {more} errors than scratch from the second task on (relative)"
            found.append(fewer(text, ahead, {"arm": arm}, {"arm": SCRATCH}, margin))
    for rival in RIVALS:
        if {rival, PROGRESSIVE} <= arms:
            text = f"{course}: progressive: fewer errors than {rival} in the end"
            found.append(judge(text, ended, {"arm": rival}, {"arm": PROGRESSIVE}))
    for second in (r.cell["task"] for r in rows if r.cell["arm"] == HARMFUL):
        text = f"{course}: a harmful first column makes the second worse than scratch"
        at = {"task": second}
        found.append(judge(text, rows, at | {"arm": HARMFUL}, at | {"arm": SCRATCH}))
        break
    return found


def fewer(
    claim: str, results: Sequence[Result], a: Figures, b: Figures, margin: float = 0.0
) -> Claim:
    """Judge that cells like `a` have fewer errors than cells like `b`, by more than the share `margin`.

    The difference is a share of b's errors: over seeds or, where there is one only, over its test examples.
    Where b makes none in some run there is no share: then it is of the examples.
    """
    runs = [
        {r.cell["seed"]: r.figures for r in results if r.figures and like.items() <= r.cell.items()}
        for like in (a, b)
    ]
    both = [(runs[0][seed], runs[1][seed]) for seed in runs[0] if seed in runs[1]]
    if not all(two["value"] for _, two in both):
        return judge(f"{claim}: absolute, as some run has no errors", results, b, a)
    shares = [(two["value"] - one["value"]) / two["value"] for one, two in both]
    if len(both) != 1:
        return over_seeds(claim, shares, margin)
    columns = [[row[place] for row in each["counts"]] for each in both[0][::-1] for place in (0, 1)]
    groups = [row[2] for row in both[0][0]["counts"]]
    found = bootstrap_difference(*columns, groups=groups, relative=True)
    judged = verdict(found._replace(low=found.low - margin, high=found.high - margin))
    return Claim(claim, judged, shares[0], found)


def _of(result: Result) -> Figures:
    assert result.figures is not None
    return result.figures


def _namer(tasks: Sequence[Collection[str]]) -> Callable[[Figures], str]:
    """Name rows by their tasks, and by their course as well where several have such a task."""

    def name(cell: Figures) -> str:
        several = sum(cell["task"] in own for own in tasks) > 1
        return f"{cell['course']}: {cell['task']}" if several else str(cell["task"])

    return name


def _row(result: Result, task: str, figures: Figures) -> Result:
    return Result(result.cell | {"task": task}, dict(figures))


def _errors(results: Sequence[Result]) -> list[Result]:
    """Give a row for each task when it was learnt, and means of those from the second on, and in the end."""
    found, means = [], []
    for result in results:
        tasks = _of(result)["tasks"]
        found += [_row(result, task, each["after"]) for task, each in tasks.items()]
        if result.cell["arm"] != HARMFUL:
            later = [each["after"] for task, each in tasks.items() if task != _first(results)]
            means.append(_row(result, AHEAD, balanced(later)))
        if _first(results) in tasks:
            means.append(_row(result, LAST, balanced([each["end"] for each in tasks.values()])))
    return found + means


def _first(results: Sequence[Result]) -> str:
    """Name the first task of a course."""
    return str(_of(results[0])["order"][0])


def _lost(results: Sequence[Result]) -> list[Result]:
    """Give a row for each task but the last of what was forgotten: its error in the end, less before."""
    found = []
    for result in results:
        tasks = _of(result)["tasks"]
        if not _of(result)["one"] or len(tasks) < 2:
            continue
        for task in list(tasks)[:-1]:
            lost = tasks[task]["end"]["value"] - tasks[task]["after"]["value"]
            found.append(_row(result, f"{task} forgotten", tasks[task]["after"] | {"value": lost}))
    return found


def _kept(course: str, results: Sequence[Result]) -> list[str]:
    """Say of how many earlier tasks the outputs are in the end what they were, to the bit."""
    found: dict[str, list[bool]] = {}
    for result in results:
        tasks = list(_of(result)["tasks"].values())
        if _of(result)["one"] and len(tasks) > 1:
            same = [each["after"]["outputs"] == each["end"]["outputs"] for each in tasks[:-1]]
            found.setdefault(result.cell["arm"], []).extend(same)
    return [
        f"{course}: {arm}: outputs of {sum(same)} of {len(same)} earlier tasks bit-identical in the end"
        for arm, same in found.items()
    ]


def _costs(course: str, results: Sequence[Result]) -> list[str]:
    """Give what learning each task cost, the means over seeds, a line for each arm."""
    notes = []
    for arm in dict.fromkeys(result.cell["arm"] for result in results):
        runs = [_of(r)["tasks"] for r in results if r.cell["arm"] == arm]
        tasks = [task for task, each in runs[0].items() if "trained" in each]
        told = [
            f"{task} {mean(run[task]['milliseconds'] for run in runs):.0f} ms, "
            f"{runs[0][task]['trained'] / 1e6:.3f} of {runs[0][task]['parameters'] / 1e6:.3f} M"
            for task in tasks
        ]
        if told:
            notes.append(f"{course}: {arm}: CPU time a step, weights trained: {'; '.join(told)}")
    return notes


def _scales(course: str, results: Sequence[Result]) -> list[str]:
    """Give the scales and the Fisher share of the first column in the second, as means over seeds."""
    notes = []
    for arm in dict.fromkeys(result.cell["arm"] for result in results):
        runs = [_of(r) for r in results if r.cell["arm"] == arm and _of(r).get("scales")]
        if not runs:
            continue
        column, own = next(iter(runs[0]["scales"].items()))
        source = next(iter(next(iter(own.values()))))
        sizes = {b: mean(run["scales"][column][b][source] for run in runs) for b in own}
        told = ", ".join(f"{block} {value:.4f}" for block, value in sizes.items())
        shares = [run["fisher"][column][source] for run in runs if run["fisher"].get(column)]
        part = mean(value for share in shares for value in share.values()) if shares else None
        fisher = "" if part is None else f"; its share of the Fisher information {part:.0%}"
        notes.append(f"{course}: {arm}: scales of the first column in {column}: {told}{fisher}")
    return notes


def _draw(report: Report, course: str, results: Sequence[Result]) -> None:
    """Add curves of errors and forgetting over the sequence, and heat maps of the first run's columns."""
    order = list(_of(results[0])["order"])
    panels: list[tuple[str, Callable[[Figures], float]]] = [
        ("error when it was learnt", lambda each: each["after"]["value"]),
        (
            "error in the end, less when it was learnt",
            lambda e: e["end"]["value"] - e["after"]["value"],
        ),
    ]
    for title, value in panels:
        rows = [
            Result(result.cell | {"place": 1 + order.index(task)}, {"value": value(each)})
            for result in results
            for task, each in _of(result)["tasks"].items()
        ]
        drawn = curves(lines(rows, "place", "arm"), "task", title, percent=True)
        report.figures.append((drawn, f"{course}: {', '.join(order)}; mean and range over seeds"))
    looked = [r for r in results if r.cell["arm"] == PROGRESSIVE and _of(r).get("fisher")]
    for kind in ("fisher", "perturbation"):
        tables = _of(looked[0])[kind] if looked else {}
        for task, shares in tables.items():
            blocks = next(iter(shares.values()))
            values = [[own[block] for block in blocks] for own in shares.values()]
            drawn = maps({f"{kind} sensitivity of {task}": values}, list(shares))
            report.figures.append(
                (drawn, f"{course}: shares by column, and block: {', '.join(blocks)}")
            )
