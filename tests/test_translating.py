"""What all methods promise that paint pictures anew; each one's losses have tests of their own."""

import pytest
import torch
import torch.nn.functional as F
from painting import KINDS, SMALL, batches, calm, data, net, run, stepped, viewed
from safetensors import safe_open
from test_fit import Stopped, stop_at
from toy import assert_same_weights

from mtl.batch import Batch, Labels
from mtl.config import Fit
from mtl.device import make_accelerator
from mtl.methods.dann import DANN
from mtl.methods.pixelda import PixelDA
from mtl.methods.unit import UNIT
from mtl.model import Model
from mtl.step import Step
from mtl.stream import Parts, Stream
from mtl.translating import Networks, distance, twice
from mtl.trunks.resnet import ResNet
from mtl.update import Updater

every_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind, **more):
    return KINDS[kind](networks=SMALL, **more)


@every_kind
def test_tasks_learn_from_pictures_and_from_their_translations(kind):
    step, view, _ = stepped(calm(kind))
    seen, given = view.batches["source"], batches(step.model, source=5)["source"]
    assert torch.equal(seen.inputs[:5], given.inputs) and len(seen.inputs) == 10
    painted = step.methods["method"].translate(given.inputs)
    torch.testing.assert_close(seen.inputs[5:], painted)
    assert not torch.allclose(seen.inputs[5:], given.inputs, atol=0.1)
    assert seen.labels["label"].values.tolist() == [0, 1, 0, 1, 0] * 2
    scores = view.scores["kind"].x
    losses = [F.cross_entropy(half, torch.tensor([0, 1, 0, 1, 0])) for half in scores.chunk(2)]
    found = step(batches(step.model, source=5, target=4), "train", True, view.totals, 0.5).losses
    torch.testing.assert_close(found["kind"], sum(losses))
    assert len(view.batches["target"].inputs) == 4


@every_kind
@pytest.mark.parametrize("keep", [0.0, 0.3])
def test_keep_is_the_share_of_the_tasks_gradient_that_generators_get(kind, keep):
    method = calm(kind)
    method.keep = keep
    step, view, _ = stepped(method)
    own = [p for n, p in method.named_parameters() if "discriminators" not in n]
    gradients = []
    for share in (1.0, keep):
        method.keep = share
        losses = step(
            batches(step.model, source=5, target=4), "train", True, view.totals, 0.5
        ).losses
        found = torch.autograd.grad(losses["kind"], own, allow_unused=True)
        gradients.append(
            [torch.zeros_like(p) if g is None else g for p, g in zip(own, found, strict=True)]
        )
    assert any(g.any() for g in gradients[0])
    for whole, part in zip(*gradients, strict=True):
        torch.testing.assert_close(part, keep * whole, atol=1e-6, rtol=1e-4)


@every_kind
def test_generators_fool_discriminators_that_stay(kind):
    step, _, terms = stepped(calm(kind, weight=0.7))
    (method,) = step.methods.values()
    terms["fool"].backward()
    judged = [p.grad for p in method.discriminators.parameters()]
    assert not any(g is not None and g.any() for g in judged)
    x = batches(step.model, source=5, target=4)
    fakes = [method.translate(x["source"].inputs)]
    if len(method.discriminators) == 2:
        fakes.append(method.paint(x["target"].inputs, way=1))  # black is -1 and white 1 here
    wanted = [
        method.loss(j(f), True).mean() for j, f in zip(method.discriminators, fakes, strict=True)
    ]
    torch.testing.assert_close(terms["fool"], 0.7 * sum(wanted))


@every_kind
def test_discriminators_tell_what_is_real_from_what_is_painted(kind):
    step, view, _ = stepped(calm(kind))
    (method,) = step.methods.values()
    view, terms = viewed(step, batches(step.model, source=5, target=4), method.phase)
    assert view.features == {} and view.scores == {} and len(view.batches["source"].inputs) == 5
    x, y = (view.batches[name].inputs for name in ("source", "target"))
    pairs = [(y, method.paint(x)), (x, method.paint(y, 1))][: len(method.discriminators)]
    wanted, right = 0, []
    for judge, (real, fake) in zip(method.discriminators, pairs, strict=True):
        wanted += method.loss(judge(real), True).mean() + method.loss(judge(fake), False).mean()
        right += [
            (judge(real) > method.middle).float().mean(),
            (judge(fake) <= method.middle).float().mean(),
        ]
    torch.testing.assert_close(terms["judge"], wanted)
    torch.testing.assert_close(terms["told"], sum(right) / len(right))
    step.zero_grad()
    terms["judge"].backward()
    moved = {
        n.split(".")[2] for n, p in step.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert moved == {"discriminators"}
    assert viewed(step, view.batches, "another")[1] == {}


@every_kind
def test_discriminators_see_more_than_a_stroke(kind):
    """Two layers see 10 pixels of 28, and never that a digit is too small."""
    method = made(kind)
    method.make(1, 28)
    x = torch.zeros(1, 1, 28, 28, requires_grad=True)
    for judge in method.discriminators:
        scores = judge.eval()(x)[0]
        (gradient,) = torch.autograd.grad(scores[len(scores) // 2], x)
        seen = gradient[0, 0].nonzero()
        assert (seen.amax(0) - seen.amin(0) >= 20).all()


@every_kind
def test_a_phase_moves_its_own_networks_only(kind):
    method = made(kind)
    model = net()
    step = Step(model, {"gan": method})
    config = Fit(steps=2, precision="no")
    updater = Updater(step, config, make_accelerator(config), 2)
    parts = [Parts({n: Stream(d, 4.0) for n, d in data(model).items()}, 0)[0, 0]]
    seen = {}
    for phase in updater.phases:
        before = {n: p.clone() for n, p in step.named_parameters()}
        updater._phase(phase, parts, 0.5)
        seen[phase.name] = {n for n, p in step.named_parameters() if not p.equal(before[n])}
    judges = {n for n, _ in step.named_parameters() if "discriminators" in n}
    assert seen[method.phase] == judges
    assert not seen["train"] & judges
    for part in ("model.stems", "model.trunk", "model.heads", "methods.gan"):
        assert any(name.startswith(part) for name in seen["train"]), part


@every_kind
def test_ten_steps_are_five_and_resume_and_five(kind, tmp_path, monkeypatch):
    """In the midst of adversarial training, with noise and dropout."""
    settings = {"steps": 10}
    whole = run(made(kind), out=tmp_path / "whole", **settings)
    stop_at(monkeypatch, 5)
    with pytest.raises(Stopped):
        run(made(kind), out=tmp_path / "parts", **settings)
    again = made(kind)
    resumed = run(again, out=tmp_path / "parts", seed=1, **settings)
    assert_same_weights(whole.model, resumed.model)
    assert resumed.history == whole.history
    assert any(name == "method/told" for name in whole.history[-1]["loss"])


@every_kind
def test_the_saved_model_holds_no_generator_and_no_discriminator(kind, tmp_path):
    model = run(made(kind), steps=2).model
    model.save_pretrained(tmp_path / "model")
    with safe_open(tmp_path / "model/model.safetensors", "pt") as file:
        assert set(file.keys()) == set(net().state_dict())
    assert model.config() == net().config()


@every_kind
def test_parts_of_a_batch_add_up_to_the_whole(kind):
    whole, parted = (run(calm(kind), accumulate=count).model for count in (1, 2))
    for (key, a), b in zip(whole.state_dict().items(), parted.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=key)


@every_kind
def test_spares_change_nothing(kind):
    step, _, _ = stepped(calm(kind))
    given = batches(step.model, source=7, target=6)
    spare = {
        name: batch._replace(weights=(torch.arange(len(batch.lengths)) < size).float())
        for (name, batch), size in zip(given.items(), (5, 4), strict=True)
    }
    for phase in ("train", step.methods["method"].phase):
        wanted = viewed(step, batches(step.model, source=5, target=4), phase)[1]
        found = viewed(step, spare, phase)[1]
        assert set(found) == set(wanted)
        for name, value in wanted.items():
            torch.testing.assert_close(found[name], value, msg=name)


@every_kind
def test_labels_of_the_target_are_never_used(kind):
    method = calm(kind)
    step, _, wanted = stepped(method)
    given = batches(step.model, source=5, target=4)
    assert given["target"].labels == {}
    told = given["target"]._replace(labels={"label": Labels(torch.ones(4, dtype=torch.long))})
    found = viewed(step, given | {"target": told})[1]
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value)


@every_kind
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_it_trains_and_reports(kind, precision):
    fitted = run(made(kind), steps=3, precision=precision)
    assert not fitted.skipped
    assert {"method/fool", "method/judge", "method/told"} <= set(fitted.history[-1]["loss"])


def test_its_networks_have_a_rate_of_their_own():
    """At rate 0 of the model the generator still learns, and the model does not."""
    method = made("pixelda")
    before = run(made("pixelda"), steps=1, lr=1e-9).model
    model = run(method, steps=3, lr=1e-9, weight_decay=0.0).model
    for a, b in zip(before.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    fresh = made("pixelda")
    fresh.build(net())
    moved = (method.generator.layers[1].weight - fresh.generator.layers[1].weight).abs().max()
    assert moved > 1e-4


def test_pictures_keep_the_scale_of_their_stem():
    """With another mean and deviation, black and white are not -1 and 1."""
    model = net(mean=0.2, std=0.1)
    _, view, _ = stepped(made("unit"), model)
    painted = view.batches["source"].inputs[5:]
    assert -2.001 <= painted.min() < -0.5 and 4 < painted.max() <= 8.001


def test_it_goes_along_with_methods_that_compare_features():
    model = net()
    methods = {"pixelda": made("pixelda"), "dann": DANN()}
    streams = {name: Stream(found, 5.0) for name, found in data(model).items()}
    from mtl.fit import fit

    config = Fit(steps=2, precision="no", threads=1, log_every=1, dry_run=False)
    history = fit(model, streams, config, methods=methods, show=False).history
    assert {"dann/domain", "pixelda/fool", "pixelda/judge"} <= set(history[-1]["loss"])


def test_a_batch_twice():
    labels = {"word": Labels(torch.tensor([[1, 2]]), torch.tensor([2]), torch.tensor([True]))}
    batch = Batch(torch.zeros(1, 2), torch.tensor([2]), labels, torch.tensor([0.5]), ids=("a",))
    found = twice(batch._replace(groups={"who": torch.tensor([3])}), torch.ones(1, 2))
    word = found.labels["word"]
    assert word.values.tolist() == [[1, 2]] * 2 and word.present.tolist() == [True, True]
    assert found.weights.tolist() == [0.5, 0.5] and found.groups["who"].tolist() == [3, 3]
    assert twice(batch._replace(weights=None), torch.ones(1, 2)).weights is None


def test_distance_is_the_mean_absolute_error():
    x, y = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    wanted = [F.l1_loss(a, b) for a, b in zip(x, y, strict=True)]
    torch.testing.assert_close(distance(x, y), torch.stack(wanted))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "weight is -1.0, keep 1.0, width 32"),
        ({"keep": -0.5}, "keep -0.5"),
        ({"networks": Networks(fold=3)}, "fold 3.*fold is 1, 2 or 4"),
        ({"networks": Networks(depth=0)}, "depth 0"),
        ({"networks": Networks(lr=0.0)}, "lr 0.0"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PixelDA(**arguments)


def test_streams_that_cannot_be_painted_are_named():
    from mtl.stems.logmel import LogMel
    from mtl.stems.pixels import Pixels

    stems = {"a": Pixels(1, 8, 4), "b": Pixels(3, 8, 4), "c": Pixels(1, 10, 4), "s": LogMel(4)}
    model = Model(stems, ResNet(4, [8]), streams={"d": "a", "e": "c", "t": "s"})
    for sides, message in {
        ("a", "b"): r"channels and sizes \[\(1, 8\), \(3, 8\)\]; UNIT paints pictures of one shape",
        ("c", "e"): "whose size 4 divides",
        ("s", "t"): r"\[\(0, 0\), \(0, 0\)\]",
        (("a", "d"), "b"): "UNIT paints one source as one target, not",
    }.items():
        with pytest.raises(ValueError, match=message):
            UNIT(*sides).build(model)
    step = Step(net(), {"m": UNIT(networks=SMALL)})
    with pytest.raises(ValueError, match="UNIT paints stream 'target'; fit was given: source"):
        step(batches(step.model, source=2), "train", True, None, 0.0)
