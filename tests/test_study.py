import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from mtl.study import Spread, contents, spread, study, values


@dataclass
class Inner:
    steps: int = 5


@dataclass
class Cell:
    cut: int
    seed: int = 0
    path: Path = Path("x")
    fit: Inner = field(default_factory=Inner)


class Pair(NamedTuple):
    cut: int
    seed: int


def grid():
    return [Cell(cut, seed) for cut in (1, 2) for seed in (0, 1, 2)]


class Runs:
    """Counts what was run, and fails where told to."""

    def __init__(self, fail=None):
        self.seen, self.fail = [], fail or {}

    def __call__(self, cell):
        self.seen.append((cell.cut, cell.seed))
        if error := self.fail.get((cell.cut, cell.seed)):
            raise error
        return {"error": cell.cut + cell.seed / 10, "pair": (cell.cut, cell.seed)}


def test_results_come_in_order_and_are_kept(tmp_path):
    first, again = Runs(), Runs()
    results = study(grid(), first, tmp_path, show=False)
    assert first.seen == [(cell.cut, cell.seed) for cell in grid()]
    assert [result.figures["error"] for result in results] == [1, 1.1, 1.2, 2, 2.1, 2.2]
    assert results[0].cell == {"cut": 1, "seed": 0, "path": "x", "fit": {"steps": 5}}
    assert len(list(tmp_path.glob("*.json"))) == 6
    assert study(grid(), again, tmp_path, show=False) == results, "fresh and read are the same"
    assert again.seen == []


def test_an_interrupted_study_does_what_is_left(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study(grid(), Runs({(2, 0): KeyboardInterrupt()}), tmp_path, show=False)
    rest = Runs()
    study(grid(), rest, tmp_path, show=False)
    assert rest.seen == [(2, 0), (2, 1), (2, 2)]


def test_another_cell_is_another_run(tmp_path):
    study(grid(), Runs(), tmp_path, show=False)
    changed = [Cell(1, 0), Cell(1, 0, fit=Inner(6)), Cell(1, 0, path=Path("y"))]
    runs = Runs()
    study(changed, runs, tmp_path, show=False)
    assert len(runs.seen) == 2


def test_contents_tell_files_that_were_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    one, inner = tmp_path / "one.npz", tmp_path / "a" / "b.png"
    one.write_text("1")
    inner.write_text("1")
    paths = one, tmp_path / "a", tmp_path / "missing"
    before = contents(*paths)
    assert contents(*paths) == before and len(before) == 2
    one.write_text("2")
    changed = contents(*paths)
    inner.write_text("22")
    assert len({json.dumps(each) for each in (before, changed, contents(*paths))}) == 3


def test_the_kinds_of_cells_and_equal_ones_share_results(tmp_path):
    runs = Runs()
    study([Pair(1, 0), Pair(1, 0)], runs, tmp_path, show=False)
    assert len(study([{"seed": 0, "cut": 1}], runs, tmp_path, show=False)) == 1
    assert runs.seen == [(1, 0)]


@pytest.mark.parametrize("kind", [ValueError, FloatingPointError, MemoryError])
def test_a_failed_cell_is_recorded_reported_and_tried_again(kind, tmp_path, capsys):
    results = study(grid(), Runs({(1, 1): kind("too large")}), tmp_path)
    message = f"{kind.__name__}: too large"
    assert (results[1].figures, results[1].problem) == (None, message)
    assert sum(result.figures is not None for result in results) == 5
    *_, last = capsys.readouterr().err.splitlines()
    assert last == f"failed: cut=1 seed=1 path=x fit={{'steps': 5}}: {message}"
    kept = [json.loads(file.read_text()) for file in tmp_path.glob("*.json")]
    assert [item["problem"] for item in kept if item["problem"]] == [message]
    repaired = Runs()
    assert not any(result.problem for result in study(grid(), repaired, tmp_path, show=False))
    assert repaired.seen == [(1, 1)]


def test_a_mistake_in_the_code_ends_the_study(tmp_path):
    with pytest.raises(ZeroDivisionError):
        study(grid(), Runs({(1, 1): ZeroDivisionError()}), tmp_path, show=False)


def test_progress_says_what_was_finished_and_how_long_it_takes(tmp_path, capsys):
    study(grid()[:2], Runs(), tmp_path, title="layers")
    study(grid(), Runs(), tmp_path, title="layers")
    shown = capsys.readouterr().err
    assert "layers: 2 of 6 runs were finished before" in shown
    assert "layers 6/6, 0 s left" in shown


def test_what_json_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cell: .*object.* is object; give numbers"):
        study([{"x": object()}], Runs(), tmp_path, show=False)
    with pytest.raises(ValueError, match=r"figures: .* is set; give numbers"):
        study([{"x": 1}], lambda cell: {"y": {1}}, tmp_path, show=False)
    with pytest.raises(ValueError, match="cell 3 is no dataclass"):
        study([3], Runs(), tmp_path, show=False)
    (file,) = [study([{"x": 1}], lambda cell: {}, tmp_path, show=False)] and tmp_path.iterdir()
    file.write_text("{")
    with pytest.raises(ValueError, match=f"{file.name} is no result of a study"):
        study([{"x": 1}], lambda cell: {}, tmp_path, show=False)


def test_figures_are_gathered_over_seeds(tmp_path):
    failing = Runs({(1, 1): ValueError("no")})
    results = study(grid(), failing, tmp_path, show=False)
    assert values(results, "error", ["cut"]) == {(1,): [1.0, 1.2], (2,): [2.0, 2.1, 2.2]}
    found = spread(results, "error", ["cut"])
    assert found[1,] == Spread(pytest.approx(1.1), 1.0, 1.2, 2)
    assert found[2,] == Spread(pytest.approx(2.1), 2.0, 2.2, 3)
    with pytest.raises(ValueError, match="no figure 'wer'; there are: error, pair"):
        values(results, "wer", ["cut"])
    with pytest.raises(ValueError, match="no field 'mode'; there are: cut, seed, path, fit"):
        values(results, "error", ["mode"])


WORKER = """
import os, sys
from pathlib import Path
from accelerate import PartialState
from mtl.study import study
rank, folder = int(os.environ["RANK"]), Path(sys.argv[1])

def run(cell):
    assert int(os.environ["WORLD_SIZE"]) == 2
    with open(f"{folder}/ran-{rank}", "a") as file:
        file.write(f"{cell['seed']} ")
    if cell["seed"] == 1 and rank == 1:
        raise ValueError("only here")
    return {"rank": rank}

# Only the first process sees the finished cells, as on machines without a common disk.
own = folder / "cells" if rank == 0 else folder / "nothing"
results = study([{"seed": seed} for seed in range(3)], run, own)
with open(f"{folder}/got-{rank}", "a") as file:
    print([(result.figures, result.problem) for result in results], file=file)
PartialState().wait_for_everyone()
PartialState().destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_decide_alike(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.getcwd()}
    for _ in range(2):
        subprocess.run(
            [*command, str(tmp_path / "worker.py"), str(tmp_path)],
            env=environment,
            check=True,
            capture_output=True,
            timeout=120,
        )
    expected = [({"rank": 0}, ""), (None, "ValueError: only here"), ({"rank": 0}, "")]
    for rank in (0, 1):
        assert (tmp_path / f"got-{rank}").read_text() == f"{expected}\n" * 2
        assert (tmp_path / f"ran-{rank}").read_text() == "0 1 2 1 "
    assert not (tmp_path / "nothing").exists()
