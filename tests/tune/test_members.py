"""Contract of the edits whose parameters belong to members of a group, one row each."""

import copy
import importlib
import inspect

import pytest
import torch
from torch import nn

from mtl.batch import Batch, Flow, pad
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.registry import names
from mtl.stems.frames import Frames
from mtl.trunks.conformer import Conformer

BINS, DIM, SIZE = 6, 8, 33


def by_member(name):
    """The edit of a file, if its first argument after the model counts members."""
    found = getattr(importlib.import_module(f"mtl.tune.{name}"), name, None)
    return found if found and list(inspect.signature(found).parameters)[1:2] == ["size"] else None


EDITS = {name: edit for name in names("tune") if (edit := by_member(name))}
each = pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)


def build():
    torch.manual_seed(0)
    trunk = Conformer(DIM, depth=2, heads=2, expansion=2, kernel=3, dropout=0.0)
    return Model({"speech": Frames(BINS, DIM)}, trunk, [Task("nl", "speech", CTC(["a"]))]).eval()


def edited(edit, size=SIZE):
    """A model, and the parameters that the edit gave it; no row is fresh but that of member 0."""
    model = build()
    own = set(model.state_dict())
    edit(model, size=size)
    added = {name: p for name, p in model.named_parameters() if name not in own}
    with torch.no_grad():
        for parameter in added.values():
            parameter[1:] += 0.3 * torch.randn_like(parameter[1:])
    return model, added


def utterances(members):
    """A batch of utterances of many lengths, by these members."""
    g = torch.Generator().manual_seed(1)
    frames = [torch.randn(5 + 3 * index % 23, BINS, generator=g) for index in range(len(members))]
    lengths = torch.tensor([len(x) for x in frames])
    return Batch(pad(frames), lengths, groups={"speaker": torch.as_tensor(members)})


def alone(batch, row):
    """One utterance of a batch without its padding, for a model of one member."""
    inputs = batch.inputs[row : row + 1, : batch.lengths[row]]
    return Batch(inputs, batch.lengths[row : row + 1], groups={"speaker": torch.tensor([0])})


@torch.no_grad()
def scores(model, batch):
    return model.scores("nl", model("speech", batch)).x


def test_all_are_found():
    assert {"adapter", "lhuc", "lin"} <= set(EDITS)


@each
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_fresh_member_changes_nothing(edit, precision):
    model, batch = build(), utterances(range(SIZE))
    own = copy.deepcopy(model.state_dict())
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        expected = scores(model, batch)
        edit(model, size=SIZE)
        assert scores(model, batch).equal(expected)
    now = model.state_dict()
    assert all(now[name].equal(value) for name, value in own.items())


@each
def test_all_that_is_added_has_a_row_per_member(edit):
    _, added = edited(edit)
    assert added and all(len(parameter) == SIZE for parameter in added.values())


@each
def test_many_members_in_one_batch_hear_each_their_own_model(edit):
    model, added = edited(edit)
    batch = utterances(torch.randperm(SIZE, generator=torch.Generator().manual_seed(2)))
    together, unadapted = scores(model, batch), scores(build(), batch)
    for row, member in enumerate(batch.groups["speaker"].tolist()):
        own = build()
        edit(own, size=1)
        with torch.no_grad():
            for name, parameter in added.items():
                own.get_parameter(name).copy_(parameter[member : member + 1])
        expected = scores(own, alone(batch, row))[0]
        found = together[row, : len(expected)]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        plain = unadapted[row, : len(expected)]
        assert (member == 0) == torch.allclose(found, plain, atol=1e-4)


@each
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_only_who_speaks_is_trained(edit, precision):
    model, added = edited(edit, size=5)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        model("speech", utterances([3, 1, 3])).x.square().sum().backward()
    for parameter in added.values():
        trained = parameter.grad.flatten(1).abs().sum(1) > 0
        assert trained.tolist() == [False, True, False, True, False]
        assert parameter.grad.isfinite().all()


@each
def test_members_are_saved_and_come_back(edit, tmp_path):
    model, added = edited(edit, size=4)
    model.save_pretrained(tmp_path)
    loaded, batch = Model.from_pretrained(tmp_path), utterances([3, 0, 1, 2])
    assert loaded.edits == model.edits == [{"name": edit.__name__, "size": 4}]
    assert all(loaded.get_parameter(name).equal(p) for name, p in added.items())
    assert scores(loaded, batch).equal(scores(model, batch))


@each
def test_members_are_looked_for_in_their_column(edit):
    model, batch = build(), utterances([1, 0])
    edit(model, size=2, column="voice")
    with pytest.raises(ValueError, match=r"needs groups\['voice'\]; the batch has \['speaker'\]"):
        scores(model, batch)
    assert scores(model, batch._replace(groups={"voice": batch.groups["speaker"]})).isfinite().all()


@each
@pytest.mark.parametrize("member", [-1, 2])
def test_an_unknown_member_is_refused(edit, member):
    model = build()
    edit(model, size=2)
    with pytest.raises(ValueError, match=rf"groups\['speaker'\] holds .*{member}.* size=2"):
        scores(model, utterances([0, member]))


class Double(nn.Module):
    def forward(self, batch):
        return batch._replace(inputs=2 * batch.inputs)


def test_what_stands_before_an_encoder_sees_its_raw_input_only():
    trunk, batch = build().trunk, Batch(torch.randn(2, 5, DIM), torch.tensor([5, 3]))
    names = list(trunk.state_dict())
    expected = trunk(batch._replace(inputs=2 * batch.inputs)).x, trunk(batch).x
    trunk.put_before("twice", Double())
    inner = trunk(batch, start=("b1", trunk.rejoin(batch))).x
    assert trunk(batch).x.equal(expected[0]) and inner.equal(expected[1])
    assert isinstance(trunk.enter(batch), Flow) and list(trunk.state_dict()) == names
    with pytest.raises(ValueError, match="already has 'twice' ahead of it"):
        trunk.put_before("twice", Double())
