"""Heads that know classes by vectors: what holds of all of them."""

import copy
import json
import math

import numpy as np
import pytest
import torch

from mtl.batch import Features, Labels
from mtl.described import unit
from mtl.head import Scores, Task
from mtl.heads.attribute import LOSSES, Attribute
from mtl.heads.conse import ConSE
from mtl.heads.dap import DAP
from mtl.heads.eszsl import ESZSL
from mtl.metrics import METRICS
from mtl.model import Model
from mtl.registry import construct, describe
from mtl.stems.pixels import Pixels
from mtl.trunks.resnet import ResNet

CLASSES = ["horse", "tiger", "panda", "zebra"]
VECTORS = [[0, 1, 0.5], [1, 0, 0], [1, 1, 0], [0, 0, 1]]  # the last is never seen
HEADS = {f"attribute-{kind}": (Attribute, {"kind": kind}) for kind in LOSSES}
HEADS |= {
    "attribute-network": (Attribute, {"hidden": 7, "margin": 0.5, "pool": "attention"}),
    "eszsl": (ESZSL, {"gamma": 0.5, "lam": 2.0}),
    "dap": (DAP, {"prior": False}),
    "conse": (ConSE, {"top": 2}),
}


@pytest.fixture(params=HEADS)
def head(request):
    return built(request.param)


def built(name, dim=5):
    torch.manual_seed(0)
    cls, settings = HEADS[name]
    head = cls(CLASSES, VECTORS, seen=3, penalty=0.25, **settings)
    head.build(dim)
    if name == "eszsl":
        torch.nn.init.normal_(head.output.weight)
    return head.eval()


def features(count=3, frames=4):
    torch.manual_seed(1)
    return Features(torch.randn(count, frames, 5), torch.full((count,), frames))


LABELS = torch.tensor([2, 0, 1])


def test_a_loss_is_of_one_example_alone(head):
    f = features()
    together = head.loss(head.scores(f), Labels(LABELS))
    assert together.shape == (3,) and together.dtype == torch.float32
    for row in range(3):
        alone = head.scores(f.select(torch.tensor([row])))
        expected = head.loss(alone, Labels(LABELS[row : row + 1]))
        torch.testing.assert_close(together[row : row + 1], expected)


def test_a_class_that_is_not_seen_changes_no_loss(head):
    f = features()
    expected = head.loss(head.scores(f), Labels(LABELS))
    head.add({"okapi": [0.5, 0.5, 1], "lion": [0.1, 0, 0]})
    assert head.loss(head.scores(f), Labels(LABELS)).equal(expected)
    assert head.fit_of(head.scores(f)).shape == (3, 6)


def test_gradients_reach_every_parameter(head):
    losses = head.loss(head.scores(features()), Labels(LABELS))
    (losses * torch.tensor([1.0, 2.0, 4.0])).sum().backward()  # lest they cancel out
    for name, parameter in head.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_a_saved_model_knows_the_classes_that_were_added(head, tmp_path):
    head.add({"okapi": [0.5, 0.25, 1]})
    model = Model({"images": Pixels(1, 8, 4)}, ResNet(4, [5]), [Task("animal", "images", head)])
    model.save_pretrained(tmp_path / "m")
    again = Model.from_pretrained(tmp_path / "m").head("animal")
    f = features()
    assert again.classes == [*CLASSES, "okapi"] and again.seen == 3
    assert describe(again) == describe(head) and json.dumps(describe(head))
    assert again.scores(f).x.equal(head.scores(f).x)
    assert again.predict(again.scores(f)) == head.predict(head.scores(f))
    assert set(again.metrics) <= METRICS.keys()

    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    broken = copy.deepcopy(config)
    broken["tasks"][0]["head"]["vectors"].pop()
    path.write_text(json.dumps(broken))
    with pytest.raises(ValueError, match="5 classes, but 4 vectors"):
        Model.from_pretrained(tmp_path / "m")


def test_bfloat16_is_close(head):
    f = features()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = head.scores(f).x
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, head.scores(f).x, rtol=0.05, atol=0.05)


def test_a_penalty_keeps_from_the_seen(head):
    scores = head.scores(features())
    fit = head.fit_of(scores)
    head.penalty = math.inf
    assert {said.value for said in head.predict(scores)} == {"zebra"}
    head.penalty = 0.0
    said = head.predict(scores)
    assert [one.value for one in said] == [CLASSES[i] for i in fit.argmax(1).tolist()]
    assert [one.confidence for one in said] == pytest.approx(fit.softmax(1).amax(1).tolist())
    head.penalty = -1e6
    assert "zebra" not in {said.value for said in head.predict(scores)}


def test_an_infinite_penalty_is_saved(head):
    head.penalty = math.inf
    again = construct("heads", json.loads(json.dumps(describe(head))))
    assert again.penalty == math.inf


def test_only_seen_classes_are_labels(head):
    assert [head.encode(name).item() for name in CLASSES[:3]] == [0, 1, 2]
    with pytest.raises(ValueError, match="'zebra' is described only; this head learns: horse, tig"):
        head.encode("zebra")
    assert head.unknown("zebra") == "", "what is described can be predicted"
    assert head.unknown("gnu").startswith("class 'gnu' is not known; this head has: horse, ")
    with pytest.raises(ValueError, match="'gnu' is not known"):
        head.encode("gnu")


@pytest.mark.parametrize(
    ("classes", "vectors", "settings", "message"),
    [
        (["a", "b"], [[1.0]], {}, "2 classes, but 1 vectors: give each class its own"),
        ([], [], {}, "0 classes"),
        (["a", "b"], [[1.0, 0.0], [1.0]], {}, "class 'b' has a vector of 1 numbers, 'a' of 2"),
        (["a"], [[]], {}, "class 'a' has a vector of 0 numbers"),
        (["a", "b"], [[1.0], [math.nan]], {}, "class 'b' has a vector with NaN"),
        (["a", "a"], [[1.0], [1.0]], {}, r"repeat: \['a'\]"),
        (["a"], [[1.0]], {"seen": 2}, "seen is 2; of 1 classes"),
        (["a"], [[1.0]], {"seen": 0}, "seen is 0"),
        (["a"], [[1.0]], {"penalty": math.nan}, "penalty is nan"),
        (["a"], [[1.0]], {"pool": "max"}, "pool 'max'"),
    ],
)
def test_what_does_not_go_together_is_named(classes, vectors, settings, message):
    for cls in (Attribute, ESZSL, DAP, ConSE):
        with pytest.raises(ValueError, match=message):
            cls(classes, vectors, **settings)


def test_a_class_that_does_not_fit_is_not_added(head):
    for described, message in (
        ({"lion": [1.0]}, "class 'lion' has a vector of 1 numbers, 'horse' of 3"),
        ({"tiger": [1, 0, 0]}, r"repeat: \['tiger'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            head.add(described)
    assert head.classes == CLASSES and len(head.vectors) == 4


def test_vectors_may_be_arrays():
    head = Attribute(CLASSES, np.array(VECTORS, dtype=np.float32), seen=3)
    assert head.vectors == VECTORS
    assert head.predict(Scores(torch.eye(4)))[3].value == "zebra"


def test_unit_vectors():
    rows = unit(VECTORS)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1)
    assert rows[0] == pytest.approx([0, 2 / 5**0.5, 1 / 5**0.5])
    with pytest.raises(ValueError, match="vector 1 is zero"):
        unit([[1.0], [0.0]])
