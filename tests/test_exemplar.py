"""Heads that know classes by examples: what holds of all of them."""

import json

import pytest
import torch

from mtl.batch import Features, Labels
from mtl.head import Task
from mtl.heads.matching import Matching
from mtl.heads.prototype import Prototype
from mtl.heads.siamese import Siamese
from mtl.metrics import METRICS
from mtl.model import Model
from mtl.registry import describe
from mtl.stems.pixels import Pixels
from mtl.trunks.resnet import ResNet

HEADS = {"prototype": Prototype, "matching": Matching, "siamese": Siamese}
SETTINGS = [{}, {"width": 4, "pool": "attention"}]


@pytest.fixture(params=[(name, number) for name in HEADS for number in range(2)], ids=str)
def head(request):
    name, number = request.param
    return built(HEADS[name], **SETTINGS[number])


def built(cls, dim=5, **settings):
    torch.manual_seed(0)
    head = cls(**settings)
    head.build(dim)
    return head.eval()


def features(count=12, frames=3, seed=1):
    torch.manual_seed(seed)
    return Features(torch.randn(count, frames, 5), torch.full((count,), frames))


def episode(number, ways=3, shots=2, queries=2):
    rows = [[number, w, int(k >= shots)] for w in range(ways) for k in range(shots + queries)]
    return torch.tensor(rows)


def test_an_episode_is_of_its_own_examples_alone(head):
    f = features(24)
    labels = torch.cat([episode(7), episode(3)])
    mix = torch.randperm(24)
    together = head.loss(head.scores(f.select(mix)), Labels(labels[mix]))
    for part in (slice(0, 12), slice(12, 24)):
        alone = Features(f.x[part], f.lengths[part])
        expected = head.loss(head.scores(alone), Labels(labels[part]))
        torch.testing.assert_close(together[mix.argsort()][part], expected)


def test_support_has_no_loss_and_the_mean_is_that_of_queries(head):
    labels = episode(0)
    losses = head.loss(head.scores(features()), Labels(labels))
    query = labels[:, 2] == 1
    assert losses.shape == (12,) and losses.dtype == torch.float32
    assert (losses[~query] == 0).all() and (losses[query] > 0).all()
    z = head.scores(features()).x
    own = head.lacking(z[query], labels[query, 1], z[~query], labels[~query, 1], 3)
    torch.testing.assert_close(losses.mean(), own.mean())


def test_what_could_not_be_read_is_left_out(head):
    """Class 1 has lost its support, class 2 its queries; a part may have no queries at all."""
    labels = episode(0)
    kept = torch.tensor([0, 1, 2, 3, 6, 7, 8, 9])
    f = features().select(kept)
    losses = head.loss(head.scores(f), Labels(labels[kept]))
    assert losses.isfinite().all()
    assert (losses > 0).tolist() == [False, False, True, True, False, False, False, False]
    f.x.requires_grad_(True)
    lone = head.loss(head.scores(f.select(torch.tensor([0]))), Labels(labels[:1]))
    lone.sum().backward()
    assert lone.tolist() == [0]


def test_gradients_reach_every_parameter(head):
    f = features()
    f.x.requires_grad_(True)
    head.loss(head.scores(f), Labels(episode(0))).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    assert (f.x.grad.abs().sum((1, 2)) > 0).all()  # support is learnt from, too


def test_a_class_of_one_example_is_told(head):
    f = features(3)
    for index, name in enumerate(("yes", "no", "lumos")):
        head.register(name, f.select(torch.tensor([index])))
    said = head.predict(head.scores(f))
    assert [one.value for one in said] == ["yes", "no", "lumos"]
    assert all(1 / 3 < one.confidence <= 1 for one in said)
    assert not head.support.requires_grad


def test_several_examples_may_be_given_at_once_and_anew(head):
    few, more = features(2), features(3, seed=2)
    head.register("a", few)
    head.register("b", more)
    before = head.fit_of(head.scores(more))
    head.register("a", few)
    assert head.classes == ["a", "b"] and len(head.support) == sum(head.rows)
    torch.testing.assert_close(head.fit_of(head.scores(more)), before)
    head.register("a", more)
    fit = head.fit_of(head.scores(more))
    torch.testing.assert_close(fit[:, 0], fit[:, 1])


def test_registered_classes_are_labels(head):
    f = features(2)
    head.register("a", f.select(torch.tensor([0])))
    head.register("b", f.select(torch.tensor([1])))
    assert [head.encode(name).item() for name in "ab"] == [0, 1]
    scores = head.scores(f)
    expected = torch.nn.functional.cross_entropy(
        head.fit_of(scores), torch.tensor([1, 0]), reduction="none"
    )
    torch.testing.assert_close(head.loss(scores, Labels(torch.tensor([1, 0]))), expected)
    with pytest.raises(ValueError, match="'c' is not registered; this head has: a, b"):
        head.encode("c")


def test_a_saved_model_knows_what_was_registered(head, tmp_path):
    head.register("a", features(3))
    head.register("b", features(1, seed=2))
    model = Model({"images": Pixels(1, 8, 4)}, ResNet(4, [5]), [Task("word", "images", head)])
    model.save_pretrained(tmp_path / "m")
    again = Model.from_pretrained(tmp_path / "m").head("word")
    f = features(4, seed=3)
    assert describe(again) == describe(head) and json.dumps(describe(head))
    assert again.predict(again.scores(f)) == head.predict(head.scores(f))
    assert set(again.metrics) <= METRICS.keys()

    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    config["tasks"][0]["head"]["classes"].append("c")
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"support: file|3 classes, but rows of"):
        Model.from_pretrained(tmp_path / "m")


def test_examples_stay_with_a_head_that_joins_another_model(head):
    head.register("a", features(1))
    before = head.support.clone()
    model = Model({"images": Pixels(1, 8, 4)}, ResNet(4, [5]))
    model.add(Task("word", "images", head))
    assert head.support.equal(before)
    narrow = Model({"images": Pixels(1, 8, 4)}, ResNet(4, [6]))
    with pytest.raises(ValueError, match=r"examples have 5|made for other features"):
        narrow.add(Task("word", "images", head))


def test_nothing_is_told_before_it_is_learnt(head):
    with pytest.raises(ValueError, match="no class is registered yet"):
        head.predict(head.scores(features(1)))
    with pytest.raises(ValueError, match="class ' ' is empty"):
        head.register(" ", features(1))
    with pytest.raises(ValueError, match=r"repeat: \['a'\]"):
        type(head)(["a", "a"])


@pytest.mark.parametrize("cls", [Matching, Siamese])
def test_rows_belong_to_classes(cls):
    for rows in ([], [0], [1, 1]):
        with pytest.raises(ValueError, match="1 classes, but rows of"):
            cls(["a"], rows=rows)


def test_bfloat16_is_close(head):
    f = features()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = head.scores(f)
        rough = head.loss(scores, Labels(episode(0)))
    assert scores.x.dtype == torch.float32
    torch.testing.assert_close(
        rough, head.loss(head.scores(f), Labels(episode(0))), rtol=0.1, atol=0.1
    )
