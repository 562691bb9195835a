"""upm: logits are products with the phones' attributes, and a new inventory needs no new weights."""

import itertools

import pytest
import torch

from mtl.articulation import articulation
from mtl.batch import Features, Labels
from mtl.heads.phoneme import Phoneme
from mtl.heads.upm import UPM, upm
from mtl.registry import construct, describe

PHONES = [" ", "a", "b", "p", "m"]


def made(symbols=PHONES, **more):
    torch.manual_seed(0)
    head = UPM(symbols, articulation(symbols), **more)
    head.build(6)
    return head


def features(count=2, frames=5):
    g = torch.Generator().manual_seed(1)
    return Features(torch.randn(count, frames, 6, generator=g), torch.tensor([frames, frames - 2]))


@pytest.mark.parametrize("hidden", [0, 7])
def test_scores_are_products_with_each_phones_own_attributes(hidden):
    head, f = made(hidden=hidden), features()
    rows = [[1.0] + [0.0] * 28] + [[0.0, *vector] for vector in articulation(PHONES)]
    phones = torch.tensor(rows)
    if hidden:
        first, _, last = head.embed
        phones = (phones @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
    told = f.x @ head.output.weight.T + head.output.bias
    logits = torch.stack([(told * phone).sum(-1) for phone in phones], -1)
    found = head.scores(f)
    torch.testing.assert_close(found.x, logits.log_softmax(-1))
    assert found.lengths.tolist() == [5, 3]
    torch.testing.assert_close(upm(told, phones), logits)


def test_upsampling_gives_frames_of_their_own():
    assert made(upsample=2).scores(features()).x.shape == (2, 10, 6)


def test_a_new_inventory_is_told_by_what_was_learnt():
    """A voiced nasal was heard, and a voiceless stop at the back; a nasal at the back never was."""
    heard = ["p", "b", "m", "k", "ɡ"]
    head = UPM(heard, articulation(heard))
    head.build(28)
    with torch.no_grad():  # frames that say their phone's articulation
        head.output.weight.copy_(torch.cat([torch.zeros(1, 28), torch.eye(28)]))
        head.output.bias.zero_()
    before = head.scores(features_of(heard)).x.argmax(-1)
    assert before[0].tolist() == [1, 2, 3, 4, 5]
    weights = [parameter.clone() for parameter in head.parameters()]
    more = ["ŋ", *heard, "n"]
    head.speak(more, articulation(more))
    assert head.scores(features_of(more)).x.argmax(-1)[0].tolist() == list(range(1, 8))
    assert all(a.equal(b) for a, b in zip(weights, head.parameters(), strict=True))
    assert head.decode(head.encode("nˈŋa".replace("a", "k"))) == "n ŋ k"


def features_of(phones):
    return Features(torch.tensor([articulation(phones)]), torch.tensor([len(phones)]))


def test_it_learns_as_ctc_does():
    head = made()
    label = Labels(head.encode("ba")[None], torch.tensor([2]))
    f = Features(features(1).x[:1], torch.tensor([5]))
    found = head.loss(head.scores(f), label)
    logs, total = head.scores(f).x[0], 0.0
    for path in itertools.product(range(6), repeat=5):
        kept = [s for s, _ in itertools.groupby(path) if s]
        if kept == label.values[0].tolist():
            total += logs[range(5), path].sum().exp()
    torch.testing.assert_close(found, -torch.log(total)[None] / 2, rtol=1e-4, atol=1e-5)


def test_the_inventory_is_saved_with_the_head():
    head = made(hidden=3)
    head.speak(["o", "u"], articulation(["o", "u"]))
    again = construct("heads", describe(head))
    again.build(6)
    again.load_state_dict(head.state_dict())
    assert again.symbols == ["o", "u"] and again.scores(features()).x.equal(
        head.scores(features()).x
    )
    assert "signatures" not in head.state_dict() and isinstance(again, Phoneme)


@pytest.mark.parametrize(
    ("symbols", "vectors", "message"),
    [
        (["a", "b"], [[1.0]], "2 classes, but 1 vectors"),
        (["a", "b"], [[1.0], [1.0, 2.0]], "'b' has a vector of 2 numbers, 'a' of 1"),
        (["a"], [[float("nan")]], "'a' has a vector with NaN"),
        (["ab"], [[1.0]], "symbol 'ab' is"),
    ],
)
def test_what_does_not_go_together_is_refused(symbols, vectors, message):
    with pytest.raises(ValueError, match=message):
        UPM(symbols, vectors)


def test_other_attributes_than_those_learnt_are_refused():
    with pytest.raises(ValueError, match="vectors of 1 numbers; this head learnt 28"):
        made().speak(["a"], [[1.0]])
