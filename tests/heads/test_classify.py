"""The classification head: pooling, loss, predictions and class names."""

import math

import pytest
import torch

from mtl.batch import Features, Labels
from mtl.head import Scores
from mtl.heads.classify import Classify
from mtl.registry import construct, describe

COLOURS = ["red", "green", "blue"]


def built(**settings):
    torch.manual_seed(0)
    head = Classify(COLOURS, **settings)
    head.build(4)
    return head.eval()


@pytest.fixture(params=["mean", "attention"])
def head(request):
    return built(pool=request.param)


def test_padding_changes_nothing(head):
    x, lengths = torch.randn(2, 6, 4), torch.tensor([6, 2])
    x[1, 2:] = 100.0
    together = head.scores(Features(x, lengths)).x
    assert together.shape == (2, 3)
    torch.testing.assert_close(
        together[1:], head.scores(Features(x[1:, :2], lengths[1:])).x, rtol=0, atol=1e-5
    )


def test_mean_pooling_is_the_mean():
    head, x = built(), torch.randn(1, 5, 4)
    expected = head.output(x.mean(1))
    torch.testing.assert_close(head.scores(Features(x, torch.tensor([5]))).x, expected)


def test_attention_listens_to_the_heavy_frame():
    head, x = built(pool="attention"), torch.randn(1, 5, 4)
    with torch.no_grad():
        head.weigh.weight.copy_(1000 * x[:, 3])
    heavy = (x[0] @ head.weigh.weight[0]).argmax()
    expected = head.output(x[:, heavy])
    torch.testing.assert_close(head.scores(Features(x, torch.tensor([5]))).x, expected)


def test_loss_is_the_negative_log_probability(head):
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]])
    losses = head.loss(Scores(logits), Labels(torch.tensor([2, 0])))
    first = math.log(math.e + math.e**2 + math.e**0.5) - 0.5
    assert losses.tolist() == pytest.approx([first, math.log(3)])


def test_gradients_reach_every_parameter(head):
    scores = head.scores(Features(torch.randn(2, 5, 4), torch.tensor([5, 3])))
    head.loss(scores, Labels(torch.tensor([2, 0]))).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_predictions_name_the_class(head):
    logits = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]]).log() + 3
    first, second = head.predict(Scores(logits))
    assert (first.value, second.value) == ("green", "red")
    assert (first.confidence, second.confidence) == pytest.approx((0.7, 0.5))


def test_classes_are_numbered_in_order(head):
    assert [head.encode(colour).item() for colour in COLOURS] == [0, 1, 2]
    assert head.encode("red").shape == ()
    assert head.reference("red") == "red"


def test_wrong_settings_are_named(head):
    with pytest.raises(ValueError, match=r"'pink' is not known.*red, green, blue"):
        head.encode("pink")
    with pytest.raises(ValueError, match=r"pool 'max'.*mean, attention"):
        Classify(COLOURS, pool="max")
    with pytest.raises(ValueError, match=r"repeat: \['a'\]"):
        Classify(["a", "b", "a"])


def test_settings_and_weights_come_back(head):
    again = construct("heads", describe(head)).eval()
    again.build(4)
    again.load_state_dict(head.state_dict())
    f = Features(torch.randn(2, 3, 4), torch.tensor([3, 1]))
    assert torch.equal(again.scores(f).x, head.scores(f).x)
    assert describe(again) == describe(head)


def test_dropout_acts_in_training_only():
    head, f = built(dropout=0.5), Features(torch.ones(1, 3, 4), torch.tensor([3]))
    assert torch.equal(head.scores(f).x, head.scores(f).x)
    head.train()
    assert len({tuple(head.scores(f).x[0].tolist()) for _ in range(20)}) > 1


def test_bfloat16_is_close(head):
    f = Features(torch.randn(2, 9, 4), torch.tensor([9, 4]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = head.scores(f).x
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, head.scores(f).x, rtol=0, atol=0.05)


def test_a_class_token_is_pooled_alone_and_normalised():
    head = Classify(["a", "b"], pool="first", norm=1e-6)
    head.build(4)
    x = torch.randn(2, 3, 4)
    expected = head.output(torch.nn.functional.layer_norm(x[:, 0], (4,), eps=1e-6))
    assert head.scores(Features(x, torch.tensor([3, 1]))).x.equal(expected)


def test_what_an_evaluation_leaves_does_not_disturb_training():
    """The same lengths, first in inference mode."""
    head = Classify(["a", "b"])
    head.build(4)
    features = Features(torch.randn(2, 3, 4, requires_grad=True), torch.tensor([3, 1]))
    with torch.inference_mode():
        head.scores(features)
    head.scores(features).x.sum().backward()
    assert features.x.grad[1, 1:].eq(0).all() and features.x.grad[1, 0].ne(0).any()
