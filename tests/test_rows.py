"""Gradients task by task, against gradients taken by hand."""

import copy

import pytest
import torch
from test_contract import BOTH, DIM, DOMAINS, WIDTH, Linear, Reversal, Toy, build, spoken, streams
from test_contract import train as train_contract
from toy import Bad, assert_same_weights
from toy import train as train_toy

from mtl.balancing import Balance, look_up
from mtl.config import Fit
from mtl.device import make_accelerator
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.method import Totals
from mtl.model import Model
from mtl.rows import last_matrix
from mtl.step import Step
from mtl.stream import Parts, Stream
from mtl.trunks.transformer import Transformer
from mtl.update import Updater

METHODS = ("pcgrad", "mgda", "cagrad", "gradvac", "imtl", "aligned", "upgrad", "nash")
TASKS = ("nl", "cy", "language", "digit")


def one_stream():
    """Three tasks that read the same features."""
    torch.manual_seed(0)
    tasks = [Task("nl", "speech", CTC(["a", "b"])), Task("cy", "speech", CTC(["a", "b", "c"]))]
    tasks += [Task("language", "speech", Classify(["nl", "cy"]))]
    return Model({"speech": Linear(WIDTH, DIM)}, Transformer(DIM, 2, 2, 2, 0.0), tasks)


def gradients(model, batches, config, methods=None):
    """The gradients that the updater gives the optimizer, unclipped, by name."""
    balance = Balance(model, config.balance, config.gramian) if config.balance else None
    step = Step(model, methods, balance)
    updater = Updater(step, config, make_accelerator(config), 10)
    parts = [
        Parts(streams(**batches), 0, accumulate=config.accumulate)[0, part]
        for part in range(config.accumulate)
    ]
    step.train()
    phase = updater.phases[0]
    if updater.rows is not None and updater.rows.begin():
        updater._apart(phase, parts, 0.0)
    else:
        updater._backward(phase, parts, 0.0)
    return {name: p.grad for name, p in step.named_parameters() if p.grad is not None}


def settings(**more):
    return Fit(steps=10, precision="no", threads=1, clip=0.0, dry_run=False, **more)


def by_hand(model, batches, wanted=None):
    """Each task's loss, and its gradient of `wanted` weights (all of the encoder), as (T, P)."""
    part = Parts(streams(**batches), 0)[0, 0]
    output, read = (
        Step(model).train().compute(part.batches, "train", True, Totals(part.examples), 0.0)
    )
    losses = output.losses
    wanted = wanted or [*model.stems.parameters(), *model.trunk.parameters()]
    rows = []
    for name in model.tasks:
        found = torch.autograd.grad(losses[name], wanted, retain_graph=True, allow_unused=True)
        filled = [
            torch.zeros_like(p) if g is None else g for p, g in zip(wanted, found, strict=True)
        ]
        rows.append(torch.cat([g.flatten() for g in filled]))
    return losses, torch.stack(rows), read


def balanced(method, gramian="all", net=build, batches=BOTH, methods=None, **more):
    """A run for `two_processes.py`."""

    def run():
        made = {name: kind() for name, kind in (methods or {}).items()}
        more_settings = {"balance": method, "gramian": gramian, "steps": 50} | more
        return train_contract(net(), batches, made, **more_settings).model

    return run


SPEECH = {"speech": 6.0}
RUNS = {method: balanced(method) for method in (*METHODS, "uw", "dwa")}
RUNS["mgda-last"] = balanced("mgda", "last", one_stream, SPEECH)
RUNS["mgda-features"] = balanced("mgda", "features", one_stream, SPEECH)
RUNS["mgda-dann"] = balanced("mgda", batches=DOMAINS, methods={"dann": Reversal})
RUNS["cagrad-accumulated"] = balanced("cagrad", accumulate=2)


def encoder(found, model):
    names = [n for n, _ in model.named_parameters() if n.split(".")[0] in ("stems", "trunk")]
    return torch.cat([found[f"model.{name}"].flatten() for name in names])


def combine(method, rows):
    combine, fresh, _ = look_up(method)
    gramian = (rows.double() @ rows.double().T).cpu()
    losses = torch.full((len(rows),), torch.nan, dtype=torch.float64)
    return combine(losses, None, gramian, fresh(len(rows)))


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_is_the_rows_combined(method):
    model = build()
    _, rows, _ = by_hand(copy.deepcopy(model), BOTH)
    found = gradients(model, BOTH, settings(balance=method))
    expected = combine(method, rows).float() @ rows
    got = encoder(found, model)
    assert torch.nn.functional.cosine_similarity(got, expected, dim=0) > 0.9999
    torch.testing.assert_close(got.norm(), expected.norm(), rtol=1e-3, atol=0)


def test_heads_learn_from_their_own_loss_alone():
    model = build()
    losses, _, _ = by_hand(model, BOTH)
    expected = {}
    for name, head in model.heads.items():
        found = torch.autograd.grad(losses[name], list(head.parameters()), retain_graph=True)
        expected |= {
            f"model.heads.{name}.{n}": g
            for (n, _), g in zip(head.named_parameters(), found, strict=True)
        }
    got = gradients(copy.deepcopy(model), BOTH, settings(balance="mgda"))
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("gramian", ["last", "features"])
def test_cheaper_sources_compare_less_and_weigh_the_same(gramian):
    speech = {"speech": 6.0}
    model = one_stream()
    _, rows, read = by_hand(copy.deepcopy(model), speech)
    if gramian == "last":
        other = copy.deepcopy(model)
        _, seen, _ = by_hand(other, speech, last_matrix(other.trunk))
    else:
        seen = torch.stack(
            [
                torch.autograd.grad(task.loss, task.features, retain_graph=True)[0].flatten()
                for task in read.values()
            ]
        )
    found = gradients(model, speech, settings(balance="mgda", gramian=gramian))
    weights = combine("mgda", seen).float()
    assert len(set(weights.tolist())) == 3, "weights that do differ"
    torch.testing.assert_close(encoder(found, model), weights @ rows, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("methods", [None, {"dann": Reversal}])
def test_uniform_rows_are_the_plain_sum(methods, monkeypatch):
    batches = DOMAINS if methods else BOTH
    made = [{name: kind() for name, kind in methods.items()} if methods else None for _ in "ab"]
    torch.manual_seed(1)
    plain = gradients(build(), batches, settings(), made[0])
    from mtl.balance import uniform

    monkeypatch.setattr(uniform, "GRADIENTS", True)
    torch.manual_seed(1)
    apart = gradients(build(), batches, settings(balance="uniform"), made[1])
    assert set(plain) == set(apart)
    for name, value in plain.items():
        torch.testing.assert_close(apart[name], value, atol=1e-6, rtol=1e-4)


def test_parts_of_a_step_give_what_the_whole_gives():
    whole = gradients(build(), BOTH, settings(balance="mgda"))
    parts = gradients(build(), BOTH, settings(balance="mgda", accumulate=3))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("gramian", ["last", "features"])
def test_cheaper_sources_learn_from_all_parts(gramian, monkeypatch):
    speech = {"speech": 6.0}
    config = settings(balance="mgda", gramian=gramian, accumulate=3)
    equal = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    monkeypatch.setattr(Balance, "weights", lambda *_: equal)
    model = one_stream()
    _, rows, _ = by_hand(copy.deepcopy(model), speech)
    found = gradients(model, speech, config)
    torch.testing.assert_close(encoder(found, model), equal.float() @ rows, atol=1e-6, rtol=1e-4)


def test_checkpointed_blocks_give_the_same_gradients():
    for gramian in ("all", "last", "features"):
        config = settings(balance="mgda", gramian=gramian)
        once = gradients(one_stream(), {"speech": 6.0}, config)
        again = gradients(
            one_stream(),
            {"speech": 6.0},
            settings(balance="mgda", gramian=gramian, checkpoint_blocks=True),
        )
        for name, value in once.items():
            torch.testing.assert_close(again[name], value, atol=1e-6, rtol=1e-4)


def test_a_loss_scale_changes_nothing(monkeypatch):
    plain = gradients(build(), BOTH, settings(balance="nash"))
    model = build()
    config = settings(balance="nash")
    accelerator = make_accelerator(config)
    step = Step(model, balance=Balance(model, "nash"))
    updater = Updater(step, config, accelerator, 10)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    assert updater.rows.begin()
    updater._apart(updater.phases[0], [Parts(streams(**BOTH), 0)[0, 0]], 0.0)
    for name, value in step.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(value.grad / 1024, plain[name], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("method", ["uw", "dwa"])
def test_losses_are_weighed_by_what_was_seen(method):
    """The second step's weights follow from the first step's losses."""
    model = build()
    step = Step(model, balance=Balance(model, method))
    config = settings(balance=method)
    updater = Updater(step, config, make_accelerator(config), 10)
    first = updater.run(0, [Parts(streams(**BOTH), 0)[0, 0]])
    expected = torch.stack([first.sums[name][0] / first.sums[name][1] for name in TASKS])
    torch.testing.assert_close(step.balance.losses, expected.double(), atol=0, rtol=1e-6)


def test_a_step_that_is_not_finite_is_left_out():
    fitted = train_toy(Bad(nan={"x4"}), steps=30, max_skipped=3, balance="gradvac")
    assert fitted.skipped == {"x4": "loss or gradient not finite"}
    assert all(value.isfinite().all() for value in fitted.model.state_dict().values())


@pytest.mark.parametrize("method", ["gradvac", "uw", "pcgrad"])
def test_an_interrupted_run_goes_on_exactly(method, tmp_path):
    whole = train_toy(steps=10, balance=method).model
    with pytest.raises(KeyboardInterrupt):
        from toy import Spelled

        class Cut(Spelled):
            asked = 0

            def example(self, *args, **more):
                Cut.asked += 1
                if Cut.asked > 25:
                    raise KeyboardInterrupt
                return super().example(*args, **more)

        train_toy(Cut(), tmp_path, steps=10, balance=method, save_every=2)
    resumed = train_toy(out=tmp_path, steps=10, balance=method, save_every=2).model
    assert_same_weights(whole, resumed)


def test_frozen_encoders_leave_heads_to_learn():
    model = build()
    model.stems.requires_grad_(False)
    model.trunk.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    train_contract(model, BOTH, balance="mgda", steps=2)
    changed = {n.split(".")[0] for n, v in model.state_dict().items() if not v.equal(before[n])}
    assert changed == {"heads"}


@pytest.mark.parametrize("gramian", ["all", "last", "features"])
def test_a_task_without_labels_changes_nothing_for_the_others(gramian):
    """Its weights stay, though its momentum would move them, and the others get what they get without it."""
    quiet = Toy(
        12,
        lambda index, g: (
            spoken(index, g)[0],
            {k: v for k, v in spoken(index, g)[1].items() if k != "cy"},
        ),
    )
    found = []
    for tasks in (["nl", "cy", "language"], ["nl", "language"]):
        model = one_stream()
        for name in set(model.tasks) - set(tasks):
            del model.tasks[name]
        config = settings(balance="mgda", gramian=gramian)
        step = Step(model, balance=Balance(model, "mgda", gramian))
        updater = Updater(step, config, make_accelerator(config), 10)
        assert updater.run(0, [Parts({"speech": Stream(quiet, 6.0)}, 0)[0, 0]]).finite
        found.append(model)
    assert_same_weights(*found)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"mtl/balance has no 'pc'; it has: .*pcgrad"):
        Balance(build(), "pc")
    with pytest.raises(ValueError, match="gramian 'some'; choose from all, last, features"):
        Balance(build(), "mgda", "some")
    with pytest.raises(ValueError, match=r"'language' reads an inner block.*take gramian 'all'"):
        Balance(build(), "mgda", "last")
    with pytest.raises(ValueError, match=r"different features .*images, speech, speech b1.*'all'"):
        Balance(build(), "mgda", "features")
    model = one_stream()
    model.trunk.requires_grad_(False)
    model.stems.requires_grad_(True)
    with pytest.raises(ValueError, match="no matrix of the trunk learns; take 'features'"):
        gradients(model, {"speech": 6.0}, settings(balance="mgda", gramian="last"))


@pytest.mark.parametrize("gramian", ["all", "last", "features"])
def test_a_batch_without_labels_moves_nothing(gramian):
    unlabelled = Toy(6, lambda index, g: (spoken(index, g)[0], {}))
    model = one_stream()
    before = copy.deepcopy(model)
    config = settings(balance="mgda", gramian=gramian)
    step = Step(model, balance=Balance(model, "mgda", gramian))
    updater = Updater(step, config, make_accelerator(config), 10)
    assert updater.run(0, [Parts({"speech": Stream(unlabelled, 6.0)}, 0)[0, 0]]).finite
    assert_same_weights(before, model)


@pytest.mark.parametrize("gramian", ["all", "last", "features"])
def test_a_task_whose_weights_are_frozen_takes_part_through_the_encoder(gramian):
    model = one_stream()
    model.head("cy").requires_grad_(False)
    found = gradients(model, {"speech": 6.0}, settings(balance="mgda", gramian=gramian))
    assert not any("heads.cy" in name for name in found)
    whole = gradients(one_stream(), {"speech": 6.0}, settings(balance="mgda", gramian=gramian))
    torch.testing.assert_close(encoder(found, model), encoder(whole, model), atol=0, rtol=0)


@pytest.mark.parametrize("gramian", ["all", "last"])
def test_a_stream_behind_which_nothing_learns_does_not_disturb(gramian):
    """Its loss has no gradient at all, as that of a frozen column's task."""
    model = one_stream()
    step = Step(model, balance=Balance(model, "mgda", gramian))
    config = settings(balance="mgda", gramian=gramian)
    updater = Updater(step, config, make_accelerator(config), 10)
    part = Parts(streams(speech=6.0), 0)[0, 0]
    _, read = step.compute(part.batches, "train", True, Totals(part.examples), 0.0)
    read["cy"] = read["cy"]._replace(
        loss=read["cy"].loss.detach(), features=read["cy"].features.detach()
    )
    assert updater.rows.begin()
    updater.rows.add(read, None)
    updater.rows.finish(False)
    assert all(p.grad is None for p in model.head("cy").parameters())
    assert all(p.grad is not None for p in model.head("nl").parameters())
