import copy
from types import SimpleNamespace

import pytest
import torch
from test_fit import Stopped, stop_at
from toy import Spelled, assert_same_weights, model, train

from mtl.batch import Flow, collate
from mtl.data.augment import Augment
from mtl.model import Model
from mtl.sat import drop, sat
from mtl.tune.lhuc import lhuc


def said_by(*speakers):
    return [SimpleNamespace(speaker=name) for name in speakers]


class Voices(Spelled):
    """Two speakers; a share of the draws is nobody's."""

    def __init__(self, *args, nobody=0.5):
        super().__init__(*args)
        self.augment = Augment(nobody=nobody)

    def example(self, index, draw=None, targets=True):
        groups = {"speaker": 1 + index % 2 if draw is not None else 0}
        groups = self.augment.unname(groups, self.ids[index], draw or 0)
        return super().example(index, draw, targets)._replace(groups=groups)


def adaptive(put=lambda net: sat(net, said_by("s0", "s1"))):
    net = model(dropout=0.3)
    put(net)
    return net


def rows(net):
    return net.trunk.after["b1"]["lhuc"].a.detach()


def test_speakers_are_numbered_from_one_and_start_as_nobody():
    net = model()
    groups = sat(net, said_by("zoe", "anna", "unknown", "anna"))
    assert groups == {"speaker": {"": 0, "anna": 1, "zoe": 2}}
    assert rows(net).equal(torch.zeros(3, net.trunk.dim))
    with pytest.raises(ValueError, match="already has 'lhuc'"):
        sat(net, said_by("anna"))


def test_training_without_speakers_is_refused():
    with pytest.raises(ValueError, match="none of 2 training utterances names its speaker: write"):
        sat(model(), said_by("unknown", "unknown"))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_speakers_learn_and_nobody_does_not(accumulate):
    settings = {"weight_decay": 0.1, "accumulate": accumulate}
    found = rows(train(Voices(), net=adaptive(), **settings).model)
    assert found[0].equal(torch.zeros_like(found[0])) and found[1:].ne(0).all()
    plain = rows(train(Voices(), net=adaptive(lambda net: lhuc(net, 3)), **settings).model)
    assert plain.ne(0).all(), "else this test says nothing"


def test_nobody_does_not_count_in_the_clipped_gradient():
    net = adaptive().eval()
    x = torch.randn(2, 5, net.trunk.dim)
    flow = Flow(x, torch.tensor([5, 5]), {"speaker": torch.tensor([0, 2])})
    net.trunk.after["b1"]["lhuc"](flow).x.sum().backward()
    expected = torch.zeros_like(rows(net))
    expected[2] = x[1].sum(0) / 2  # the slope of 2 sigmoid at 0 is a half
    torch.testing.assert_close(net.trunk.after["b1"]["lhuc"].a.grad, expected)


def test_ten_steps_are_five_and_resume_and_five(tmp_path, monkeypatch):
    settings = {"save_every": 5, "average": 2, "dev": {"speech": Voices(6, 40)}, "eval_every": 5}
    whole = train(Voices(), out=tmp_path / "whole", net=adaptive(), **settings)
    stop_at(monkeypatch, 5)
    with pytest.raises(Stopped):
        train(Voices(), out=tmp_path / "parts", net=adaptive(), **settings)
    resumed = train(Voices(), out=tmp_path / "parts", net=adaptive(), **settings)
    assert_same_weights(whole.model, resumed.model)
    assert whole.history == resumed.history
    assert not rows(resumed.model)[0].any() and rows(resumed.model)[1:].ne(0).all()


def test_what_is_left_after_training_is_the_network_for_nobody(tmp_path):
    net = train(Voices(), net=adaptive()).model
    data = Voices()
    batch = collate([data.example(index) for index in range(4)])
    before, speaker = copy.deepcopy(net), {"speaker": torch.ones(4, dtype=torch.long)}
    drop(net, "lhuc")
    plain = net("speech", batch._replace(groups={})).x
    assert plain.equal(before("speech", batch).x)
    assert not plain.equal(before("speech", batch._replace(groups=speaker)).x)
    assert set(net.state_dict()) == set(model().state_dict()) and net.edits == []
    net.save_pretrained(tmp_path)
    assert Model.from_pretrained(tmp_path)("speech", batch._replace(groups={})).x.equal(plain)
    sat(net, said_by("new"))  # and another table can take the place


def test_dropping_finds_what_stands_before_and_leaves_other_edits():
    net = model()
    net.stems["speech"].put_before("lin", torch.nn.Identity())
    net.edits.append({"name": "lin", "size": 2})
    lhuc(net, 2)
    drop(net, "lin")
    assert net.edits == [{"name": "lhuc", "size": 2}]
    assert not net.stems["speech"].before and "lhuc" in net.trunk.after["b1"]


def test_what_cannot_be_dropped_is_refused():
    net = model()
    with pytest.raises(ValueError, match="no edit 'lhuc'; this model has: none"):
        drop(net, "lhuc")
    net.edits.append({"name": "lora"})
    with pytest.raises(ValueError, match="no edit 'lhuc'; this model has: lora"):
        drop(net, "lhuc")
    with pytest.raises(ValueError, match="edit 'lora' changed layers themselves"):
        drop(net, "lora")
