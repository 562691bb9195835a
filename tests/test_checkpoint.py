import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from test_contract import Reversal, Translate
from toy import Spelled, assert_same_weights, model, train

from mtl import checkpoint
from mtl.atomic import DiskFull
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.model import WrongModel


class Slow(Spelled):
    """Takes its time, so that a run can be killed in the middle."""

    def example(self, index, draw=None, targets=True):
        time.sleep(0.002)
        return super().example(index, draw, targets)


LONG = {"steps": 40, "save_every": 2, "batch": 12.0}


def train_slowly(folder, steps=40):
    train(Slow(), out=folder, net=model(dropout=0.3), **{**LONG, "steps": steps})


def die_while_saving(folder, when):
    """Train, and die in the third save: `when` says in which of its files."""
    saves = []

    def half_a_file(tensors, path):
        saves.append(path)
        if len(saves) == 3 and when == "weights":
            Path(path).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return save_file(tensors, path)

    def half_a_state(state, file):
        if len(saves) == 3 and when == "optimizer":
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return save(state, file)

    save_file, save = safetensors.torch.save_file, torch.save
    safetensors.torch.save_file, torch.save = half_a_file, half_a_state
    train_slowly(folder)


@pytest.fixture(scope="module")
def start():
    """Start functions of this module in processes of their own; the imports are made once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "accelerate", "torch._dynamo"])

    def starter(function, *arguments):
        process = context.Process(target=function, args=arguments)
        process.start()
        return process

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the server imports before it forks
        yield starter


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(Slow(), out=tmp_path_factory.mktemp("whole"), net=model(dropout=0.3), **LONG)


@pytest.mark.parametrize(
    ("kills", "steps"), [(5, 60), pytest.param(200, 2400, marks=pytest.mark.slow)]
)
def test_a_run_killed_at_any_moment_ends_as_if_nothing_had_happened(kills, steps, start, tmp_path):
    out, long = tmp_path / "killed", {**LONG, "steps": steps}
    whole = train(Slow(), out=tmp_path / "whole", net=model(dropout=0.3), **long)
    delays, newest = random.Random(os.getpid()), 0
    for _ in range(kills):
        process = start(train_slowly, out, steps)
        before = checkpoint.steps(out / "checkpoints")
        while process.is_alive() and checkpoint.steps(out / "checkpoints") == before:
            time.sleep(0.002)
        time.sleep(delays.uniform(0, 4 * whole.seconds / steps))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kept = checkpoint.steps(out / "checkpoints")[-1]
        assert newest < kept < steps, "lost, or killed too late to tell"
        newest = kept
    resumed = train(Slow(), out=out, net=model(dropout=0.3), **long)
    assert_same_weights(whole.model, resumed.model)
    assert [entry["step"] for entry in resumed.history] == [*range(5, steps + 1, 5)]


@pytest.mark.parametrize("when", ["weights", "optimizer"])
def test_a_run_killed_while_saving_uses_the_checkpoint_before(when, start, whole, tmp_path):
    process = start(die_while_saving, tmp_path, when)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    folder = tmp_path / "checkpoints"
    assert checkpoint.steps(folder) == [2, 4]
    assert len(list(folder.glob(".step-00000006.*"))) == 1
    resumed = train(Slow(), out=tmp_path, net=model(dropout=0.3), **LONG)
    assert_same_weights(whole.model, resumed.model)
    assert not list(folder.glob(".*")), "what the killed process left is gone"


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_for_safetensors(tensors, path):
    Path(path).write_bytes(b"half")
    raise SafetensorError("Error while serializing: I/O error: No space left (os error 28)")


def full_for_torch(state, file):
    try:
        no_space()
    except OSError:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos") from None


FULL = {
    "weights": ("safetensors.torch.save_file", full_for_safetensors),
    "optimizer": ("torch.save", full_for_torch),
    "state": ("pathlib.Path.write_text", no_space),
    "folder": ("tempfile.mkdtemp", no_space),
    "sync": ("os.fsync", no_space),
}


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_named_and_costs_nothing(what, tmp_path, monkeypatch):
    """The errors are those that safetensors 0.8 and torch 2.12 raise on a full tmpfs."""
    whole = train(out=tmp_path / "whole", save_every=5)
    save = checkpoint.save

    def save_on_a_full_disk(folder, step, *rest):
        if step == 10:
            monkeypatch.setattr(*FULL[what])
        return save(folder, step, *rest)

    monkeypatch.setattr(checkpoint, "save", save_on_a_full_disk)
    with pytest.raises(DiskFull) as error:
        train(out=tmp_path / "full", save_every=5)
    monkeypatch.undo()
    folder = tmp_path / "full/checkpoints"
    assert str(folder / "step-00000010") in str(error.value)
    assert "free some space and start the same command again" in str(error.value)
    assert error.value.errno == errno.ENOSPC
    assert sorted(os.listdir(folder)) == ["history.jsonl", "step-00000005"]
    assert_same_weights(whole.model, train(out=tmp_path / "full", save_every=5).model)


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["step.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("damage", [halve, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_passed_over(name, damage, tmp_path):
    whole = train(out=tmp_path, save_every=4)
    damage(tmp_path / f"checkpoints/step-00000010/{name}")
    with pytest.warns(UserWarning, match="step-00000010 is damaged .*using the one before"):
        again = train(out=tmp_path, net=model(seed=1), save_every=4)
    assert_same_weights(whole.model, again.model)
    assert checkpoint.steps(tmp_path / "checkpoints") == [4, 8, 10]


@pytest.mark.filterwarnings("ignore:.*is damaged")
def test_damage_everywhere_starts_anew(tmp_path):
    whole = train(out=tmp_path)
    halve(tmp_path / "checkpoints/step-00000010/state.json")
    assert_same_weights(whole.model, train(out=tmp_path).model)


def other_model():
    net = model()
    net.add(Task("fy", "speech", CTC(["f"])))
    return net


def frozen_model():
    net = model()
    net.heads["nl"].requires_grad_(False)
    return net


class Renamed(Spelled):
    def __init__(self):
        super().__init__()
        self.ids[3] = "somebody else"


class Corrected(Spelled):
    def _said(self, index):
        return super()._said(index) | ({"nl": "ba"} if index == 4 else {})


class Louder(Spelled):
    settings = "gain 2"


def stronger():
    method = Reversal()
    method.strength = 2.0
    return method


def choosing():
    method = Reversal()
    method.tasks = ("nl",)
    return method


OTHERS = {
    "lr": ({"lr": 1e-3}, r"differs in fit.lr \(0.002 there, 0.001 here\): choose"),
    "steps": (
        {"steps": 12, "seed": 3},
        r"fit.steps \(10 there, 12 here\), fit.seed \(0 there, 3 here\)",
    ),
    "model": ({"net": other_model}, "differs in the model, what is trained: choose"),
    "frozen": ({"net": frozen_model}, "differs in what is trained: choose"),
    "ids": ({"data": Renamed()}, "differs in stream 'speech': choose"),
    "labels": ({"data": Corrected()}, "differs in stream 'speech': choose"),
    "settings": ({"data": Louder()}, "differs in stream 'speech': choose"),
    "batch": ({"batch": 9.0}, "differs in stream 'speech', stream 'target': choose"),
    "dev": ({"dev": {"speech": Spelled(3)}}, "differs in dev 'speech': choose"),
    "method": ({"methods": lambda: {"dann": stronger()}}, "differs in method 'dann': choose"),
    "choice": ({"methods": lambda: {"dann": choosing()}}, "differs in method 'dann': choose"),
    "class": ({"methods": lambda: {"dann": Translate()}}, "what is trained, method 'dann': choose"),
    "stream": (
        {"target": None, "methods": None},
        "differs in .*method 'dann', stream 'target': choose",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_checkpoint_of_another_run_is_refused(case, tmp_path):
    change, message = OTHERS[case]
    change = {name: value() if callable(value) else value for name, value in change.items()}
    own = {"methods": {"dann": Reversal()}, "target": Silent()}
    train(out=tmp_path, **own)
    with pytest.raises(ValueError, match=message) as error:
        train(out=tmp_path, **{**own, "methods": {"dann": Reversal()}, **change})
    assert str(error.value).startswith(f"{tmp_path / 'checkpoints'} holds another run")


class Silent(Spelled):
    def example(self, index, draw=None, targets=True):
        return super().example(index, draw, targets)._replace(labels={})


def test_what_does_not_decide_the_result_may_change(tmp_path):
    first = train(out=tmp_path)
    again = train(
        out=tmp_path, keep=5, log_every=1, threads=2, workers=1, max_skipped=3, dry_run=True
    )
    assert_same_weights(first.model, again.model)


def test_weights_of_another_model_are_refused_even_with_the_right_state(tmp_path):
    train(out=tmp_path)
    with pytest.raises(
        WrongModel, match=r"(?s)is of another model:.*- model.heads.fy.output.weight"
    ):
        checkpoint.resume(
            tmp_path / "checkpoints", torch.nn.ModuleDict({"model": other_model()}), None
        )


def test_old_checkpoints_go(tmp_path):
    train(out=tmp_path, save_every=1, keep=2)
    assert checkpoint.steps(tmp_path / "checkpoints") == [9, 10]


def test_a_state_stays_small_as_the_history_has_its_own_file(tmp_path, monkeypatch):
    written = []
    append = checkpoint.append_text
    monkeypatch.setattr(checkpoint, "append_text", lambda *a: [append(*a), written.append(a[1])])
    fitted = train(out=tmp_path, steps=40, log_every=1, save_every=10)
    sizes = [path.stat().st_size for path in (tmp_path / "checkpoints").glob("*/state.json")]
    assert len(sizes) == 3 and max(sizes) - min(sizes) < 20
    lines = (tmp_path / "checkpoints/history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == fitted.history and len(lines) == 40
    assert [len(text.splitlines()) for text in written] == [10, 10, 10], "each line once"


def test_the_history_goes_on_from_the_checkpoint(tmp_path, monkeypatch):
    """Entries behind the checkpoint that is resumed, and half a line, are dropped."""
    whole = train(out=tmp_path, log_every=1, save_every=4)
    folder = tmp_path / "checkpoints"
    shutil.rmtree(folder / "step-00000010")
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"step": 11, "lo')
    again = train(out=tmp_path, log_every=1, save_every=4)
    assert again.history == whole.history and [e["step"] for e in again.history] == [*range(1, 11)]
    lines = (folder / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == whole.history


@pytest.mark.parametrize("damage", [halve, Path.unlink])
def test_a_damaged_best_checkpoint_is_passed_over_at_the_end(damage, tmp_path):
    data = {"dev": {"speech": Spelled(6, 40)}, "eval_every": 2, "save_every": 2}
    first = train(out=tmp_path, net=model(dropout=0.3), **data)
    folder = tmp_path / "checkpoints"
    best = folder / "step-00000002"  # as if it had been: it is no longer among the recent ones
    shutil.copytree(folder / "step-00000010", best, dirs_exist_ok=True)
    path = folder / "step-00000010/state.json"
    state = json.loads(path.read_text()) | {"best": {"step": 2, "score": 0.0}}
    path.write_text(json.dumps(state))
    (path.parent / "digests.json").unlink()
    damage(best / "step.safetensors")
    with pytest.warns(UserWarning, match="step-00000002 is damaged .*passed over"):
        again = train(out=tmp_path, net=model(dropout=0.3), **data)
    assert again.chosen == "last" and first.steps == again.steps == 10


def test_averaging_copes_with_counters(tmp_path):
    module = torch.nn.BatchNorm1d(2)
    optimizer = torch.optim.SGD(module.parameters())
    for step in (1, 3):
        module.running_mean.fill_(float(step))
        module.num_batches_tracked.fill_(step)
        checkpoint.save(tmp_path, step, module, optimizer, {})
    checkpoint.average(tmp_path, [1, 3], module)
    assert module.running_mean.tolist() == [2.0, 2.0] and module.num_batches_tracked == 3
