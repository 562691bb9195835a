import re

import torch
from test_model import build, three_tasks

from mtl.summary import summary
from mtl.tune.layers import freeze
from mtl.tune.lhuc import lhuc


def lines(model):
    head, *parts = repr(model).splitlines()
    return head, [re.split(r"\s{2,}", line.strip()) for line in parts]


def test_the_lines_add_up_and_say_what_is_frozen():
    first, *_ = three_tasks()
    shared = first._replace(name="again", head=first.name, at="b1", auxiliary=True)
    model = build(first, shared)
    lhuc(model, size=2)
    freeze(model, [":b1", "stems"])
    head, parts = lines(model)
    total = sum(p.numel() for p in model.parameters())
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert frozen and head == f"Model: {total:,} parameters, {frozen:,} of them frozen"
    found = {(row[0], row[1]): row[2:] for row in parts}
    sizes = {key: int(row[1].replace(",", "")) for key, row in found.items()}
    assert sum(sizes.values()) == total
    block = model.trunk.blocks["b1"]
    own = [*block.parameters(), *model.trunk.after["b1"].parameters()]
    assert sizes["block", "b1"] == sum(p.numel() for p in own)
    assert (
        found["block", "b1"][0].endswith(" + lhuc") and found["block", "b1"][2] == "in part frozen"
    )
    assert found["stem", "speech"][2] == "frozen"
    assert sizes["head", "again"] == 0, "a shared head counts once"
    assert found["head", "again"][-1] == f"reads {first.stream} at b1, auxiliary"
    assert found["head", first.name][-1] == f"reads {first.stream}"


def test_what_is_frozen_in_part_is_said_and_a_plain_model_is_not_frozen():
    model = build(three_tasks()[0])
    assert "frozen" not in repr(model)
    next(model.trunk.blocks["b1"].parameters()).requires_grad_(False)
    (row,) = [row for row in lines(model)[1] if row[:2] == ["block", "b1"]]
    assert row[-1] == "in part frozen"
    assert summary(model) == repr(model)
    assert torch.nn.Sequential(model).extra_repr() == "", "still a module among others"
