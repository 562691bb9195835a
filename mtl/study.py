"""Study: a grid of runs. Finished cells are kept, so that a study started again does what is left."""

import hashlib
import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mtl.atomic import atomic_text
from mtl.device import start_processes
from mtl.metrics import mean_and_range
from mtl.progress import Bar

C = TypeVar("C")


class Result(NamedTuple):
    """One cell of a study: its fields, the figures it gave, or the problem that ended it."""

    cell: dict[str, Any]
    figures: dict[str, Any] | None
    problem: str = ""
    seconds: float = 0.0


class Spread(NamedTuple):
    """A figure over seeds: the mean, the smallest, the largest, and of how many."""

    mean: float
    low: float
    high: float
    n: int


def study(
    cells: Sequence[C],
    run: Callable[[C], Mapping[str, Any]],
    folder: Path,
    *,
    title: str = "study",
    show: bool = True,
) -> list[Result]:
    """Run every cell that `folder` holds no result of, and give all results in the order of the cells.

    A cell is a dataclass, NamedTuple or dict of plain values that decide its figures, the seed among them;
    `run` gives figures that JSON can hold, and calls `fit` with `show=False`, as the study has a progress
    bar of its own. A cell that ends in ValueError, FloatingPointError or MemoryError is recorded with its
    message, does not stop the others, and is tried again when the study is. Under several processes all
    run each cell together, and the first one writes. Raises ValueError where a cell or a figure is
    nothing that JSON can hold.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     grid = [{"cut": cut, "seed": seed} for cut in (1, 2) for seed in (0, 1)]
    ...     found = study(grid, lambda c: {"error": c["cut"] + c["seed"]}, Path(folder), show=False)
    >>> spread(found, "error", by=["cut"])
    {(1,): Spread(mean=1.5, low=1.0, high=2.0, n=2), (2,): Spread(mean=2.5, low=2.0, high=3.0, n=2)}
    """
    state = start_processes()
    described = [_described(cell) for cell in cells]
    names = [_digest(fields) for fields in described]
    known = _from_first({name: _read(folder / f"{name}.json") for name in names})
    results = {name: result for name, result in known.items() if result and not result.problem}
    begun, total = len(results), len(set(names))
    with Bar(title, total, begun, show and state.is_main_process) as bar:
        if begun:
            bar.say(f"{title}: {begun} of {total} runs were finished before")
        for cell, fields, name in zip(cells, described, names, strict=True):
            if name in results:
                continue
            results[name] = result = _run(cell, fields, run)
            if state.is_main_process:
                text = json.dumps(result._asdict(), ensure_ascii=False, indent=1)
                atomic_text(folder / f"{name}.json", text + "\n")
            bar.update(len(results), _named(fields))
        for result in results.values():
            if result.problem:
                bar.say(f"failed: {_named(result.cell)}: {result.problem}")
    return [results[name] for name in names]


def contents(*paths: str | Path) -> list[Any]:
    """Describe files by what they hold, and folders by the names, sizes and times of their files.

    For the key of a study, so that it does not give old figures where a file was replaced.
    """
    found: list[Any] = []
    for path in [Path(path) for path in paths if path != ""]:  # an option that was left out
        if path.is_dir():
            inside = [(file, file.stat()) for file in sorted(path.rglob("*")) if file.is_file()]
            found += [[str(f.relative_to(path)), s.st_size, s.st_mtime_ns] for f, s in inside]
        elif path.is_file():
            with path.open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest())
    return found


def values(
    results: Sequence[Result], figure: str, by: Sequence[str]
) -> dict[tuple[Hashable, ...], list[float]]:
    """Collect a figure by the cells' fields `by`: {their values: [one per seed]}; failed cells are left out.

    Raises ValueError for a figure or field that a result does not have.
    """
    groups: dict[tuple[Hashable, ...], list[float]] = {}
    for result in results:
        if result.figures is None:
            continue
        for kind, names, given in (
            ("figure", [figure], result.figures),
            ("field", by, result.cell),
        ):
            if missing := [name for name in names if name not in given]:
                raise ValueError(f"no {kind} {missing[0]!r}; there are: {', '.join(given)}")
        groups.setdefault(tuple(result.cell[name] for name in by), []).append(
            result.figures[figure]
        )
    return groups


def spread(
    results: Sequence[Result], figure: str, by: Sequence[str]
) -> dict[tuple[Hashable, ...], Spread]:
    """Give a figure's mean, smallest, largest and number for each group of cells; see `values`."""
    groups = values(results, figure, by)
    return {key: Spread(*mean_and_range(found), len(found)) for key, found in groups.items()}


def _run(cell: C, fields: dict[str, Any], run: Callable[[C], Mapping[str, Any]]) -> Result:
    """Run a cell; all processes agree on whether it failed, and get the figures of the first."""
    from accelerate.utils import gather_object

    figures, problem, began = None, "", time.monotonic()
    try:
        figures = dict(run(cell))
    except (ValueError, FloatingPointError, MemoryError) as error:
        problem = f"{type(error).__name__}: {error}"
    problem = next(filter(None, gather_object([problem])), "")
    seconds = round(time.monotonic() - began, 1)
    result = Result(fields, None if problem else _plain(figures, "figures"), problem, seconds)
    agreed: Result = _from_first(result)
    return agreed


def _from_first(found: Any) -> Any:
    """Give what the first process has: all then decide alike."""
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([found])[0]


def _described(cell: Any) -> dict[str, Any]:
    """Give a cell's fields as they come back from JSON."""
    if is_dataclass(cell) and not isinstance(cell, type):
        cell = asdict(cell)
    elif hasattr(cell, "_asdict"):
        cell = cell._asdict()
    if not isinstance(cell, Mapping):
        raise ValueError(f"cell {cell!r} is no dataclass, NamedTuple or dict")
    return _plain(dict(cell), "cell")


def _plain(given: Any, what: str) -> dict[str, Any]:
    """Pass through JSON, so that a fresh result equals one that was read; paths become texts."""

    def text(value: Any) -> str:
        if isinstance(value, Path):
            return str(value)
        raise TypeError(f"{value!r} is {type(value).__name__}; give numbers, texts, lists, dicts")

    try:
        plain: dict[str, Any] = json.loads(json.dumps(given, default=text))
    except TypeError as error:
        raise ValueError(f"{what}: {error}") from error
    return plain


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def _read(file: Path) -> Result | None:
    try:
        return Result(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is no result of a study ({error}); remove it") from error


def _named(fields: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())
