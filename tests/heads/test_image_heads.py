"""Several labels, numbers and pixels: losses, predictions and refusals, against other ways to count."""

import math

import numpy as np
import pytest
import torch

from mtl.batch import Features, Labels
from mtl.head import Scores, Task
from mtl.heads.classify import Classify
from mtl.heads.dense import Dense
from mtl.heads.multilabel import MultiLabel
from mtl.heads.regress import Regress
from mtl.metrics import METRICS
from mtl.model import Model
from mtl.registry import construct, describe
from mtl.stems.pixels import Pixels
from mtl.trunks.resnet import ResNet

HEADS = {
    "multilabel": lambda: MultiLabel(["round", "red", "big"], pool="attention", threshold=0.4),
    "regress": lambda: Regress([1.0, -2.0], [2.0, 0.5], delta=1.5, dropout=0.1),
    "classes": lambda: Dense(["ground", "thing"], 4, ignore=255, detail=2),
    "numbers": lambda: Dense([], 4, mean=3.0, std=2.0),
}
TARGETS = {
    "multilabel": torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0]]),
    "regress": torch.tensor([[0.5, -3.0], [0.0, 0.1], [4.0, 1.0]]),
    "classes": torch.tensor([0, 1, -1])[torch.arange(48) % 3].view(3, 4, 4),
    "numbers": torch.linspace(-2, 2, 48).view(3, 4, 4).index_fill(1, torch.tensor([2]), math.nan),
}


def built(name, dim=5):
    torch.manual_seed(0)
    head = HEADS[name]()
    head.build(dim)
    return head.eval()


def features(count=3, frames=4):
    torch.manual_seed(1)
    return Features(torch.randn(count, frames, 5), torch.full((count,), frames))


@pytest.fixture(params=HEADS)
def name(request):
    return request.param


# The contract of all three


def test_a_loss_is_of_one_example_alone(name):
    head, f = built(name), features()
    together = head.loss(head.scores(f), Labels(TARGETS[name]))
    assert together.shape == (3,) and together.dtype == torch.float32
    for row in range(3):
        alone = head.scores(f.select(torch.tensor([row])))
        expected = head.loss(alone, Labels(TARGETS[name][row : row + 1]))
        torch.testing.assert_close(together[row : row + 1], expected)


def test_settings_and_weights_come_back(name):
    head, f = built(name), features()
    again = construct("heads", describe(head)).eval()
    again.build(5)
    again.load_state_dict(head.state_dict())
    assert describe(again) == describe(head)
    assert again.scores(f).x.equal(head.scores(f).x)
    assert again.metrics == head.metrics and set(head.metrics) <= METRICS.keys()


def test_bfloat16_is_close(name):
    head, f = built(name), features()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = head.scores(f).x
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, head.scores(f).x, rtol=0, atol=0.05)


def test_a_head_that_has_weights_joins_a_model(name):
    model = Model({"images": Pixels(1, 8, 4)}, ResNet(4, [5]))
    model.add(Task("own", "images", built(name)))
    with pytest.raises(ValueError, match="made for other features"):
        model.add(Task("other", "images", built(name, dim=6)))


# Several labels


def test_many_labels_have_a_loss_each():
    head, targets = built("multilabel"), TARGETS["multilabel"]
    scores = head.scores(features())
    p = 1 / (1 + np.exp(-scores.x.detach().double().numpy()))
    by_hand = -np.where(targets.numpy() > 0, np.log(p), np.log(1 - p)).mean(1)
    loss = head.loss(scores, Labels(targets))
    torch.testing.assert_close(loss.detach(), torch.tensor(by_hand).float())


def test_likely_labels_are_named():
    said = HEADS["multilabel"]().predict(Scores(torch.tensor([[0.45, 0.3, 0.9]]).logit()))[0]
    assert said.value == ["round", "big"]
    assert said.confidence == pytest.approx(0.45 * 0.7 * 0.9)


def test_labels_are_numbered_and_compared_in_order():
    head = HEADS["multilabel"]()
    assert head.encode([]).tolist() == [0, 0, 0] and head.encode({"big"}).tolist() == [0, 0, 1]
    assert head.reference(("blue", "big", "round")) == ["round", "big", "blue"]
    for label, message in ((["pink"], "class 'pink' is not known; this head has: round, red, big"),
                           ("red", "label 'red' is no list of classes"),
                           (3, "label 3 is no list")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            head.encode(label)
    with pytest.raises(ValueError, match=r"repeat: \['a'\]"):
        MultiLabel(["a", "a"])
    with pytest.raises(ValueError, match="threshold is 1"):
        MultiLabel(["a"], threshold=1)


# Numbers


@pytest.mark.parametrize("delta", [0.0, 0.5])
def test_errors_are_squared_or_hubers(delta):
    head = Regress([1.0, -2.0], [2.0, 0.5], delta=delta)
    scores, targets = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.25, -2.0]])
    near, far = 0.25, 3.0
    by_hand = (near**2 + far**2) / 2
    if delta:
        by_hand = (near**2 / 2 + delta * (far - delta / 2)) / 2
    assert head.loss(Scores(scores), Labels(targets)).tolist() == pytest.approx([by_hand])


def test_numbers_keep_their_units():
    head = Regress.of([[10.0, 1.0], [30.0, 2.0], [20.0, 6.0]])
    assert head.mean == [20.0, 3.0]
    assert head.std == pytest.approx([np.std([10, 30, 20]), np.std([1, 2, 6])])
    said = head.predict(Scores(head.encode([12.5, 4.0])[None]))[0]
    assert said.value == pytest.approx([12.5, 4.0]) and math.isnan(said.confidence)
    assert Regress.of([1, 3]).predict(Scores(torch.zeros(1, 1)))[0].value == 2.0
    assert Regress.of([1, 3]).reference([5]) == 5.0 == Regress.of([1, 3]).reference("5")
    assert Regress.of([1, 3]).blank == 2.0


def test_numbers_may_be_missing_and_lists_must_be_alike():
    head = Regress.of([1.0, None, 3.0])
    assert (head.mean, head.std) == ([2.0], [1.0])
    for labels in ([[1.0], [1.0, 2.0]], [1.0, [2.0, 3.0]]):
        with pytest.raises(ValueError, match="2 labels of unlike lengths; give as many numbers in"):
            Regress.of(labels)
    with pytest.raises(ValueError, match="0 labels; give finite numbers that differ"):
        Regress.of([None])


@pytest.mark.parametrize("make", [Classify, MultiLabel])
def test_a_head_has_classes(make):
    with pytest.raises(ValueError, match="there are no classes; name at least one"):
        make([])


def test_a_map_without_a_labelled_pixel_is_refused():
    for head, nothing in ((Dense(["a", "b"], 2, ignore=255), 255), (Dense([], 2), np.nan)):
        with pytest.raises(
            ValueError, match="no pixel of the map is labelled; leave such a map out"
        ):
            head.encode(np.full((2, 2), nothing))


def test_what_is_no_number_is_named():
    head = HEADS["regress"]()
    for label, message in (([1.0], r"holds 1 numbers, not 2"), ([1.0, math.nan], "is not finite"),
                           ([1.0, math.inf], "is not finite"), ("tall", "'tall' is no number"),
                           (None, "holds 1 numbers|is no number")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            head.encode(label)
    for arguments in (([], []), ([1.0], [0.0]), ([1.0], [1.0, 2.0]), ([math.nan], [1.0])):
        with pytest.raises(ValueError, match="std"):
            Regress(*arguments)
    for labels in ([], [2.0, 2.0], [1.0, math.nan]):
        with pytest.raises(ValueError, match="give finite numbers that differ"):
            Regress.of(labels)


# Pixels


def test_pixels_have_a_loss_each_where_they_are_labelled():
    head, targets = built("classes"), TARGETS["classes"]
    scores = head.scores(features())
    assert scores.x.shape == (3, 2, 4, 4)
    logs = scores.x.detach().double().log_softmax(1).numpy()
    for row, loss in enumerate(head.loss(scores, Labels(targets)).tolist()):
        each = [-logs[row, c, y, x] for (y, x), c in np.ndenumerate(targets[row].numpy()) if c >= 0]
        assert loss == pytest.approx(np.mean(each))
    numbers = built("numbers")
    x = numbers.scores(features())
    expected = (x.x[:, 0] - TARGETS["numbers"])[:, [0, 1, 3]].square().mean((1, 2))
    torch.testing.assert_close(numbers.loss(x, Labels(TARGETS["numbers"])), expected)


@pytest.mark.parametrize("name", ["classes", "numbers"])
def test_a_map_without_labels_teaches_nothing(name):
    head = built(name)
    empty = torch.full_like(TARGETS[name], -1 if name == "classes" else math.nan)
    loss = head.loss(head.scores(features()), Labels(empty))
    loss.sum().backward()
    assert loss.tolist() == [0, 0, 0]
    assert all(not p.grad.any() for p in head.parameters())


def test_a_place_speaks_of_its_pixels():
    head = Dense([], size=4, detail=2)
    head.build(1)
    with torch.no_grad():
        head.output.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
        head.output.bias.zero_()
    places = torch.tensor([[[1.0], [10.0], [100.0], [1000.0]]])  # row by row, as trunks leave them
    assert head.scores(Features(places, torch.tensor([4]))).x[0, 0].tolist() == [
        [1, 2, 10, 20],
        [3, 4, 30, 40],
        [100, 200, 1000, 2000],
        [300, 400, 3000, 4000],
    ]


def test_a_class_token_is_passed_over():
    plain, behind = (Dense(["a", "b"], 4, ahead=ahead) for ahead in (0, 1))
    plain.build(5)
    behind.build(5)
    behind.load_state_dict(plain.state_dict())
    f = features(frames=5)
    expected = plain.scores(Features(f.x[:, 1:], f.lengths - 1)).x
    assert behind.scores(f).x.equal(expected)
    with pytest.raises(ValueError, match="5 frames, 0 of them ahead, are no square map"):
        plain.scores(f)


def test_maps_are_predicted_in_their_units():
    logits = torch.tensor([0.9, 0.2, 0.6, 0.5]).view(1, 1, 2, 2).repeat(1, 2, 1, 1)
    logits[:, 1] = 1 - logits[:, 1]
    said = Dense(["a", "b"], 2).predict(Scores(logits.log()))[0]
    assert said.value.tolist() == [[0, 1], [0, 0]] and said.confidence == pytest.approx(0.7)
    numbers = HEADS["numbers"]()
    raw = np.arange(16.0).reshape(4, 4)
    said = numbers.predict(Scores(numbers.encode(raw)[None, None]))[0]
    assert np.allclose(said.value, raw) and math.isnan(said.confidence)


def test_maps_are_checked():
    head = HEADS["classes"]()
    whole = np.zeros((4, 4), np.uint8)
    whole[0, 0] = 255
    assert head.encode(whole)[0].tolist() == [-1, 0, 0, 0] == head.reference(whole)[0].tolist()
    for value, message in ((2, r"holds 2, which is no class; this head has 0 to 1 \(ground, thing"),
                           (-3, "holds -3, which"), (0.5, "holds 0.5, which")):  # fmt: skip
        bad = whole.astype(np.float32)
        bad[1, 1] = value
        with pytest.raises(ValueError, match=message):
            head.encode(bad)
    with pytest.raises(ValueError, match=r"holds 255, .* not labelled: give ignore=\.\.\."):
        Dense(["ground", "thing"], 4).encode(whole)
    with pytest.raises(ValueError, match=r"a map of \(3, 4\); this head takes \(4, 4\)"):
        head.encode(whole[:3])
    with pytest.raises(ValueError, match="infinite"):
        HEADS["numbers"]().encode(np.full((4, 4), np.inf))
    for wrong in ({"size": 0}, {"detail": 0}, {"std": 0.0}, {"ahead": -1}):
        with pytest.raises(ValueError, match="size is"):
            Dense(["a"], **{"size": 4, **wrong})
