"""The contract of every method. A new file in mtl/methods needs an entry in METHODS."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from adapting import METHODS as ADAPTING
from safetensors import safe_open
from test_fit import Stopped, Unlabelled, stop_at
from toy import Spelled, assert_same_weights, model, train

from mtl.batch import collate
from mtl.method import Method, Totals
from mtl.methods.compress import Compress
from mtl.methods.conservative import Conservative
from mtl.methods.hubert import HuBERT
from mtl.methods.l2sp import L2SP
from mtl.methods.relation import Relation
from mtl.registry import names
from mtl.step import Step

UNITS = torch.linspace(-1, 1, 24).view(4, 6)
# Their own tests hold what is tested here of all.
OF_PICTURES = {"simmim", "pixelda", "unit", "munit"}


class Entry(NamedTuple):
    make: Callable[[], Method]
    zero: bool = False  # nothing is lost as long as the weights are those at the start


METHODS = {
    "compress": Entry(Compress, zero=True),
    "conservative": Entry(Conservative, zero=True),
    "hubert": Entry(lambda: HuBERT(UNITS, coefficients=0, span=3)),
    "l2sp": Entry(lambda: L2SP(alpha=0.1, beta=0.0), zero=True),
    "relation": Entry(Relation, zero=True),
} | {name: Entry(make) for name, make in ADAPTING.items()}


def test_every_method_stands_in_the_table():
    assert set(METHODS) | OF_PICTURES == set(names("methods"))


def stepped(entry, moved):
    """Run one step, after moving all weights by `moved` at random: model, and the method's terms."""
    net = model()
    step = Step(net, {"method": entry.make()})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(moved * torch.randn_like(parameter))
    data = {"speech": Spelled(8), "target": Unlabelled(6)}
    batches = {n: collate([d.example(i) for i in range(len(d))]) for n, d in data.items()}
    totals = Totals({name: len(batch.lengths) for name, batch in batches.items()})
    losses = step.train()(batches, "train", True, totals, 0.5).losses
    return net, step, {name: loss for name, loss in losses.items() if name.startswith("method/")}


@pytest.mark.parametrize("name", METHODS)
def test_terms_are_finite_scalars_whose_gradients_reach_the_model(name):
    net, step, terms = stepped(METHODS[name], moved=0.2)
    assert terms and all(term.shape == () and term.isfinite() for term in terms.values())
    sum(terms.values()).backward()
    gradients = {n: p.grad for n, p in step.named_parameters() if p.grad is not None}
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    for part in ("stems", "trunk"):
        assert any(p.grad is not None and p.grad.any() for p in getattr(net, part).parameters())


@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if entry.zero])
def test_nothing_is_lost_at_the_start(name):
    terms = stepped(METHODS[name], moved=0.0)[2]
    assert terms and all(term == 0 for term in terms.values())
    assert sum(stepped(METHODS[name], moved=0.2)[2].values()) > 0


def run(name, folder, seed=0):
    methods, target = {name: METHODS[name].make()}, Unlabelled(10, 50)
    net = model(dropout=0.3, seed=seed)
    return train(net=net, methods=methods, target=target, out=folder, save_every=5)


@pytest.mark.parametrize("name", METHODS)
def test_ten_steps_are_five_and_resume_and_five(name, tmp_path, monkeypatch):
    """Resumed from other weights: what the method remembers must come from the checkpoint."""
    whole = run(name, tmp_path / "whole")
    stop_at(monkeypatch, 5)
    with pytest.raises(Stopped):
        run(name, tmp_path / "parts")
    resumed = run(name, tmp_path / "parts", seed=1)
    assert_same_weights(whole.model, resumed.model)
    assert resumed.history == whole.history


@pytest.mark.parametrize("name", METHODS)
def test_a_saved_model_holds_nothing_of_the_method(name, tmp_path):
    fitted = run(name, tmp_path)
    fitted.model.save_pretrained(tmp_path / "model")
    with safe_open(tmp_path / "model/model.safetensors", "pt") as file:
        assert set(file.keys()) == set(model().state_dict())
    assert fitted.model.config() == model(dropout=0.3).config()
