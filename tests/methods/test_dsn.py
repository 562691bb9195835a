"""DSN: its losses against other ways to compute them, and the details that public code gets wrong."""

import numpy as np
import pytest
import torch
from adapting import SIDES, net, run, stepped, viewed

from mtl.batch import Batch
from mtl.domains import ramp
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.methods.dsn import DSN, difference
from mtl.model import Model
from mtl.stems.logmel import LogMel
from mtl.stems.pixels import Pixels
from mtl.stems.waveform import Waveform
from mtl.step import Step
from mtl.trunks.conformer import Conformer
from mtl.trunks.lenet import LeNet


def test_difference_is_of_centred_rows_of_length_one():
    shared, private = torch.randn(6, 4), torch.randn(6, 4)
    products = np.zeros((4, 4))
    a, b = (h.double().numpy() - h.double().numpy().mean(0) for h in (shared, private))
    for row in range(6):
        products += np.outer(a[row] / np.linalg.norm(a[row]), b[row] / np.linalg.norm(b[row]))
    found = difference(shared, private)
    assert found.item() == pytest.approx(np.mean(products**2), rel=1e-5)
    torch.testing.assert_close(difference(private, shared), found)
    moved = difference(5 * shared + torch.randn(4), private - 3.0)
    torch.testing.assert_close(moved, found, rtol=1e-4, atol=1e-6)
    apart = torch.cat([shared, -shared]), torch.cat([private, private])
    assert difference(*apart) < 1e-10 < found, "one is even where the other is odd"


def test_gradients_are_right():
    x, y = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loose = {"eps": 1e-2, "atol": 2e-2, "rtol": 5e-2}  # it computes in float32
    assert torch.autograd.gradcheck(lambda *z: difference(*z).double(), (x, y), **loose)
    alone = torch.randn(1, 4, requires_grad=True)
    difference(alone, 2 * alone).backward()
    assert alone.grad.isfinite().all(), "centred, a single row is 0"


def sides(view, method):
    """Shared and private codes of both domains, averaged by hand."""
    for stream, encoder in zip(method.streams, method.private, strict=True):
        batch = view.batches[stream]
        both = view.features[stream], encoder(stream, batch)
        frames = [
            torch.stack([x[:n].mean(0) for x, n in zip(f.x, f.lengths, strict=True)]) for f in both
        ]
        yield batch, both, frames


def test_terms_are_summed_over_the_domains():
    method = DSN(**SIDES, weight=0.5, reconstruct=0.2, separate=0.3, start=0.0, width=2)
    _, view, terms = stepped(net(), method, speech=5, target=7)
    alike, error = 0, 0
    for seen, both, frames in sides(view, method):
        alike = alike + difference(*frames)
        made = method.decoder(both[0].x + both[1].x)
        each = [(a - b)[:n] for a, b, n in zip(seen.inputs, made, seen.lengths, strict=True)]
        error = error + torch.stack([e.var(correction=0) for e in each]).mean()
    torch.testing.assert_close(terms["difference"], alike)
    torch.testing.assert_close(terms["reconstruction"], error)


@pytest.mark.parametrize(
    ("term", "strength"), [("reconstruction", "reconstruct"), ("difference", "separate")]
)
def test_strengths_scale_what_reaches_the_model_alone(term, strength):
    found = []
    for scale in (1.0, 0.05, 0.0):
        torch.manual_seed(0)
        step, _, terms = stepped(
            net(), DSN(**SIDES, width=2, **{strength: scale}), speech=5, target=7
        )
        terms[term].backward()
        own = {n: p.grad for n, p in step.methods.named_parameters() if p.grad is not None}
        reached = {n: p.grad for n, p in step.model.named_parameters() if p.grad is not None}
        found.append((own, reached))
    (own, reached), (same, part), (still, none) = found
    assert own and reached and not any(g.any() for g in none.values())
    for name, gradient in own.items():
        torch.testing.assert_close(same[name], gradient)
        torch.testing.assert_close(still[name], gradient)
    for name, gradient in reached.items():
        torch.testing.assert_close(part[name], 0.05 * gradient, atol=1e-6, rtol=1e-3)


def test_the_domain_term_starts_late_and_its_ramp_with_it():
    method = DSN(**SIDES, start=0.4, weight=0.25, width=2)
    model = net()
    step, view, early = stepped(model, method, progress=0.39, speech=4, target=4)
    assert set(early) == {"reconstruction", "difference"}
    sizes = []
    for progress in (0.4, 0.5, 1.0):
        terms = viewed(step, view.batches, progress=progress)[1]
        step.zero_grad()
        terms["domain"].backward()
        sizes.append(model.trunk.norm.weight.grad.norm().item())
        assert method.classifier[0].weight.grad.any(), "it learns at the full rate"
    assert sizes[0] == 0 and sizes[1] / sizes[2] == pytest.approx(ramp(1 / 6) / ramp(1.0), rel=1e-4)
    assert "accuracy" in terms and not terms["accuracy"].requires_grad
    assert "domain" not in viewed(Step(net(), {"m": DSN(**SIDES, weight=0.0)}), view.batches)[1]


def pictured(at="b2", **sizes):
    torch.manual_seed(0)
    task = Task("digit", "a", Classify(["0", "1"]))
    model = Model(
        {"pixels": Pixels(3, 28, 4, kernel=5, padded=False)},
        LeNet(4, 24, 6, [8, 9]),
        [task],
        {"a": "pixels", "b": "pixels"},
    )
    method = DSN("a", "b", at=at, width=2, **sizes)
    return model, method, Step(model, {"dsn": method}).train()


def test_pictures_are_made_again_from_the_sum_of_their_codes():
    model, method, step = pictured()
    batches = {
        name: Batch(torch.randn(3, 3, 28, 28), torch.full((3,), 28), weights=torch.ones(3))
        for name in ("a", "b")
    }
    view, terms = viewed(step, batches)
    error = 0
    for stream, encoder in zip("ab", method.private, strict=True):
        code = view.features[stream].taps["b2"].x[:, 0]
        own = encoder(stream, batches[stream], ["b2"]).taps["b2"].x[:, 0]
        made = method.decoder(code + own)
        error += (batches[stream].inputs - made).flatten(1).var(1, correction=0).mean()
    torch.testing.assert_close(terms["reconstruction"], error)
    sum(terms[name] for name in ("reconstruction", "difference", "domain")).backward()
    for part in (model.stems, method.private[0].stems, method.private[1].stems, method.decoder):
        assert all(p.grad is not None and p.grad.any() for p in part.parameters())
    assert not model.trunk.blocks["b3"].linear.weight.grad, "above the shared code"


def test_private_encoders_begin_as_others_than_the_models():
    model, method, _ = pictured()
    stems = [m.stems["pixels"].convolution.weight for m in (model, *method.private)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert stems[a].shape == stems[b].shape and not torch.equal(stems[a], stems[b])
    assert not method.private[0].tasks


def test_frames_of_speech_are_made_again_at_their_own_rate():
    torch.manual_seed(0)
    task = Task("word", "a", Classify(["0", "1"]))
    stem = LogMel(8, bins=5, subsample=4)
    model = Model({"s": stem}, Conformer(8, 1, 2, 2, 3), [task], {"a": "s", "b": "s"})
    method = DSN("a", "b", width=2)
    step = Step(model, {"dsn": method}).train()
    batches = {
        n: Batch(torch.randn(2, 26, 5), torch.tensor([26, 9]), weights=torch.ones(2))
        for n in ("a", "b")
    }
    first = viewed(step.eval(), batches)[1]["reconstruction"]
    assert method.decoder(torch.zeros(2, 7, 8)).shape == (2, 28, 5)
    other = {n: b._replace(inputs=b.inputs.clone()) for n, b in batches.items()}
    other["a"].inputs[1, 9:] = 7.0
    torch.testing.assert_close(viewed(step, other)[1]["reconstruction"], first)
    other["a"].inputs[1, 8] += 7.0
    assert viewed(step, other)[1]["reconstruction"] > first


def test_training_makes_inputs_again():
    """Also where nothing of it reaches the model."""
    fitted = run(lambda: DSN(**SIDES, reconstruct=0.0, width=4), steps=30, lr=5e-3)
    first, last = (fitted.history[n]["loss"]["method/reconstruction"] for n in (0, -1))
    assert last < 0.7 * first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "weight is -1.0, reconstruct 0.01"),
        ({"start": 1.0}, "start 1.0.*start is a share below 1"),
        ({"width": 0}, "width 0"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        DSN(**arguments)


def test_streams_that_cannot_be_made_again_are_named():
    stems = {"raw": Waveform(8), "a": Pixels(1, 8, 8), "b": Pixels(3, 8, 8)}
    model = Model(stems, Conformer(8, 1, 2, 2, 3))
    with pytest.raises(ValueError, match=r"'raw': DSN makes pictures or frames .* Waveform takes"):
        DSN("raw", "a").build(model)
    with pytest.raises(ValueError, match=r"streams \['a', 'b'\] differ in shape"):
        DSN("a", "b").build(model)
