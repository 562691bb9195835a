"""Masked units: what is hidden, which units are told, and what counts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.fft import dct
from test_fit import Unlabelled
from toy import model

from mtl.batch import collate
from mtl.method import Totals
from mtl.methods.hubert import HuBERT, cepstra, spans, stacked
from mtl.model import Model
from mtl.stems.logmel import LogMel
from mtl.step import Step
from mtl.trunks.transformer import Transformer
from mtl.units import find_units, learnt_units


def batch(data=None):
    data = data or Unlabelled(6)
    return collate([data.example(index, targets=False) for index in range(len(data))])


def stepped(method, net=None, given=None):
    """Let a method see one batch: its terms, the step and the batch that the model saw."""
    step = Step(net or model(), {"method": method}).train()
    given = batch() if given is None else given
    seen = method.inputs({method.stream: given})[method.stream]
    torch.manual_seed(1)
    output = step({method.stream: given}, "train", True, Totals({method.stream: 6}), 0.5)
    return output, step, seen


def test_cepstra_are_scipys():
    rows = np.random.default_rng(0).normal(size=(3, 8))
    wanted = dct(rows, norm="ortho", axis=1)[:, :5]
    np.testing.assert_allclose(cepstra(torch.from_numpy(rows), 5).numpy(), wanted, atol=1e-6)


def test_spans_keep_to_the_utterance_and_every_one_has_one():
    torch.manual_seed(0)
    lengths = torch.tensor([1, 3, 40, 200])
    hidden = spans(lengths, 200, share=0.05, span=7)
    assert [int(row[n:].sum()) for row, n in zip(hidden, lengths, strict=True)] == [0] * 4
    assert hidden[0].sum() == 1 and hidden[1].sum() == 3 and hidden[2].sum() >= 7
    runs = "".join("x" if h else " " for h in hidden[3, :193].tolist()).split()
    assert min(map(len, runs[:-1] or runs)) >= 7
    many = spans(torch.full((50,), 400), 400, share=0.08, span=7).float().mean()
    assert many == pytest.approx(1 - 0.92**7, abs=0.02)


def test_hidden_frames_are_zero_and_others_as_they_were():
    torch.manual_seed(3)
    given = batch()
    method = HuBERT(torch.randn(4, 6), coefficients=0, span=3)
    Step(model(), {"method": method})
    seen = method.inputs({"speech": given})["speech"]
    hidden = method._whole[1]
    assert hidden.any(1).all() and not seen.inputs[hidden].any()
    assert torch.equal(seen.inputs[~hidden], given.inputs[~hidden])
    assert method.inputs({"other": given})["other"] is given


def test_the_loss_is_the_cross_entropy_of_the_nearest_centres_on_hidden_frames():
    torch.manual_seed(0)
    method, given = HuBERT(torch.randn(5, 6), coefficients=0, span=3), batch()
    kept, terms = [], method.terms

    def spy(view):
        kept[:] = [view.features["speech"].x, method._whole[1]]
        return terms(view)

    method.terms = spy
    output, _, _ = stepped(method, given=given)
    x, hidden = kept
    wanted = []
    for row in range(6):
        losses = []
        for place in hidden[row].nonzero().flatten().tolist():
            apart = (method.centres - given.inputs[row, place]).square().sum(1)
            told = method.tell(x[row, place])
            losses.append(F.cross_entropy(told[None], apart.argmin()[None]).item())
        wanted.append(np.mean(losses))
    assert output.losses["method/units"].item() == pytest.approx(np.mean(wanted), rel=1e-4)
    assert 0 <= output.sums["method/accuracy"][0] <= 1


def test_a_stem_that_skips_frames_has_units_of_several():
    torch.manual_seed(0)
    net = Model({"speech": LogMel(8, subsample=3)}, Transformer(8, depth=1, heads=2))
    x, lengths = torch.randn(2, 31, 80), torch.tensor([31, 20])
    given = batch()._replace(inputs=x, lengths=lengths, weights=None, labels={}, groups={})
    method = HuBERT(torch.randn(4, 3 * 13))
    assert stepped(method, net, given)[0].losses["method/units"].isfinite()
    assert method.factor == 3
    units = method.units(given, 11)
    rows = stacked(cepstra(x, 13), 3)
    apart = (rows[:, :, None] - method.centres).square().sum(-1)
    assert torch.equal(units, apart.argmin(2))


def test_units_of_a_teacher_come_from_its_block_and_it_stays_as_it_is():
    torch.manual_seed(0)
    teacher, data = model(seed=1), Unlabelled(6)
    centres = learnt_units(teacher, data, at="b1", count=3)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    method = HuBERT(centres, teacher=teacher, at="b1", span=3)
    output, step, _ = stepped(method)
    output.losses["method/units"].backward()
    assert all(p.grad is None for n, p in step.named_parameters() if ".teacher." in n)
    assert not method.teacher.training
    held = method.teacher.state_dict()
    assert all(value.equal(before[name]) for name, value in held.items())
    given = batch(data)
    with torch.inference_mode():
        rows = teacher.eval()("speech", given, ("b1",)).at("b1").x
    apart = (rows[:, :, None] - centres).square().sum(-1)
    assert torch.equal(method.units(given, rows.shape[1]), apart.argmin(2))


def test_found_units_are_centres_of_stacked_frames():
    data = Unlabelled(6)
    found = find_units(data, factor=2, count=3, coefficients=0)
    frames = [data.example(index).input[None] for index in range(6)]
    rows = torch.cat([stacked(each, 2)[0] for each in frames]).double()
    nearest = (rows[:, None] - found).square().sum(-1).argmin(1)
    assert found.shape == (3, 12) and set(nearest.tolist()) == {0, 1, 2}
    assert torch.equal(find_units(data, 2, 3, 0), found)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda: HuBERT(torch.randn(1, 6)), "2 units at least"),
        (lambda: HuBERT(torch.randn(4, 6), span=0), "span 0"),
        (lambda: stepped(HuBERT(torch.randn(4, 5), coefficients=0)), "find them for this stem"),
        (lambda: Step(model(), {"m": HuBERT(torch.randn(4, 6), stream="x")}), "no stream 'x'"),
    ],
)
def test_what_does_not_fit_is_refused(method, message):
    with pytest.raises(ValueError, match=message):
        method()


def test_samples_are_refused():
    method = HuBERT(torch.randn(4, 6), coefficients=0)
    Step(model(), {"m": method})
    with pytest.raises(ValueError, match="units are of frames"):
        method.inputs({"speech": batch()._replace(inputs=torch.zeros(6, 100))})
