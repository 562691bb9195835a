import math

import numpy as np
import pytest
import torch
from test_contract import DIM, WIDTH, Linear
from torch import nn
from toy import Spelled, model

from mtl.batch import Batch, Labels, collate
from mtl.config import Fit
from mtl.encoder import Encoder
from mtl.fit import fit
from mtl.head import Scores, Task
from mtl.heads.classify import Classify
from mtl.method import Totals
from mtl.methods.compress import Compress, compress, consolidate, divergence, information
from mtl.model import Model
from mtl.step import Step
from mtl.stream import Stream, Subset


class Unlabelled(Subset):
    """The toy's utterances without what is said."""

    def labels(self, index):
        return {}

    def example(self, index, draw=None, targets=True):
        return super().example(index, draw, False)


def bare(count=12):
    return Unlabelled(Spelled(count), range(count))


def terms(net, method, stream="speech"):
    """The method's terms on twelve examples without labels, after `net` was moved."""
    step = Step(net, {"c": method})
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    data = bare()
    batch = collate([data.example(index) for index in range(len(data))])
    output = step.train()({stream: batch}, "train", True, Totals({stream: 12}), 0.5)
    return {name: value.item() for name, value in output.losses.items()}, batch


def test_it_is_half_the_weighed_squared_distance_and_its_gradient_leads_back():
    g = torch.Generator().manual_seed(0)
    w, s = ([torch.randn(size, generator=g) for size in ((3, 2), (4,))] for _ in range(2))
    f = [torch.rand(size, generator=g) for size in ((3, 2), (4,))]
    expected = sum(
        float((b.double() * (a.double() - c.double()) ** 2).sum()) / 2
        for a, b, c in zip(w, f, s, strict=True)
    )
    for each in w:
        each.requires_grad_()
    found = compress(w, s, f)
    found.backward()
    assert found.item() == pytest.approx(expected)
    for a, b, c in zip(w, f, s, strict=True):
        torch.testing.assert_close(a.grad, b * (a - c).detach())
    assert compress(s, s, f) == 0


def test_online_information_fades_by_gamma_each_time():
    tasks = [{"w": torch.tensor([v]), "x": torch.tensor([1.0])} for v in (3.0, 5.0, 7.0)]
    total = {}
    for task in tasks:
        total = consolidate(total, task, gamma=0.5)
    assert total["w"].item() == 0.25 * 3 + 0.5 * 5 + 7
    assert total["x"].item() == 0.25 + 0.5 + 1


class Still(Encoder):
    """A trunk that passes frames on; its one weight is never used."""

    def __init__(self, dim):
        super().__init__(dim)
        self.unused = nn.Parameter(torch.ones(3))
        self.blocks["b1"] = nn.Identity()


def regression():
    """A linear stem, and a linear head of three classes on the mean frame."""
    torch.manual_seed(0)
    task = Task("digit", "speech", Classify(["0", "1", "2"]))
    return Model({"speech": Linear(WIDTH, DIM)}, Still(DIM), [task])


def drawn(count):
    g = torch.Generator().manual_seed(3)
    for index in range(count):
        x = torch.randn(1, 4 + index % 3, WIDTH, generator=g)
        labels = {"digit": Labels(torch.tensor([index % 3]))}
        yield Batch(x, torch.tensor([x.shape[1]]), labels, ids=(f"x{index}",))


def test_information_is_that_of_softmax_regression_by_hand():
    net = regression().train()
    net.heads["digit"].requires_grad_(False)
    matrices = [net.stems["speech"].project, net.heads["digit"].output]
    (w, b), (v, c) = ([p.detach().double().numpy() for p in m.parameters()] for m in matrices)
    weight, bias = np.zeros_like(w), np.zeros_like(b)
    for batch in drawn(7):
        x = batch.inputs[0].double().mean(0).numpy()
        logits = v @ (w @ x + b) + c
        p = np.exp(logits) / np.exp(logits).sum()
        error = v.T @ (p - np.eye(3)[batch.labels["digit"].values.item()])
        weight += np.outer(error, x) ** 2
        bias += error**2
    mean = (weight.sum() + bias.sum()) / (weight.size + bias.size + 3)
    found = information(net, "digit", drawn(7))
    assert list(found) == [
        "stems.speech.project.weight",
        "stems.speech.project.bias",
        "trunk.unused",
    ]
    np.testing.assert_allclose(found["stems.speech.project.weight"], weight / mean, rtol=1e-4)
    np.testing.assert_allclose(found["stems.speech.project.bias"], bias / mean, rtol=1e-4)
    assert not found["trunk.unused"].any()
    assert not next(net.heads["digit"].parameters()).requires_grad and net.training
    assert all(p.grad is None for p in net.parameters())
    with pytest.raises(ValueError, match="no example says anything of the weights that task"):
        information(net, "digit", [])
    with pytest.raises(ValueError, match="example y has no label of task 'digit'"):
        information(net, "digit", [next(drawn(1))._replace(labels={}, ids=("y",))])


def test_divergence_of_frames_leaves_padding_out():
    g = torch.Generator().manual_seed(0)
    old, new = (torch.randn(2, 5, 3, generator=g) for _ in range(2))
    lengths = torch.tensor([5, 2])
    p, q = (x.double().softmax(-1).numpy() for x in (old, new))
    by_hand = [(p[i, :n] * np.log(p[i, :n] / q[i, :n])).sum(-1).mean() for i, n in ((0, 5), (1, 2))]
    found = divergence(Scores(old, lengths), Scores(new, lengths))
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)


def test_terms_are_the_divergences_and_the_distance():
    net = model()
    teacher = model(seed=5)
    fisher = {n: torch.rand_like(p) for n, p in net.named_parameters() if n.startswith("trunk")}
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    method = Compress(teacher, fisher, strength=0.3)
    found, batch = terms(net, method)
    after = dict(net.named_parameters())
    near = sum((f * (after[n] - before[n]) ** 2).sum().item() for n, f in fisher.items()) / 2
    assert found["c/ewc"] == pytest.approx(0.3 * near, rel=1e-5)
    expected = 0.0
    for task in net.tasks:
        p, q = (
            m.eval().scores(task, m("speech", batch)).x.softmax(-1).detach().double().numpy()
            for m in (teacher, net)
        )
        each = (p * np.log(p / q)).sum(-1)
        if p.ndim == 3:
            rows = zip(each, batch.lengths.tolist(), strict=True)
            each = np.array([row[:length].mean() for row, length in rows])
        expected += each.mean()
    assert found["c/kl"] == pytest.approx(expected, rel=1e-4)
    assert set(found) == {"c/kl", "c/ewc"}


def learnt(strength, fisher=None):
    """Learn a teacher's answers without a label; the student, the teacher, and the student before."""
    teacher, net = model(seed=5), model()
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    kept = {name: value.clone() for name, value in teacher.state_dict().items()}
    settings = Fit(steps=150, lr=1e-2, weight_decay=0.0, precision="no", threads=1, dry_run=False)
    methods = {"c": Compress(teacher, fisher, strength)}
    done = fit(net, {"speech": Stream(bare(), 30.0)}, settings, methods=methods, show=False)
    for name, value in teacher.state_dict().items():
        assert value.equal(kept[name]), f"the teacher learnt {name}"
    last = done.history[-1]["loss"]
    return net, before, last


def test_the_student_learns_without_labels_where_nothing_holds_it():
    _, _, last = learnt(0.0)
    start, _ = terms(model(), Compress(model(seed=5)))
    assert last["c/kl"] < 0.2 * start["c/kl"]


def test_weights_that_matter_stay():
    """Of each shared tensor half the weights are held."""
    held = {}
    for name, value in model().named_parameters():
        if name.startswith(("stems.", "trunk.")):
            held[name] = torch.zeros_like(value)
            held[name].view(-1)[::2] = 1e4
    net, before, _ = learnt(1.0, held)
    moves = {name: (value - before[name]).abs() for name, value in net.named_parameters()}
    fixed = max(moves[n].view(-1)[::2].max().item() for n in held)
    free = max(moves[n].view(-1)[1::2].max().item() for n in held if moves[n].numel() > 1)
    assert fixed < 0.05 * free and math.isfinite(free)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="strength is -1; it may not be below 0"):
        Compress(strength=-1)
    for wrong in ({"trunk.x": torch.ones(1)}, {"stems.speech.project.bias": torch.ones(DIM + 1)}):
        with pytest.raises(
            ValueError, match=f"of other weights than this model has, such as {next(iter(wrong))}"
        ):
            Step(model(), {"c": Compress(fisher=wrong)})
    other = regression()
    with pytest.raises(
        ValueError, match=r"the teacher has none of the tasks \['nl', 'cy', 'language'\]"
    ):
        Step(model(), {"c": Compress(other)})
