import errno
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from toy import train

from mtl import config
from mtl.lock import InUse, alone


def hold(folder, told):
    """Hold a folder, with a worker process of one's own, until killed."""
    with alone(folder):
        if not (worker := os.fork()):
            signal.pause()
        told.send(worker)
        signal.pause()


@pytest.fixture
def holder():
    """Start a process that holds a folder; gives it and its worker."""
    context, started = multiprocessing.get_context("fork"), []

    def start(folder):
        told, tells = context.Pipe(duplex=False)
        process = context.Process(target=hold, args=(folder, tells))
        process.start()
        started.append((process, told.recv()))
        return started[-1]

    yield start
    for process, worker in started:
        process.kill()
        process.join()
        os.kill(worker, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_folder_in_use_is_refused_until_its_holder_dies_however(tmp_path, holder):
    out = tmp_path / "run"
    process, _ = holder(out)
    says = f"run is in use by process {process.pid} on .*: wait until it ends, or choose another folder"
    with pytest.raises(InUse, match=says), alone(out):
        pass
    with pytest.raises(InUse, match=says):
        train(out=out)
    with pytest.raises(InUse, match=says):
        config.parse(Out, "", ["--out", str(out)])
    assert not out.exists(), "the refused wrote nothing"
    process.kill()
    process.join()  # its worker lives on, as those of a killed training do for a while
    assert train(out=out).steps == 10
    assert [path.name for path in out.iterdir()] == ["checkpoints"]


@dataclass
class Out:
    """Settings."""

    out: Path = Path("x")
    """folder"""


def test_the_same_process_may_ask_again(tmp_path):
    with alone(tmp_path / "run"):
        with alone(tmp_path / ".." / tmp_path.name / "run"):
            pass
        assert (tmp_path / ".run.lock").read_text().startswith(f"process {os.getpid()} on ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_the_lock_lies_in_the_folder_where_nothing_beside_it_can_be_written(
    tmp_path, holder, monkeypatch
):
    """As in a container, where the folder alone comes from outside."""
    opened = os.open

    def open_inside(path, *mode):
        if str(path) == str(tmp_path / ".run.lock"):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opened(path, *mode)

    monkeypatch.setattr("os.open", open_inside)
    out = tmp_path / "run"
    process, _ = holder(out)
    assert os.listdir(out) == [".lock"]
    with pytest.raises(InUse, match=f"run is in use by process {process.pid} on "), alone(out):
        pass
    process.kill()
    process.join()
    with alone(out):
        assert os.listdir(out) == [".lock"]
    assert os.listdir(out) == []


def test_a_folder_without_locks_is_used_all_the_same(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", none)
    assert train(out=tmp_path).steps == 10


def test_a_folder_that_cannot_be_written_is_refused_before_the_training(monkeypatch):
    monkeypatch.setattr(sys.modules["mtl.fit"], "load_parts", None)  # nothing is trained
    with pytest.raises(OSError, match="/proc/run"):
        train(out=Path("/proc/run"))
