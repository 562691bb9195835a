"""UNIT: its terms by hand from its own networks; which layers are shared."""

import pytest
import torch
from painting import SMALL, batches, calm, stepped, viewed
from torch.distributions import Normal, kl_divergence

from mtl.methods.unit import UNIT, unit


def test_codes_cost_twice_their_divergence_from_the_prior():
    code = torch.randn(3, 2, 4, 4)
    wanted = kl_divergence(Normal(code, 1.0), Normal(0.0, 1.0)).mean((1, 2, 3))
    torch.testing.assert_close(unit(code), 2 * wanted)
    code = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    loose = {"eps": 1e-2, "atol": 1e-2, "rtol": 1e-2}  # it computes in float32
    assert torch.autograd.gradcheck(lambda z: unit(z).double(), code, **loose)


def by_hand(method, x, y):
    """What the terms are made of, one picture set and one network at a time."""

    def code(pictures, way):
        return method.enter(method.encoders[way](pictures))

    def paint(codes, way):
        return method.decoders[way](method.leave(codes))

    a, b = code(x, 0), code(y, 1)
    fakes = paint(a, 1), paint(b, 0)
    again = code(fakes[0], 1), code(fakes[1], 0)
    l1 = torch.nn.functional.l1_loss
    rebuilt = l1(paint(a, 0), x) + l1(paint(b, 1), y)
    cycled = l1(paint(again[0], 0), x) + l1(paint(again[1], 1), y)
    small = sum(z.square().mean() for z in (a, b, *again))
    return fakes, rebuilt, cycled, small


def test_terms_are_those_of_the_paper():
    method = calm("unit", reconstruct=2.0, even=0.3, match=0.4)
    step, view, terms = stepped(method)
    given = batches(step.model, source=5, target=4)
    fakes, rebuilt, cycled, small = by_hand(method, *(b.inputs for b in given.values()))
    torch.testing.assert_close(terms["rebuilt"], 2 * rebuilt)
    torch.testing.assert_close(terms["cycled"], 2 * cycled)
    torch.testing.assert_close(terms["code"], 0.3 * small)
    torch.testing.assert_close(view.batches["source"].inputs[5:], fakes[0])
    features = view.features["source"].x.mean(1)
    wanted = (features[:5] - features[5:]).abs().mean()
    torch.testing.assert_close(terms["match"], 0.4 * wanted)
    assert "match" not in stepped(calm("unit", match=0.0))[2]


def test_last_layers_of_encoders_and_first_ones_of_decoders_are_one():
    """A fake, painted back, moves the encoders and decoders of both domains and what they share."""
    method = calm("unit")
    _, _, terms = stepped(method)
    terms["cycled"].backward()
    for part in (*method.encoders, *method.decoders, method.enter, method.leave):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())
    names = [name.split(".")[0] for name, _ in method.named_parameters()]
    assert names.count("enter") == names.count("leave") > 0
    rows = [p.data_ptr() for p in method.parameters()]
    assert len(set(rows)) == len(rows)
    assert method.encoders[0][-1] is not method.encoders[1][-1]


def test_codes_have_noise_of_deviation_one_in_training_only():
    method = UNIT(networks=SMALL)
    step, _, _ = stepped(method)
    seen, leave = [], method.leave.forward
    method.leave.forward = lambda x: seen.append(x) or leave(x)
    x = batches(step.model, source=6)["source"].inputs
    x = x.repeat(40, 1, 1, 1)
    with torch.no_grad():
        method.translate(x)
        method.eval().translate(x)
    noise = seen[0] - seen[1]
    assert noise.std().item() == pytest.approx(1, abs=0.05) and abs(noise.mean()) < 0.05
    with torch.no_grad():
        assert torch.equal(method.translate(x), method.translate(x))


def test_the_way_back_is_painted_by_the_other_decoder():
    method = calm("unit")
    step, _, _ = stepped(method)
    given = batches(step.model, source=5, target=4)
    fakes = by_hand(method, *(b.inputs for b in given.values()))[0]
    torch.testing.assert_close(method.paint(given["target"].inputs, way=1), fakes[1])
    assert viewed(step, given)[1]["fool"] > 0


def test_wrong_settings_are_named():
    for arguments in ({"reconstruct": -1.0}, {"even": -1.0}, {"match": -1.0}):
        with pytest.raises(ValueError, match=r"reconstruct is .* none may be below 0"):
            UNIT(**arguments)
