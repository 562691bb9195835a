import math

import pytest
import torch
import torch.nn.functional as F
from adapting import net, run, stepped, viewed
from torch import nn

from mtl.domains import ramp
from mtl.method import Totals
from mtl.methods.dann import DANN, dann


@pytest.mark.parametrize("progress", [-0.2, 0.0, 0.3, 1.0, 1.5])
def test_the_ramp_is_that_of_the_paper_and_stops_at_both_ends(progress):
    p = min(max(progress, 0), 1)
    assert ramp(progress, 10.0) == pytest.approx(2 / (1 + math.exp(-10 * p)) - 1)
    assert ramp(progress, 1e9) == (p > 0)


def test_features_get_the_reversed_gradient_and_the_classifier_the_plain_one():
    z, classifier = torch.randn(4, 3), nn.Linear(3, 2)
    truth = torch.tensor([0, 1, 1, 0])
    found = []
    for scale in (None, 0.0, 0.3):
        features = z.clone().requires_grad_()
        logits = classifier(features) if scale is None else dann(features, classifier, scale)
        inputs = [features, *classifier.parameters()]
        found.append(torch.autograd.grad(F.cross_entropy(logits, truth), inputs))
    plain, still, reversed_ = found
    torch.testing.assert_close(reversed_[0], -0.3 * plain[0])
    assert not still[0].any()
    for each in (still, reversed_):
        torch.testing.assert_close(each[1:], plain[1:])


def test_every_domain_counts_the_same():
    """With two domains it is the binary cross entropy of the difference of the logits."""
    torch.manual_seed(0)
    method = DANN("speech", "target", hidden=0)
    _, view, terms = stepped(net(), method, speech=5, target=9)
    z = [view.features[name].x for name in ("speech", "target")]
    lengths = [view.batches[name].lengths for name in ("speech", "target")]
    odds = []
    for frames, counts in zip(z, lengths, strict=True):
        means = torch.stack([x[:n].mean(0) for x, n in zip(frames, counts.tolist(), strict=True)])
        logits = method.classifier(means)
        odds.append(logits[:, 1] - logits[:, 0])
    wanted = [
        F.binary_cross_entropy_with_logits(o, torch.full_like(o, d)) for d, o in enumerate(odds)
    ]
    torch.testing.assert_close(terms["domain"], sum(wanted) / 2)
    right = [(odds[0] <= 0).float().mean(), (odds[1] > 0).float().mean()]
    torch.testing.assert_close(terms["accuracy"], sum(right) / 2)
    assert not terms["accuracy"].requires_grad


def test_more_domains_are_told_apart_by_more_classes():
    method = DANN(["speech", "second"], ["target"], hidden=6)
    model = net(second="speech")
    step, view, terms = stepped(model, method, speech=4, second=3, target=2)
    with torch.no_grad():
        for parameter in method.classifier.parameters():
            parameter.zero_()
    assert method.classifier[-1].out_features == 3 and terms["domain"] > 0
    at_chance = viewed(step, view.batches)[1]
    assert at_chance["domain"].item() == pytest.approx(math.log(3))
    assert at_chance["accuracy"].item() == pytest.approx(1 / 3)


def test_progress_turns_the_gradient_of_the_features_up():
    """By 2 / (1 + exp(-gamma p)) - 1 times `weight`; nothing at the start."""
    sizes = []
    for progress in (0.0, 0.1, 1.0):
        torch.manual_seed(0)
        model = net()
        method = DANN("speech", "target", weight=0.5, gamma=4.0)
        _, _, terms = stepped(model, method, progress=progress, speech=5, target=6)
        terms["domain"].backward()
        sizes.append(model.trunk.norm.weight.grad.norm().item())
    assert sizes[0] == 0
    assert sizes[1] / sizes[2] == pytest.approx(ramp(0.1, 4.0) / ramp(1.0, 4.0), rel=1e-4)


def test_its_accuracy_is_reported_and_not_minimised():
    fitted = run(lambda: DANN("speech", "target"))
    for entry in fitted.history:
        assert 0 <= entry["loss"]["method/accuracy"] <= 1
    step, view, _ = stepped(net(), DANN("speech", "target"), speech=3, target=3)
    output = step(view.batches, "train", True, Totals({"speech": 3, "target": 3}), 0.5)
    assert "method/domain" in output.losses and "method/accuracy" not in output.losses


def test_an_inner_block_can_be_adapted():
    model, method = net(), DANN("speech", "target", at="b1")
    terms = stepped(model, method, speech=5, target=6)[2]
    terms["domain"].backward()
    learnt = [n for n, p in model.trunk.named_parameters() if p.grad is not None]
    reached = {name.split(".")[1] for name in learnt}
    assert reached == {"b1"}


def test_it_lets_go_of_what_tells_domains_apart():
    """Features of two domains, which differ in one of two coordinates: that one is scaled down."""
    torch.manual_seed(0)
    scale, classifier = nn.Parameter(torch.ones(2)), nn.Linear(2, 2)
    optimizer = torch.optim.SGD([scale, *classifier.parameters()], lr=0.1)
    for _ in range(60):
        x = torch.randn(64, 2)
        truth = (torch.arange(64) >= 32).long()
        x[:, 0] = x[:, 0] * 0.1 + truth - 0.5
        loss = F.cross_entropy(dann(x * scale, classifier, 1.0), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert abs(scale[0]) < 0.7 * scale[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "weight is -1.0, gamma is 10.0"),
        ({"gamma": 0.0}, "gamma is 0.0"),
        (
            {"source": "speech", "target": "video"},
            r"target stream 'video' is none of this model.*target=\[",
        ),
        ({"source": "speech", "target": "speech"}, "one of them is named twice"),
        ({"source": []}, "source stream '' is none of this model"),
        ({"source": "speech", "target": "target", "at": "b9"}, r"no block \['b9'\]"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        DANN(**arguments).build(net())


def test_a_stream_that_is_not_trained_is_named():
    with pytest.raises(ValueError, match="DANN compares stream 'target'; fit was given: speech"):
        stepped(net(), DANN("speech", "target"), speech=3)
