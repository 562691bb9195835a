"""domain_norm: each domain is normalised by its own statistics, against torch's batch norm."""

import copy

import pytest
import torch
import torch.nn.functional as F
from tiny_norms import batch, normed
from torch import nn

from mtl.model import Model
from mtl.tune.domain_norm import DomainNorm, domain_norm


def edited(streams=None):
    model = normed()
    norm = model.trunk.blocks["b1"].norm
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2), norm.bias.normal_()
        norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    domain_norm(model, streams)
    return model


def plain_norms(model):
    """A batch norm of torch's for each domain, with what all have in common."""
    norms = {}
    for name in ("source", "target"):
        norms[name] = copy.deepcopy(normed().trunk.blocks["b1"].norm)
        own = model.trunk.blocks["b1"].norm
        state = {"weight": own.weight, "bias": own.bias, "running_mean": own.running_mean[0]}
        state |= {"running_var": own.running_var[0], "num_batches_tracked": torch.tensor(0)}
        norms[name].load_state_dict(state)
    return norms


def apply(norm, model, given):
    return norm(model.stems["pictures"].convolution(given.inputs)).flatten(2).mT


def test_it_is_a_batch_norm_for_each_domain():
    model = edited(["source", "target"]).train()
    norms = plain_norms(model)
    for step in range(3):
        for name, shift in (("source", 0.0), ("target", 3.0)):
            given = batch(4 + step, shift)
            torch.testing.assert_close(model(name, given).x, apply(norms[name], model, given))
    model.eval()
    own = model.trunk.blocks["b1"].norm
    for row, (name, norm) in enumerate(norms.items()):
        given = batch(2, 1.0)
        torch.testing.assert_close(model(name, given).x, apply(norm.eval(), model, given))
        torch.testing.assert_close(own.running_mean[row], norm.running_mean)
        torch.testing.assert_close(own.running_var[row], norm.running_var)
        assert own.num_batches_tracked[row] == norm.num_batches_tracked == 3
    assert (own.running_mean[0] - own.running_mean[1]).abs().max() > 0.1


def test_without_the_edit_the_means_are_of_both():
    model, given = normed().train(), {"source": batch(4), "target": batch(4, 3.0)}
    for name, each in given.items():
        model(name, each)
    seen = model.trunk.blocks["b1"].norm
    means = [model.stems["pictures"].convolution(b.inputs).mean((0, 2, 3)) for b in given.values()]
    torch.testing.assert_close(seen.running_mean, 0.9 * 0.1 * means[0] + 0.1 * means[1])


def test_a_plain_mean_over_all_batches_as_in_torch():
    model = normed().train()
    model.trunk.blocks["b1"].norm.momentum = None
    domain_norm(model)
    means = []
    for count in (3, 4, 5):
        x = model.stems["pictures"].convolution(batch(count).inputs)
        means.append(x.mean((0, 2, 3)))
        model("target", batch(count))
    own = model.trunk.blocks["b1"].norm.running_mean
    torch.testing.assert_close(own[2], torch.stack(means).mean(0))
    assert not own[:2].any(), "streams are numbered as the model lists them"


def test_gradients_are_those_of_a_batch_norm_and_scales_are_shared():
    model = edited(["source", "target"]).train()
    given = {"source": batch(3), "target": batch(4, 2.0)}
    sum(model(name, each).x.pow(3).sum() for name, each in given.items()).backward()
    own, weight = model.trunk.blocks["b1"].norm, model.stems["pictures"].convolution.weight
    found = [own.weight.grad, own.bias.grad, weight.grad]
    leaves = [p.detach().clone().requires_grad_() for p in (own.weight, own.bias, weight)]
    total = 0
    for each in given.values():
        bias = model.stems["pictures"].convolution.bias
        x = F.conv2d(each.inputs, leaves[2], bias.detach(), padding=1)
        total = total + F.batch_norm(x, None, None, *leaves[:2], training=True).pow(3).sum()
    for got, wanted in zip(found, torch.autograd.grad(total, leaves), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_it_is_saved_replayed_and_copied(tmp_path):
    model = edited(["source", "target"]).train()
    model("target", batch(4, 3.0))
    model.eval().save_pretrained(tmp_path / "model")
    for again in (Model.from_pretrained(tmp_path / "model"), copy.deepcopy(model)):
        for name in ("source", "target"):
            assert again(name, batch(3)).x.equal(model(name, batch(3)).x)
    assert not model("source", batch(3)).x.equal(model("target", batch(3)).x)


def test_frozen_statistics_stay():
    model = edited(["source", "target"])
    model.requires_grad_(False)
    model.heads.requires_grad_(True)
    before = model.trunk.blocks["b1"].norm.running_mean.clone()
    model.train()("source", batch(4))
    assert model.trunk.blocks["b1"].norm.running_mean.equal(before)


def test_a_norm_used_in_two_places_is_one():
    model = normed()
    model.trunk.other = nn.Sequential(model.trunk.blocks["b1"].norm)
    domain_norm(model)
    assert model.trunk.other[0] is model.trunk.blocks["b1"].norm
    assert isinstance(model.trunk.other[0], DomainNorm)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="no stream 'far'; this model has: pictures, source"):
        domain_norm(normed(), ["far"])
    with pytest.raises(ValueError, match="no batch norm: there are no statistics to keep"):
        domain_norm(normed(norm=False))
    model = edited(["source"])
    with pytest.raises(ValueError, match="stream 'target' has no statistics; these have: source"):
        model("target", batch(2))
    model("source", batch(2))
    with pytest.raises(RuntimeError, match="does not know which stream this is: run the whole"):
        model.trunk(batch(2)._replace(inputs=torch.zeros(2, 4, 5, 5)))
