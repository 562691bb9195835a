import math

import pytest
import torch
import torch.nn.functional as F
from adapting import FEW, SIDES, batch, few_labelled, net, stepped, viewed

from mtl.methods.sdt import SDT, sdt, soft_loss
from mtl.step import Step


def test_confusion_is_the_cross_entropy_of_the_uniform_distribution():
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    even = torch.full((5, 3), 1 / 3, dtype=torch.float64)
    wanted = F.cross_entropy(logits, even, reduction="none")
    torch.testing.assert_close(sdt(logits), wanted.float())
    assert (sdt(logits) > math.log(3)).all()
    assert sdt(torch.full((1, 3), 7.0)).item() == pytest.approx(math.log(3))
    gradient = torch.autograd.grad(sdt(logits).sum(), logits)[0]
    torch.testing.assert_close(gradient, logits.softmax(1) - 1 / 3, atol=1e-6, rtol=1e-6)


def test_soft_labels_are_compared_with_softened_scores():
    scores, classes = torch.randn(4, 3), torch.tensor([0, 2, 2, 1])
    soft = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.0, 0.0], [0.3, 0.3, 0.4]])
    each = soft_loss(scores, classes, soft, temperature=3.0)
    wanted = F.cross_entropy(scores / 3, soft[classes], reduction="none")
    torch.testing.assert_close(each, wanted)
    assert each[3] == 0


def split(step, output):
    """The parameters of a step that have a gradient from its terms: of the classifier, of the model."""
    step.zero_grad()
    sum(term for term in output.values() if term.requires_grad).backward()
    moved = {name for name, p in step.named_parameters() if p.grad is not None and p.grad.any()}
    own = {name for name in moved if name.startswith("methods")}
    return own, moved - own


def test_the_two_halves_take_turns():
    """The features never see the classifier's loss; the confusion never moves the classifier."""
    model, method = net(), SDT(**SIDES, weight=0.5)
    step, view, confused = stepped(model, method, speech=4, target=7)
    assert list(confused) == ["confusion"]
    (phase,) = method.phases()
    assert [id(p) for p in phase.parameters] == [id(p) for p in method.classifier.parameters()]
    train = step.phases()[0].parameters
    assert not {id(p) for p in train} & {id(p) for p in phase.parameters}
    assert split(step, confused)[1]
    taught = viewed(step, view.batches, phase.name)[1]
    assert set(taught) == {"domain", "accuracy"}
    own, features = split(step, taught)
    assert own and not features
    logits = [method.classifier(method.pooled(view, stream)) for stream in method.streams]
    wanted = 0.5 * torch.stack([sdt(each).mean() for each in logits]).mean()
    torch.testing.assert_close(confused["confusion"], wanted)


def seen(method, labelled=True, count=8):
    step = Step(few_labelled(), {"method": method}).train()
    batches = {"speech": batch("speech", 7), "target": batch("target", count, labelled)}
    return step, batches, *viewed(step, batches)


def test_soft_labels_are_the_mean_of_a_class_of_the_source():
    method = SDT(**SIDES, tasks=FEW, soft_weight=0.7, temperature=4.0)
    step, batches, view, terms = seen(method)
    softened = (view.scores["language"].x / 4).softmax(1)
    classes = batches["speech"].labels["language"].values
    wanted = torch.stack([softened[classes == k].mean(0) for k in range(2)])
    torch.testing.assert_close(method.soft, wanted)
    known = batches["target"].labels["language"]
    assert known.present.tolist() == [index % 4 == 0 for index in range(8)]
    each = -(wanted[known.values[known.present]] * (view.scores["few"].x / 4).log_softmax(1)).sum(1)
    torch.testing.assert_close(terms["soft"], 0.7 * each.sum() / 8)
    with torch.no_grad():
        step.model.heads["language"].output.weight.mul_(-3.0)
    later = viewed(step, batches)[0]
    moved = (later.scores["language"].x / 4).softmax(1)
    moved = torch.stack([moved[classes == k].mean(0) for k in range(2)])
    torch.testing.assert_close(method.soft, 0.9 * wanted + 0.1 * moved)


def test_a_class_that_the_source_does_not_show_keeps_its_label():
    method = SDT(**SIDES, tasks=FEW)
    step, batches, _, _ = seen(method)
    before = method.soft.clone()
    labels = batches["speech"].labels["language"]
    one = batches["speech"].labels | {
        "language": labels._replace(values=torch.zeros_like(labels.values))
    }
    viewed(step, batches | {"speech": batches["speech"]._replace(labels=one)})
    assert method.soft[1].equal(before[1]) and not method.soft[0].equal(before[0])


def test_no_labelled_target_in_a_batch_costs_nothing():
    terms = seen(SDT(**SIDES, tasks=FEW), labelled=False)[3]
    assert terms["soft"] == 0 and not terms["soft"].requires_grad


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (net, {"weight": -1.0}, "weight is -1.0, soft_weight is 0.1"),
        (net, {"temperature": 0.0}, "temperature is 0.0"),
        (net, {"tasks": ["nl", "cy"]}, "task 'nl' has no classes; name two classifiers"),
        (
            few_labelled,
            {"tasks": ["few", "language"]},
            r"read \['target', 'speech'\]; give two that share",
        ),
        (
            few_labelled,
            {"tasks": ["language"]},
            "give two that share a head, one that reads speech",
        ),
    ],
)
def test_wrong_settings_are_named(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        SDT(**SIDES, **arguments).build(model())
