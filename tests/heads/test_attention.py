"""The attention head against enumerations of all texts, and its dealings with the CTC head beside it."""

import itertools
import math

import pytest
import torch

from mtl.batch import Features, Labels, pad
from mtl.head import Scores, Task
from mtl.heads.attention import Attention, spelled
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.ops import collapse
from mtl.registry import construct, describe
from mtl.stems.frames import Frames
from mtl.text import SymbolError
from mtl.trunks.transformer import Transformer

DIM, SYMBOLS = 8, ["a", "b"]
FRAMES, LENGTHS = 3, [3, 2, 1]
TEXTS = [ids for size in range(FRAMES + 1) for ids in itertools.product((1, 2), repeat=size)]


def head(seed=0, spread=1.0, **settings):
    """A decoder whose probabilities differ: it is as sure of itself as `spread` says."""
    torch.manual_seed(seed)
    given = {"heads": 2, "expansion": 2, "depth": 1, **settings}
    made = Attention(describe(CTC(SYMBOLS)), **given)
    made.build(DIM)
    for parameter in made.parameters():
        parameter.data += 0.3 * spread * torch.randn_like(parameter)
    return made.eval()


def frames(made, rows=3):
    x = torch.randn(rows, FRAMES, DIM, generator=torch.Generator().manual_seed(1))
    return made.scores(Features(x, torch.tensor(LENGTHS[:rows])))


def alone(scores, row):
    length = scores.lengths[row]
    return Scores(scores.x[row : row + 1, :length], scores.lengths[row : row + 1])


def labels(*texts):
    values = pad([torch.tensor(ids, dtype=torch.long) for ids in texts])
    return Labels(values, torch.tensor([len(ids) for ids in texts]))


@torch.no_grad()
def by_hand(made, scores, row, ids):
    """log p of a text, from one call of the decoder for each of its symbols and the end."""
    one, total = alone(scores, row), 0.0
    memory = made.decoder.memory(one.x, None)
    for size, symbol in enumerate([*ids, 0]):
        logs, _ = made.decoder(torch.tensor([[0, *ids[:size]]]), memory)
        total += float(logs[0, -1, symbol])
    return total


def spelled_by_hand(logs, ids):
    """log p of a text by CTC, from all paths (T, V)."""
    paths = itertools.product(range(logs.shape[1]), repeat=len(logs))
    sums = [
        sum(float(logs[t, symbol]) for t, symbol in enumerate(path))
        for path in paths
        if tuple(collapse(list(path))) == tuple(ids)
    ]
    return math.log(sum(map(math.exp, sums))) if sums else -math.inf


@torch.no_grad()
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_smoothed_cross_entropy_of_each_symbol(smoothing):
    made = head(smoothing=smoothing)
    scores, texts = frames(made), [(1, 2, 2), (2,), (1, 1)]
    losses = made.loss(scores, labels(*texts))
    for row, ids in enumerate(texts):
        memory = made.decoder.memory(alone(scores, row).x, None)
        logs, _ = made.decoder(torch.tensor([[0, *ids]]), memory)
        each = [
            -(1 - smoothing) * logs[0, place, symbol] - smoothing * logs[0, place].mean()
            for place, symbol in enumerate([*ids, 0])
        ]
        assert losses[row].item() == pytest.approx(float(sum(each)) / len(each), abs=1e-5)


@torch.no_grad()
def test_all_texts_together_are_certain():
    made = head()
    scores = frames(made, 1)
    # Texts of up to two symbols, and three of which all may follow.
    short = [ids for ids in TEXTS if len(ids) < 3]
    ended = sum(math.exp(by_hand(made, scores, 0, ids)) for ids in short)
    memory = made.decoder.memory(scores.x, None)
    grown = 0.0
    for ids in itertools.product((1, 2), repeat=3):
        logs = made.decoder(torch.tensor([[0, *ids[:2]]]), memory)[0][0]
        grown += math.exp(sum(float(logs[place, symbol]) for place, symbol in enumerate(ids)))
    assert ended + grown == pytest.approx(1, abs=1e-5)
    rows = Scores(scores.x.expand(len(TEXTS), -1, -1), scores.lengths.expand(len(TEXTS)))
    found = made.likelihood(rows, labels(*TEXTS)).tolist()
    assert found == pytest.approx([by_hand(made, scores, 0, ids) for ids in TEXTS], abs=1e-5)


@torch.no_grad()
def test_padding_and_company_change_nothing():
    made = head()
    scores, texts = frames(made), [(1, 2, 2), (2,), (1, 1)]
    dirty = labels(*texts)
    for row, ids in enumerate(texts):
        dirty.values[row, len(ids) :] = 2
        scores.x[row, LENGTHS[row] :] = 1e3
    together = made.loss(scores, dirty)
    for row, ids in enumerate(texts):
        expected = made.loss(alone(scores, row), labels(ids))
        torch.testing.assert_close(together[row : row + 1], expected, atol=1e-5, rtol=1e-5)
        assert made.predict(scores)[row] == made.predict(alone(scores, row))[0]._replace(
            confidence=pytest.approx(made.predict(scores)[row].confidence, abs=1e-5)
        )


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_search_finds_all_texts_in_order(seed):
    made = head(seed)
    scores = frames(made)
    for row, found in enumerate(made.search(scores, len(TEXTS))):
        possible = [ids for ids in TEXTS if len(ids) <= LENGTHS[row]]
        expected = {ids: by_hand(made, scores, row, ids) for ids in possible}
        assert {text.ids for text in found} == set(possible)
        for text in found:
            assert text.score == pytest.approx(expected[text.ids], abs=1e-5)
        assert [text.score for text in found] == sorted(expected.values(), reverse=True) or (
            [text.score for text in found]
            == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-5)
        )


@pytest.mark.parametrize("beam", [1, 2, 3])
def test_a_narrow_search_gives_true_scores(beam):
    made = head(5)
    scores = frames(made)
    for row, found in enumerate(made.search(scores, beam)):
        assert 1 <= len(found) <= beam
        for text in found:
            assert text.score == pytest.approx(by_hand(made, scores, row, text.ids), abs=1e-5)


def ctc_scores(seed=2):
    g = torch.Generator().manual_seed(seed)
    x = (2 * torch.randn(3, FRAMES, 3, generator=g)).log_softmax(-1)
    return Scores(x, torch.tensor(LENGTHS))


def test_ctc_spells_as_an_enumeration_of_paths():
    ctc = ctc_scores()
    for ids in TEXTS:
        found = spelled(
            ctc,
            labels(ids or (1,), ids or (1,), ids or (1,))._replace(
                lengths=torch.tensor([len(ids)] * 3)
            ),
        )
        for row, length in enumerate(LENGTHS):
            expected = spelled_by_hand(ctc.x[row, :length], ids)
            assert found[row].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_joint_takes_the_best_of_all_texts(weight, seed):
    made = head(seed, beam=len(TEXTS))
    scores, ctc = frames(made), ctc_scores(seed)
    for row, prediction in enumerate(made.joint(scores, ctc, weight)):
        totals = {}
        for ids in [ids for ids in TEXTS if len(ids) <= LENGTHS[row]]:
            spoken = spelled_by_hand(ctc.x[row, : LENGTHS[row]], ids) if weight else 0.0
            totals[ids] = (1 - weight) * by_hand(made, scores, row, ids) + weight * spoken
        best = max(totals, key=totals.get)
        assert prediction.value == "".join(SYMBOLS[symbol - 1] for symbol in best)
        mean = math.exp(by_hand(made, scores, row, best) / (len(best) + 1)) if best else 0.0
        assert prediction.confidence == pytest.approx(mean, abs=1e-5)


def test_ctc_is_heard_though_the_search_misses_its_text():
    made = head(beam=1)
    scores, ctc = frames(made), ctc_scores()
    path = [
        tuple(collapse(ctc.x[row, :size].argmax(-1).tolist())) for row, size in enumerate(LENGTHS)
    ]
    found = made.joint(scores, ctc, 1.0)
    for row, prediction in enumerate(found):
        candidates = {*(text.ids for text in made.search(scores, 1)[row]), path[row]}
        best = max(candidates, key=lambda ids: spelled_by_hand(ctc.x[row, : LENGTHS[row]], ids))
        assert prediction.value == "".join(SYMBOLS[symbol - 1] for symbol in best)


def test_what_others_found_is_judged_too():
    made = head(beam=1)
    scores, ctc = frames(made, 1), Scores(ctc_scores().x[:1], torch.tensor([3]))
    every = max(TEXTS, key=lambda ids: by_hand(made, scores, 0, ids))
    (found,) = made.joint(scores, ctc, 0.0, more=[[list(ids) for ids in TEXTS]])
    assert found.value == "".join(SYMBOLS[symbol - 1] for symbol in every)


def test_a_toy_is_learnt_by_heart_and_recovered():
    torch.manual_seed(0)
    made = Attention(describe(CTC(list("abcd"))), heads=2, expansion=2, depth=1, dropout=0.0)
    made.build(DIM)
    texts = ["abcd", "dd", "cab", "a", "bbca"]
    encoded = labels(*(made.encode(text).tolist() for text in texts))
    f = Features(torch.randn(5, 6, DIM), torch.tensor([6, 4, 5, 3, 6]))
    optimizer = torch.optim.Adam(made.parameters(), lr=0.03)
    for _ in range(70):
        optimizer.zero_grad()
        made.loss(made.scores(f), encoded).mean().backward()
        optimizer.step()
    made.eval()
    assert [prediction.value for prediction in made.predict(made.scores(f))] == texts
    assert [found[0].ids for found in made.search(made.scores(f), 1)] == [
        tuple(made.encode(text).tolist()) for text in texts
    ]
    assert all(0.4 < prediction.confidence < 1 for prediction in made.predict(made.scores(f)))


def test_labels_are_those_of_the_ctc_head():
    ctc = CTC([" ", "A", "b"], upsample=2, rules={"case": "keep"})
    made = Attention(describe(ctc))
    assert made.encode("A b").equal(ctc.encode("A b"))
    assert made.reference(" A  b!") == ctc.reference(" A  b!") and made.metrics == ctc.metrics
    assert made.frames(torch.tensor(5)) == 5, "it reads trunk frames"
    with pytest.raises(SymbolError):
        made.encode("a")


def test_texts_grow_no_longer_than_ctc_could_spell():
    for upsample in (1, 2):
        made = Attention(describe(CTC(SYMBOLS, upsample=upsample)), heads=2, depth=1)
        made.build(DIM)
        found = made.eval().search(frames(made), 2 ** (2 * FRAMES + 1))
        longest = [max(len(text.ids) for text in texts) for texts in found]
        assert longest == [upsample * length for length in LENGTHS]


def model():
    torch.manual_seed(0)
    ctc = CTC(SYMBOLS)
    beside = Attention(describe(ctc), heads=2, depth=1, expansion=2)
    tasks = [Task("nl", "speech", ctc), Task("language", "speech", Classify(["nl", "cy"]))]
    tasks += [Task("nl-attention", "speech", beside, weight=0.3, label="nl", auxiliary=True)]
    return Model({"speech": Frames(6, DIM)}, Transformer(DIM, 1, 2, 2), tasks).eval()


def test_settings_and_weights_come_back(tmp_path):
    made = model()
    made.save_pretrained(tmp_path)
    again = Model.from_pretrained(tmp_path)
    assert again.config() == made.config()
    f = Features(torch.randn(2, 5, DIM), torch.tensor([5, 3]))
    one, two = (each.head("nl-attention") for each in (made, again))
    assert one.scores(f).x.equal(two.scores(f).x)
    encoded = labels((1, 2), (2,))
    assert one.loss(one.scores(f), encoded).equal(two.loss(two.scores(f), encoded))
    assert one.predict(one.scores(f)) == two.predict(two.scores(f))


def test_features_of_another_width_are_refused():
    other = Model({"speech": Frames(6, 4)}, Transformer(4, 1, 2, 2))
    with pytest.raises(ValueError, match="made for other features than these of width 4"):
        other.add(Task("nl", "speech", head()))


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="'classify' has no symbols"):
        Attention(describe(Classify(["a", "b"])))
    for wrong in ({"smoothing": 1.0}, {"beam": 0}):
        with pytest.raises(ValueError, match=r"smoothing is .*beam"):
            Attention(describe(CTC(SYMBOLS)), **wrong)
    made = head()
    with pytest.raises(ValueError, match=r"weight is 1\.5; it is the share of CTC"):
        made.joint(frames(made), ctc_scores(), 1.5)
    with pytest.raises(ValueError, match="needs the lengths of the labels"):
        made.loss(frames(made), Labels(torch.tensor([[1]] * 3)))


def test_a_description_builds_it():
    made = head()
    assert describe(construct("heads", describe(made))) == describe(made)
