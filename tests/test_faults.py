"""What goes wrong outside the program: processes that die, disks that are full or cannot be written."""

import errno
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import torch
from data.test_render import digests, make
from toy import Spelled, assert_same_weights, model, train

from mtl import checkpoint
from mtl.atomic import DiskFull
from mtl.config import launch
from mtl.data.channels import through
from mtl.data.manifest import write_manifest
from mtl.model import Model

RUN = {"steps": 12, "save_every": 3}


@pytest.fixture
def disk(tmp_path):
    """Mount file systems of some kilobytes, in a function that gives their folder."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("file systems cannot be mounted here")
        return place

    yield mount
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def test_a_run_on_a_full_disk_goes_on_where_there_is_space(disk, tmp_path):
    whole = train(out=tmp_path / "whole", **RUN)
    out = disk("size=120k") / "run"
    with pytest.raises(DiskFull, match=r"disk full while writing .*step-00000009"):
        train(out=out, **RUN)
    assert checkpoint.steps(out / "checkpoints") == [3, 6]
    disk("remount", "size=1m")
    assert_same_weights(whole.model, train(out=out, net=model(seed=1), **RUN).model)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_corpus_on_a_full_disk_leaves_nothing(workers, disk):
    place = disk("size=20k")
    with pytest.raises(DiskFull, match=r"disk full while writing .*corpus/\w+ "):
        make(place, workers)
    assert [path.suffix for path in (place / "corpus").iterdir()] == [".lock"]


def test_files_on_a_full_disk_are_whole_or_not_there(disk):
    place = disk("size=64k")
    write_manifest(place / "m.jsonl", [{"text": "short"}])
    with pytest.raises(DiskFull, match=r"m\.jsonl"):
        write_manifest(place / "m.jsonl", [{"text": 1000 * "long"}] * 1000)
    with pytest.raises(DiskFull, match="model"):
        model(depth=99).save_pretrained(place / "model")
    assert os.listdir(place) == ["m.jsonl"]
    assert (place / "m.jsonl").read_text() == '{"text": "short"}\n'


def test_folders_that_cannot_be_written_are_read_and_refused(disk, monkeypatch):
    place = disk("size=1m")
    fitted = train(out=place / "run")
    fitted.model.save_pretrained(place / "model")
    corpus = make(place)
    disk("remount", "ro")
    assert_same_weights(Model.from_pretrained(place / "model"), fitted.model)
    assert make(place) == corpus
    monkeypatch.setattr(sys.modules["mtl.fit"], "load_parts", None)  # nothing is trained
    for out in (place / "run", place / "new"):
        with pytest.raises(OSError, match=f"Read-only file system.*{out.name}") as refused:
            train(out=out)
        assert refused.value.errno == errno.EROFS
    with pytest.raises(OSError, match=r"Read-only file system.*telephone"):
        through(corpus / "test.jsonl", "telephone")


class Fatal(Spelled):
    """Kills the second rank where it loads x3 for the first time after a checkpoint."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def example(self, index, draw=None, targets=True):
        late = (
            index == 3 and os.environ["RANK"] == "1" and checkpoint.steps(self.out / "checkpoints")
        )
        if late and not (self.out / "died").exists():
            (self.out / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().example(index, draw, targets)


def be(rank, port, out):
    """Be one of two processes that train as a recipe does; the first saves the model."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}

    def main():
        fitted = train(Fatal(out), out=out, **RUN)
        if rank == "0":
            fitted.model.save_pretrained(out / "model")

    with (out / f"{rank}.txt").open("w") as file, redirect_stderr(file):
        try:
            launch(main)
        except SystemExit as end:  # multiprocessing would write elsewhere
            file.write(str(end))
            raise


def two_ranks(out):
    """Give the exit codes of two ranks and what the first one said."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["toy", "accelerate", "torch._dynamo"])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    ranks = [context.Process(target=be, args=(rank, port, out)) for rank in "01"]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(100)
        process.kill()
    return [process.exitcode for process in ranks], (out / "0.txt").read_text()


def test_a_rank_that_dies_ends_the_run_which_then_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "PYTHONPATH", str(Path(__file__).parent)
    )  # the server imports before it forks
    codes, said = two_ranks(tmp_path)
    assert codes == [1, -signal.SIGKILL], said
    assert "error: another process of this run is gone" in said and "Traceback" not in said
    assert checkpoint.steps(tmp_path / "checkpoints")
    assert two_ranks(tmp_path)[0] == [0, 0]
    resumed, alone = Model.from_pretrained(tmp_path / "model"), train(**RUN).model
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_maker_of_speech_killed_at_any_moment_leaves_no_half_corpus(tmp_path):
    whole = digests(make(tmp_path / "whole"))
    context = multiprocessing.get_context("forkserver")
    for kill in range(12):
        process = context.Process(target=make, args=(tmp_path / "killed", 1 + kill % 2))
        process.start()
        process.join(0.2 * kill)
        process.kill()
        process.join()
        for made in (tmp_path / "killed").glob("corpus/*"):
            assert made.suffix or digests(made) == whole
    made = make(tmp_path / "killed")
    assert digests(made) == whole
    left = [path.name for path in made.parent.iterdir() if ".part" in path.name]
    assert left == []
