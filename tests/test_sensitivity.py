"""Whether a task's sensitivity to columns is what can be worked out by hand."""

import copy

import pytest
import torch
import torch.nn.functional as F
from columns import Dense
from test_contract import Linear, Toy

from mtl.batch import collate
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.sensitivity import fisher_sensitivity, perturbation_sensitivity
from mtl.trunks.transformer import Transformer
from mtl.tune.progressive import progressive


def pointed(index, g):
    """Points of two classes, around +2 and -2 in the first coordinate."""
    point = 0.3 * torch.randn(1, 3, generator=g)
    point[0, 0] += 2 - 4 * (index % 2)
    return point, {"side": torch.tensor(index % 2), "new": torch.tensor(index % 2)}


class Sided(Toy):
    """Raw labels are names."""

    def labels(self, index):
        return {"side": "ab"[index % 2], "new": "ab"[index % 2]}


def build(laterals=1.0, own=1.0):
    """Two columns of two layers; how much the second hears of the first, and of itself."""
    torch.manual_seed(0)
    stem = Linear(3, 3)
    with torch.no_grad():
        stem.project.weight.copy_(torch.eye(3))
        stem.project.bias.zero_()
    model = Model(
        {"points": stem}, Dense(3, [9, 9]), [Task("side", "points", Classify(["a", "b"]))]
    )
    progressive(model, "new", {"name": "columns:Dense", "takes": 3, "widths": [9, 9]}, first="old")
    model.add(Task("new", "points", Classify(["a", "b"])))
    column = model.trunk.column("new")
    with torch.no_grad():
        column.laterals["b2"].scales.fill_(laterals)
        column.last.scales.fill_(laterals)
        column.trunk.blocks["b2"].linear.weight.mul_(own)
    return model


def direct(model, points, labels):
    """The log-likelihood as a function of all activations, written out; and its squared derivatives."""
    old, new = model.trunk.column("old"), model.trunk.column("new")
    head = model.heads["new"].output
    squares = {}
    for x, label in zip(points, labels, strict=True):
        seen = {}

        def layer(place, z, seen=seen):
            seen[place] = z.relu()
            return seen[place]

        o1, o2 = old.trunk.blocks["b1"].linear, old.trunk.blocks["b2"].linear
        n1, n2 = new.trunk.blocks["b1"].linear, new.trunk.blocks["b2"].linear
        x = x.clone().requires_grad_()
        h1 = layer(("old", "b1"), o1(x))
        h2 = layer(("old", "b2"), o2(h1))
        g1 = layer(("new", "b1"), n1(x))
        a = new.laterals["b2"]
        g2 = layer(("new", "b2"), n2(g1) + a.up @ (a.scales * a.down @ h1).relu())
        a = new.last
        likely = F.log_softmax(head(g2 + a.up @ (a.scales * a.down @ h2).relu()), -1)[label]
        for place, g in zip(seen, torch.autograd.grad(likely, seen.values()), strict=True):
            squares.setdefault(place, []).append((g.square(), seen[place].detach()))
    found = {}
    for place, rows in squares.items():
        derivative = torch.stack([g for g, _ in rows]).mean(0)
        found[place] = derivative * torch.stack([h for _, h in rows]).var(0, unbiased=False)
    return found


def test_fisher_sensitivity_is_the_definition():
    model, data = build(), Sided(12, pointed)
    examples = [data.example(index) for index in range(12)]
    fisher = direct(model, [e.input[0] for e in examples], [int(e.labels["new"]) for e in examples])
    found = fisher_sensitivity(model, data, "new", batch=5.0)
    for block in ("b1", "b2"):
        old, new = fisher["old", block], fisher["new", block]
        total = old + new
        kept = total > 0
        assert found["old"][block] == pytest.approx(float((old / total)[kept].mean()), abs=1e-5)
        assert found["old"][block] + found["new"][block] == pytest.approx(1)
        assert 0.0 < found["old"][block] < 1.0


@pytest.mark.parametrize("measure", [fisher_sensitivity, perturbation_sensitivity])
def test_what_a_task_does_not_hear_has_no_share(measure):
    model, data = build(laterals=0.0), Sided(12, pointed)
    train_head(model, data)
    before = copy.deepcopy(model.state_dict())
    assert measure(model, data, "new") == {"old": {"b1": 0, "b2": 0}, "new": {"b1": 1, "b2": 1}}
    assert measure(model, data, "side") == {"old": {"b1": 1, "b2": 1}}
    after = model.state_dict()
    assert before.keys() == after.keys() and not model.trunk.trunk("old").after
    assert all(value.equal(before[name]) for name, value in after.items())


def train_head(model, data):
    """Put the scores where the classes are."""
    for name, head in model.heads.items():
        at = model.tasks[name].at
        with torch.no_grad():
            given = collate([data.example(i) for i in range(len(data))])
            f = model("points", given, [at]).at(at).x[:, 0]
            centred = f - f.mean(0)
            y = torch.tensor([1.0 - 2 * (i % 2) for i in range(len(data))])
            w = torch.linalg.pinv(centred, rtol=1e-3) @ y
            head.output.weight.copy_(torch.stack([w, -w]))
            head.output.bias.copy_(torch.stack([-(w @ f.mean(0)), w @ f.mean(0)]))


def test_what_cannot_be_measured_is_refused():
    model = build()
    with pytest.raises(ValueError, match="no example has a label of task 'new'"):
        fisher_sensitivity(model, Toy(3, lambda i, g: (pointed(i, g)[0], {})), "new")
    model.tasks["new"] = model.tasks["new"]._replace(at="new.b1")
    with pytest.raises(ValueError, match=r"task 'new' reads new\.b1, which is no column's end"):
        fisher_sensitivity(model, Sided(3, pointed), "new")
    plain = Model({"points": Linear(3, 8)}, Transformer(8, 1, 2, 2), [])
    plain.add(Task("side", "points", Classify(["a", "b"])))
    with pytest.raises(ValueError, match="reads the trunk, which is no column's end"):
        perturbation_sensitivity(plain, Sided(3, pointed), "side")


def test_noise_that_is_borne_tells_columns_apart():
    """The share of a column grows with the strength of its lateral into the second block."""
    data, shares = Sided(40, pointed), []
    for strength in (0.02, 1.0, 50.0):
        model = build(laterals=strength, own=0.3)
        train_head(model, data)
        shares.append(perturbation_sensitivity(model, data, "new", rounds=5)["old"]["b1"])
    assert shares[0] < 0.2 < 0.4 < shares[1] < 0.9 < shares[2] < 1


def test_a_task_that_knows_nothing_has_no_shares_of_noise():
    model = build()
    model.heads["new"].output.weight.data.zero_()
    with pytest.raises(ValueError, match="no better than with noise: train it first"):
        perturbation_sensitivity(model, Sided(12, pointed), "new")
