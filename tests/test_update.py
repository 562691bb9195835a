import pytest
import torch
from torch import nn
from toy import Bad, Spelled, assert_same_weights, model, train

from mtl.config import Fit
from mtl.device import make_accelerator
from mtl.heads.classify import Classify
from mtl.method import Method
from mtl.optimizer import depths, rate
from mtl.step import Step
from mtl.stream import Parts, Stream
from mtl.update import Updater


def test_the_dry_run_changes_nothing():
    runs = [train(net=model(0.3), dry_run=dry).model for dry in (False, True)]
    assert_same_weights(*runs)


def test_the_dry_run_leaves_running_means_alone():
    class Counting(Classify):
        def build(self, dim):
            super().build(dim)
            self.statistics = nn.BatchNorm1d(len(self.classes))

        def scores(self, f):
            scores = super().scores(f)
            return scores._replace(x=self.statistics(scores.x))

    nets = []
    for dry in (False, True):
        net = model()
        counting = Counting(["nl", "cy"])
        counting.build(8)
        net.heads["language"] = counting
        torch.manual_seed(0)
        nn.init.normal_(counting.output.weight)
        nets.append(train(net=net, dry_run=dry, steps=3).model)
    assert_same_weights(*nets)
    assert nets[0].heads["language"].statistics.num_batches_tracked == 3


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), "DefaultCPUAllocator"],
    ids=["device", "python", "processor"],
)
def test_too_little_memory_shows_at_once(error, monkeypatch):
    def full(*_):
        if isinstance(error, str):
            torch.empty(10**15)
        raise error

    net = model()
    monkeypatch.setattr(net.trunk, "enter", full)
    with pytest.raises(MemoryError, match=r"speech \(\d+, \d+, 6\).*lower the seconds per batch"):
        train(net=net, dry_run=True)


def test_other_errors_of_the_dry_run_stay_what_they_are(monkeypatch):
    net = model()
    monkeypatch.setattr(net.trunk, "enter", lambda batch: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        train(net=net, dry_run=True)


def test_a_step_with_a_nan_changes_nothing_and_names_the_example():
    net = model()
    net.heads["language"].register_buffer("seen", torch.zeros(()))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    updater = Updater(Step(net), Fit(precision="no"), make_accelerator(Fit(precision="no")), 10)
    streams = {"speech": Stream(Bad(nan={"x4"}), 100.0)}
    update = updater.run(0, [Parts(streams, 0)[0, 0]])
    assert not update.finite and update.guilty == ("x4",)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    good = updater.run(1, [Parts({"speech": Stream(Spelled(), 100.0)}, 0)[0, 0]])
    assert good.finite and not net.trunk.norm.weight.equal(before["trunk.norm.weight"])


def test_a_step_that_is_not_finite_leaves_running_means_alone():
    net = model()
    norm = nn.BatchNorm1d(8)
    leave = net.trunk.leave

    def normed(flow):
        f = leave(flow)
        return f._replace(x=norm(f.x.transpose(1, 2)).transpose(1, 2))

    net.trunk.leave, net.trunk.norm_after = normed, norm
    updater = Updater(Step(net), Fit(precision="no"), make_accelerator(Fit(precision="no")), 10)
    assert not updater.run(0, [Parts({"speech": Stream(Bad(nan={"x4"}), 100.0)}, 0)[0, 0]]).finite
    assert norm.running_mean.eq(0).all() and norm.num_batches_tracked == 0


def test_training_goes_on_after_a_nan():
    fitted = train(Bad(nan={"x4"}), steps=30, max_skipped=3)  # ten of them, never three in a row
    assert fitted.skipped == {"x4": "loss or gradient not finite"}
    assert all(value.isfinite().all() for value in fitted.model.state_dict().values())
    assert fitted.steps == 30 and fitted.history


def test_nans_in_every_step_end_the_run():
    everything = {f"x{index}" for index in range(12)}
    with pytest.raises(
        FloatingPointError, match=r"3 steps in a row .*x\d+.*lower fit.lr, now 0.002"
    ):
        train(Bad(nan=everything), max_skipped=3)


def test_an_overflow_without_a_guilty_example_is_named_by_its_step():
    class Steep(Method):
        def terms(self, view):
            x = view.features["speech"].x
            return {"root": (x * 0).clamp(min=0).sqrt().sum()}

    with pytest.raises(FloatingPointError, match="no single example, the gradient overflowed"):
        train(methods={"steep": Steep()}, max_skipped=1)


def test_a_loss_scale_shrinks_after_an_overflow(monkeypatch):
    accelerator = make_accelerator(Fit(precision="no"))
    updater = Updater(Step(model()), Fit(precision="no"), accelerator, 10)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    accelerator.scaler = updater.optimizer.scaler = scaler
    accelerator.native_amp = True
    monkeypatch.setattr(type(accelerator), "mixed_precision", "fp16")
    for _ in range(2):
        part = Parts({"speech": Stream(Bad(nan={"x4"}), 100.0)}, 0)[0, 0]
        assert not updater.run(0, [part]).finite
    assert scaler.get_scale() == 256.0


def test_unreadable_examples_are_skipped_with_their_reason():
    fitted = train(Bad(broken={"x1", "x7"}), steps=20)
    reasons = {"x1": "toy.jsonl:1: cannot be read", "x7": "toy.jsonl:7: cannot be read"}
    assert fitted.skipped == reasons


def test_a_batch_of_nothing_but_unreadable_examples_does_not_end_the_run():
    fitted = train(Bad(broken={"x2"}), batch=1.0, steps=12)
    assert fitted.skipped == {"x2": "toy.jsonl:2: cannot be read"}
    assert fitted.steps == 12


def test_data_without_one_readable_example_end_the_run():
    with pytest.raises(ValueError, match=r"none of .* examples can be used; first: toy.jsonl"):
        train(Bad(broken={f"x{index}" for index in range(12)}))


def test_depths_count_blocks_below_the_heads():
    found = depths(Step(model(depth=2), {"steep": Owner()}))
    wanted = {
        "model.stems.speech.project.weight": 3,
        "model.trunk.blocks.b1.attention": 2,
        "model.trunk.blocks.b2.attention": 1,
        "model.trunk.norm.weight": 1,
        "model.heads.nl.output.weight": 0,
        "methods.steep.net.weight": 0,
    }
    for start, depth in wanted.items():
        assert {value for name, value in found.items() if name.startswith(start)} == {depth}, start


class Owner(Method):
    def build(self, model):
        self.net = torch.nn.Linear(1, 1)


def test_lower_blocks_learn_at_lower_rates():
    """AdamW's first step moves every weight by its rate, whatever the gradient."""
    net = model(depth=2)
    before = {name: value.clone() for name, value in net.named_parameters()}
    train(net=net, steps=1, warmup=0.0, schedule="constant", lr=1e-3, lr_decay=0.1, weight_decay=0)
    moved = {n: (value - before[n]).abs().max().item() for n, value in net.named_parameters()}
    assert moved["heads.nl.output.weight"] == pytest.approx(1e-3, rel=0.01)
    assert moved["trunk.norm.weight"] == pytest.approx(1e-4, rel=0.01)
    assert moved["trunk.blocks.b1.attention.outward.weight"] == pytest.approx(1e-5, rel=0.05)
    assert moved["stems.speech.project.weight"] == pytest.approx(1e-6, rel=0.05)


def test_blocks_thaw_from_the_top_and_a_resumed_run_agrees(tmp_path):
    def moved(steps):
        net = model(depth=2)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        train(net=net, steps=steps, unfreeze=2)
        assert all(parameter.requires_grad for parameter in net.parameters())
        return {n for n, value in net.state_dict().items() if not value.equal(before[n])}

    assert {name.split(".")[0] for name in moved(2)} == {"heads"}
    assert {".".join(name.split(".")[:3]) for name in moved(4) if "heads" not in name} == {
        "trunk.blocks.b2",
        "trunk.norm.weight",
        "trunk.norm.bias",
    }
    assert any(name.startswith("stems") for name in moved(7))
    settings = {"unfreeze": 2, "save_every": 3}
    whole = train(net=model(depth=2), out=tmp_path / "a", steps=8, **settings).model
    half = tmp_path / "half" / "checkpoints"
    half.mkdir(parents=True)
    (tmp_path / "a" / "checkpoints" / "step-00000003").rename(half / "step-00000003")
    again = train(net=model(depth=2), out=tmp_path / "half", steps=8, **settings).model
    assert_same_weights(whole, again)


def test_the_inverse_schedule_is_that_of_the_paper():
    """Ganin et al. 2016: rate 0.01 / (1 + 10 p)^0.75 at share p of the steps."""
    wanted = [1.0, 6**-0.75, 11**-0.75]
    assert [rate(step, 10, 0.0, "inverse") for step in (0, 5, 10)] == pytest.approx(wanted)
    assert rate(0, 10, 0.2, "inverse") == 0.5 and rate(2, 10, 0.2, "inverse") == 1.0


def test_sgd_moves_the_weights_by_hand():
    """v = 0.8 v + g + decay w, w = w - lr v; the decay on matrices only."""
    settings = {"schedule": "inverse", "warmup": 0.0, "clip": 0.0, "weight_decay": 0.1}
    settings |= {"optimizer": "sgd", "momentum": 0.8, "lr": 0.05, "precision": "no", "threads": 1}
    config = Fit(steps=3, **settings)
    updater = Updater(Step(model()), config, make_accelerator(config), 3)
    parts, speeds = Parts({"speech": Stream(Spelled(), 100.0)}, 0), {}
    for step in range(3):
        before = {n: (p.detach().clone(), p) for n, p in updater.held.items()}
        updater.run(step, [parts[step, 0]])
        factor = 0.05 / (1 + 10 * step / 3) ** 0.75
        for name, (old, now) in before.items():
            if now.grad is not None:
                gradient = now.grad + 0.1 * old * (old.dim() > 1)
                speeds[name] = gradient + 0.8 * speeds.get(name, torch.zeros_like(old))
                torch.testing.assert_close(now.detach(), old - factor * speeds[name])
    assert len(speeds) > 10 and any(speed.abs().sum() > 0 for speed in speeds.values())


def test_momentum_goes_on_where_a_run_stopped(tmp_path):
    def trained(out, checkpoints=()):
        for name in checkpoints:
            (out / "checkpoints").mkdir(parents=True)
            (tmp_path / "a" / "checkpoints" / name).rename(out / "checkpoints" / name)
        kind = {"optimizer": "sgd", "schedule": "inverse", "lr": 0.05, "save_every": 3}
        return train(net=model(), out=out, steps=8, **kind).model

    whole = trained(tmp_path / "a")
    assert_same_weights(whole, trained(tmp_path / "half", ["step-00000003"]))
    with pytest.raises(ValueError, match=r"fit.momentum \(None there, 0.5 here\)"):
        train(net=model(), out=tmp_path / "a", steps=8, optimizer="sgd", momentum=0.5)


def test_runs_from_before_the_choice_of_an_optimizer_go_on():
    later = {"optimizer", "momentum", "one_pass"}
    assert not later & set(Fit().decisive())
    assert later & set(Fit(optimizer="sgd", one_pass=True).decisive()) == {"optimizer", "one_pass"}
    with pytest.raises(ValueError, match=r"fit.momentum is 1.0; it must be below 1"):
        Fit(momentum=1.0)


def test_frozen_blocks_rest_until_they_thaw():
    net = model(depth=2)
    config = Fit(precision="no", unfreeze=1)
    updater = Updater(Step(net), config, make_accelerator(config), 10)
    parts = Parts({"speech": Stream(Spelled(), 100.0)}, 0)
    for step, trained in enumerate((set(), {"b2"}, {"b1", "b2"})):
        updater.run(step, [parts[step, 0]])
        assert {name for name, block in net.trunk.blocks.items() if block.training} == trained
