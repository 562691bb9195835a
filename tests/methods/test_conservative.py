import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import rel_entr, softmax
from test_contract import DIM, DOMAINS, build, streams
from test_fit import Unlabelled
from toy import Spelled, assert_same_weights, model, train

from mtl.batch import Batch
from mtl.config import Fit
from mtl.device import make_accelerator
from mtl.head import Task
from mtl.method import Totals
from mtl.methods.conservative import Conservative, conservative
from mtl.step import Step
from mtl.stream import Parts
from mtl.update import Updater


def by_hand(old, new, lengths=None):
    """KL with scipy, one example and frame at a time."""

    def kl(p, q):
        return rel_entr(softmax(p.double().numpy()), softmax(q.double().numpy())).sum()

    if lengths is None:
        return [kl(p, q) for p, q in zip(old, new, strict=True)]
    pairs = zip(old, new, lengths.tolist(), strict=True)
    return [np.mean([kl(p[t], q[t]) for t in range(n)]) if n else 0.0 for p, q, n in pairs]


def test_it_is_the_mean_divergence_of_the_valid_frames():
    old, new, lengths = torch.randn(3, 5, 4), torch.randn(3, 5, 4), torch.tensor([5, 2, 0])
    result = conservative(old, new, lengths)
    np.testing.assert_allclose(result, by_hand(old, new, lengths), rtol=1e-5, atol=1e-7)
    assert (result >= 0).all() and not torch.allclose(result, conservative(new, old, lengths))
    padded = [F.pad(scores, (0, 0, 0, 3), value=7.0) for scores in (old, -new)]
    torch.testing.assert_close(conservative(padded[0], -padded[1], lengths), result)
    assert conservative(old, old, lengths).tolist() == [0.0, 0.0, 0.0]


def test_classes_count_once_per_example_whatever_is_added_to_the_logits():
    old, new = torch.randn(4, 6), torch.randn(4, 6)
    np.testing.assert_allclose(conservative(old, new), by_hand(old, new), rtol=1e-5)
    torch.testing.assert_close(conservative(old + 3, new - 2), conservative(old, new))
    torch.testing.assert_close(conservative(old, new.log_softmax(-1)), conservative(old, new))
    assert conservative(torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]])).item() == 2e4


def test_its_gradient_is_right():
    old, new = torch.randn(2, 3, 4).double(), torch.randn(2, 3, 4).double().requires_grad_()
    lengths = torch.tensor([3, 1])
    assert torch.autograd.gradcheck(lambda x: conservative(old, x, lengths), new)


@pytest.mark.parametrize("rho", [0.25, 0.8])
def test_it_trains_on_labels_mixed_with_the_old_posteriors(rho):
    """Yu et al. 2013: cross entropy with (1 - rho) y + rho p_old, up to the factor 1 - rho."""
    old, labels = torch.randn(5, 4), torch.randint(4, (5,))
    new = torch.randn(5, 4, requires_grad=True)
    mixed = (1 - rho) * F.one_hot(labels, 4) + rho * old.softmax(-1)
    wanted = torch.autograd.grad(F.cross_entropy(new, mixed), new)[0] / (1 - rho)
    summed = F.cross_entropy(new, labels) + rho / (1 - rho) * conservative(old, new).mean()
    torch.testing.assert_close(torch.autograd.grad(summed, new)[0], wanted)


def stepped(net, method, batches, examples=None, phase="train"):
    """A step in training mode on a model that has moved away: its output, and the model before."""
    step = Step(net, {"kl": method})
    before = copy.deepcopy(net).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    step.train()
    examples = examples or {name: len(batch.lengths) for name, batch in batches.items()}
    return step(batches, phase, phase == "train", Totals(examples), 0.0), before


def part(**sizes):
    return Parts(streams(**sizes), 0)[0, 0].batches


def means(before, after, stream, batch, tasks, at=None):
    """The mean divergence of each task's scores, over all examples of the batch."""
    with torch.no_grad():
        features = [net(stream, batch, [at] if at else []) for net in (before, after)]
        found = {}
        for name in tasks:
            old, new = (n.scores(name, f) for n, f in zip((before, after), features, strict=True))
            found[name] = np.mean(by_hand(old.x, new.x, new.lengths))
    return found


def test_every_example_of_every_stream_counts_labelled_or_not():
    batches = part(**DOMAINS)
    assert not batches["target"].labels
    assert not batches["speech"].labels["nl"].present.all(), "a language is not that of all"
    net = build()
    net.tasks["nl"] = net.tasks["nl"]._replace(weight=0.5)
    output, before = stepped(net, Conservative(rho=0.75), batches)
    expected = 0.0
    for stream, batch in batches.items():
        kl = means(before, net, stream, batch, ["nl", "cy", "language"], at="b1")
        expected += 3 * (0.5 * kl["nl"] + kl["cy"] + kl["language"])
    assert output.losses["kl/kl"].item() == pytest.approx(expected, rel=1e-4)


def test_tasks_and_streams_can_be_chosen():
    batches = part(**DOMAINS)
    net = build()
    method = Conservative(tasks=["cy"], streams=["target"])
    output, before = stepped(net, method, batches)
    expected = means(before, net, "target", batches["target"], ["cy"])["cy"]
    assert output.losses["kl/kl"].item() == pytest.approx(expected, rel=1e-4)
    assert method.taps == ()


def test_auxiliary_tasks_are_left_out():
    net = build()
    net.add(Task("inner", "speech", "nl", at="b2", label="nl", auxiliary=True))
    method = Conservative(streams=["speech"])
    method.build(net)
    assert [task.name for task in method._kept("speech")] == ["nl", "cy", "language"]
    assert method.taps == ("b1",)


def test_spares_of_a_process_without_examples_do_not_count():
    batch = part(speech=6.0)["speech"]
    weights = torch.tensor([1.0] + [0.0] * (len(batch.lengths) - 1))
    net = build()
    method = Conservative(tasks=["nl"])
    output, before = stepped(
        net, method, {"speech": batch._replace(weights=weights)}, {"speech": 4}
    )
    first = batch._replace(inputs=batch.inputs[:1], lengths=batch.lengths[:1])
    expected = means(before, net, "speech", first, ["nl"])["nl"] / 4
    assert output.losses["kl/kl"].item() == pytest.approx(expected, rel=1e-4)


def test_batches_may_start_at_a_stored_block():
    net = build()
    stored = Batch(torch.randn(2, 5, DIM), torch.tensor([5, 3]), start="b1")
    output, before = stepped(net, Conservative(tasks=["nl"]), {"speech": stored})
    expected = means(before, net, "speech", stored, ["nl"])["nl"]
    assert output.losses["kl/kl"].item() == pytest.approx(expected, rel=1e-4) != 0


def test_only_the_phase_of_the_tasks_is_held():
    output, _ = stepped(build(), Conservative(), part(speech=6.0), phase="discriminate")
    assert output.losses == {}


def test_the_old_model_stays_and_is_no_part_of_what_is_trained():
    net, method = model(dropout=0.5), Conservative()
    before = copy.deepcopy(net)
    train(net=net, methods={"kl": method}, target=Unlabelled(10, 50))
    assert_same_weights(method.old, before)
    assert not method.old.training and not any(m.training for m in method.old.modules())
    method.train()
    assert not any(module.training for module in method.old.modules())
    assert not any(parameter.requires_grad for parameter in method.old.parameters())
    with pytest.raises(AssertionError):
        assert_same_weights(net, before)
    accelerator = make_accelerator(Fit(precision="no"))
    updater = Updater(Step(net, {"kl": method}), Fit(precision="no"), accelerator, 2)
    held = {id(p) for group in updater.optimizer.param_groups for p in group["params"]}
    assert held == {id(parameter) for parameter in net.parameters()}


def test_a_high_rho_keeps_the_outputs():
    far = []
    for methods in (None, {"kl": Conservative(rho=0.99)}):
        net = model()
        before = copy.deepcopy(net).eval()
        train(net=net, methods=methods, steps=20)
        inputs = torch.stack([Spelled().example(index).input[:9] for index in range(12)])
        kl = means(before, net, "speech", Batch(inputs, torch.full((12,), 9)), ["nl", "cy"])
        far.append(sum(kl.values()))
    assert far[1] < 0.2 * far[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rho": 1.0}, "rho is 1.0; it is a share, from 0 to below 1"),
        ({"rho": -0.1}, "rho is -0.1"),
        ({"tasks": ["fy"]}, "no task 'fy'; this model has: nl, cy"),
        ({"streams": ["video"]}, "no stream 'video'; this model has: speech, images, target"),
        ({"tasks": ["digit"], "streams": ["speech"]}, r"no task to keep on streams \['speech'\]"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conservative(**arguments).build(build())
