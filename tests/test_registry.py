import json

import pytest
import torch
from test_contract import DIM, WIDTH, Linear
from test_pretrained import change
from torch import nn
from toy import model as toy

from mtl.batch import Batch, Flow
from mtl.encoder import Encoder
from mtl.head import Head
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.registry import construct, describe, find
from mtl.stems.frames import Frames
from mtl.trunks.transformer import Transformer


def test_a_class_from_elsewhere_must_be_imported_first(tmp_path):
    toy().save_pretrained(tmp_path)
    assert isinstance(Model.from_pretrained(tmp_path).stems["speech"], Linear)
    change(stems=[["speech", {"name": "my_project.stems:Ear", "dim": 4}]])(tmp_path)
    with pytest.raises(
        ValueError, match=r"'my_project.stems:Ear' is not part of mtl: import my_project.stems"
    ):
        Model.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "name", ["os:system", "torch.nn:Linear", "pathlib:Path", "mtl.heads.ctc:CTC"]
)
def test_a_configuration_builds_encoders_and_nothing_else(name):
    with pytest.raises(ValueError, match="is not part of mtl"):
        find("stems", name)


def test_describing_and_constructing_are_inverse():
    for folder, made in (
        ("stems", Frames(WIDTH, DIM, subsample=3, normalise=False)),
        ("trunks", Transformer(DIM, depth=1, heads=2, dropout=0.5)),
        ("heads", CTC(["a", "é"], upsample=3, rules={"case": "keep"})),
        ("stems", Linear(WIDTH, DIM)),
    ):
        again = construct(folder, json.loads(json.dumps(describe(made))))
        assert type(again) is type(made) and describe(again) == describe(made)


def test_a_block_must_not_be_edited_twice_under_one_name():
    trunk = Transformer(DIM, depth=1, heads=2)
    trunk.put_after("b1", "lhuc", nn.Identity())
    with pytest.raises(ValueError, match="block 'b1' already has 'lhuc' behind it"):
        trunk.put_after("b1", "lhuc", nn.Identity())


class Adding(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, flow):
        return flow._replace(x=flow.x + self.value)


def test_an_encoder_runs_its_blocks_in_order_and_starts_where_told():
    trunk = Encoder(1)
    trunk.blocks.update({"one": Adding(1.0), "ten": Adding(10.0), "hundred": Adding(100.0)})
    trunk.put_after("one", "more", Adding(0.5))
    batch = Batch(torch.zeros(1, 2, 1), torch.tensor([2]))
    f = trunk(batch, taps=["one", "ten"])
    assert f.x.unique().tolist() == [111.5] and list(f.taps) == ["one", "ten"]
    assert f.at("one").x.unique().tolist() == [1.5] and f.at("ten").x.unique().tolist() == [11.5]
    resumed = trunk(batch, start=("ten", Flow(torch.ones(1, 2, 1), torch.tensor([2]))))
    assert resumed.x.unique().tolist() == [111.0] and f.at(None) is f


def test_the_bare_contracts_say_that_they_are_bare():
    head = Head()
    with pytest.raises(TypeError, match="a Head head cannot learn a class from examples"):
        head.register("new", None)
    for call in (lambda: head.build(3), lambda: head.encode("x"), lambda: head.predict(None)):
        with pytest.raises(NotImplementedError):
            call()
