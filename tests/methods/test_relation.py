import copy
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from adapting import net, stepped
from scipy.spatial.distance import cosine, euclidean
from scipy.special import huber
from test_contract import DIM, build
from toy import assert_same_weights

from mtl.methods.relation import Relation, angles, correlations, distances, label_correlation
from mtl.ops import masked_mean
from mtl.trunks.transformer import Transformer

BATCHES = {"speech": 6, "target": 5}


def rows(count=6, old=4, new=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(count, width, generator=g, dtype=torch.float64) for width in (old, new)]


def distances_by_hand(old, new):
    pairs = list(combinations(range(len(old)), 2))
    found = [np.array([euclidean(z[i], z[j]) for i, j in pairs]) for z in (old, new)]
    own, other = (each / each.mean() for each in found)
    return huber(1, own - other).mean()


def angles_by_hand(old, new):
    """One triple after the other, j in the middle; both orders of i and k, which are the same."""
    triples = list(permutations(range(len(old)), 3))
    own, other = (
        np.array([1 - cosine(z[i] - z[j], z[k] - z[j]) for i, j, k in triples]) for z in (old, new)
    )
    return huber(1, own - other).mean()


def test_they_are_the_means_over_pairs_and_triples():
    for count in (3, 6):
        old, new = rows(count)
        new[0] *= 30  # some differences are beyond 1, where Huber's loss is linear
        arrays = old.numpy(), new.numpy()
        assert distances(old, new).item() == pytest.approx(distances_by_hand(*arrays))
        assert angles(old, new).item() == pytest.approx(angles_by_hand(*arrays))


def test_turning_moving_and_scaling_either_changes_nothing():
    old, new = rows(width := 6, 4, 4)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
    order = torch.randperm(width)
    for loss in (distances, angles):
        wanted = loss(old, new)
        torch.testing.assert_close(loss(old, 5 * new @ turn + 3), wanted)
        torch.testing.assert_close(loss(0.1 * old @ turn - 3, new), wanted)
        torch.testing.assert_close(loss(old[order], new[order]), wanted)
        assert loss(old, old) == 0 and wanted > 0
        assert loss(old, 2 * old @ turn + 1) < 1e-25


def test_gradients_are_right_also_where_rows_are_equal():
    old, new = rows(4)
    for loss in (distances, angles):
        assert torch.autograd.gradcheck(lambda z, f=loss: f(old, z), new.clone().requires_grad_())
    same = new[[0, 0, 1, 2]].requires_grad_()
    for z in (same, torch.ones(4, 3, requires_grad=True)):
        (distances(old, z) + angles(old, z)).backward()
        assert z.grad.isfinite().all()


def test_low_precision_is_computed_in_float32():
    old, new = (z.float() for z in rows())
    assert (
        distances(old, new.bfloat16()).dtype == angles(old, new.bfloat16()).dtype == torch.float32
    )


def test_correlations_are_those_of_numpy():
    values = torch.rand(9, 4, dtype=torch.float64)
    np.testing.assert_allclose(correlations(values), np.corrcoef(values.T), rtol=1e-10)
    constant = torch.cat([values.float(), torch.full((9, 1), 0.3)], 1)
    assert correlations(constant)[4].abs().max() < 1e-3


def test_label_correlation_compares_pairs_of_labels():
    known, values = correlations(torch.rand(20, 3)).double(), torch.rand(7, 3, dtype=torch.float64)
    found = np.corrcoef(values.T)
    wanted = np.mean([(found[i, j] - known[i, j]) ** 2 for i, j in combinations(range(3), 2)])
    assert label_correlation(known, values).item() == pytest.approx(wanted)
    torch.testing.assert_close(label_correlation(known, 3 * values + 1), torch.tensor(wanted))
    assert label_correlation(correlations(values), values) == 0
    assert torch.autograd.gradcheck(lambda z: label_correlation(known, z), values.requires_grad_())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: distances(torch.ones(1, 2), torch.ones(1, 2)),
            "1 old and 1 new rows; give as many, 2",
        ),
        (
            lambda: angles(torch.ones(2, 2), torch.ones(2, 2)),
            "2 old and 2 new rows; give as many, 3",
        ),
        (lambda: angles(torch.ones(4, 2), torch.ones(3, 2)), "4 old and 3 new rows"),
        (
            lambda: label_correlation(torch.eye(3), torch.ones(2, 2)),
            r"correlations \(3, 3\), values \(2, 2\)",
        ),
        (lambda: Relation(angle=-1.0), "angle is -1.0"),
        (lambda: Relation(most=2), "most is 2"),
        (lambda: Relation(at="b9").build(build()), "b9"),
        (lambda: Relation(streams=["video"]).build(build()), "no stream 'video'"),
    ],
)
def test_wrong_settings_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# The method


def wider():
    """A source model of another width."""
    teacher = build()
    other = build(Transformer(DIM, depth=3, heads=2, expansion=2, dropout=0.5))
    teacher.trunk = other.trunk
    return teacher


def test_terms_compare_the_features_of_all_examples_with_the_teachers():
    teacher = wider()
    method = Relation(teacher, at="b1", teacher_at="b2", distance=2.0, angle=3.0)
    _, view, terms = stepped(net(), method, **BATCHES)
    found = []
    for stream, batch in view.batches.items():
        with torch.no_grad():
            before = teacher.eval()(stream, batch, ["b2"]).taps["b2"]
        after = view.features[stream].taps["b1"]
        old, new = (masked_mean(f.x, f.lengths).detach().double() for f in (before, after))
        arrays = old.numpy(), new.numpy()
        found.append([distances_by_hand(*arrays), angles_by_hand(*arrays)])
    wanted = np.mean(found, 0) * [2, 3]
    assert [terms[name].item() for name in ("distance", "angle")] == pytest.approx(wanted, rel=1e-3)
    assert not view.batches["target"].labels, "labels are not needed"


def test_streams_can_be_chosen_and_angles_limited():
    whole = stepped(net(), Relation(wider()), **BATCHES)[2]
    some = stepped(net(), Relation(wider(), streams=["speech"], most=3), **BATCHES)
    only = stepped(net(), Relation(wider()), speech=6)[2]
    assert some[2]["distance"] == only["distance"] != whole["distance"]
    view = some[1]
    old, new = some[0].methods["method"]._rows(view, "speech")
    assert some[2]["angle"].item() == pytest.approx(50 * angles(old[:3], new[:3]).item())
    assert stepped(net(), Relation(), speech=2)[2] == {}, "an angle needs three examples"


def test_examples_of_weight_zero_do_not_count():
    step, view, terms = stepped(net(), Relation(wider()), speech=6)
    batch = view.batches["speech"]
    weights = torch.tensor([1.0, 1, 1, 1, 0, 0])
    spared = view._replace(batches={"speech": batch._replace(weights=weights)})
    old, new = step.methods["method"]._rows(spared, "speech")
    assert len(old) == len(new) == 4
    assert step.methods["method"].terms(spared)["angle"] != terms["angle"]


def test_the_teacher_is_a_copy_that_neither_learns_nor_drops_out():
    teacher = wider()
    before = copy.deepcopy(teacher)
    method = Relation(teacher)
    _, view, terms = stepped(net(), method, **BATCHES)
    sum(terms.values()).backward()
    assert_same_weights(method.teacher, before)
    assert method.teacher is not teacher
    assert not any(module.training for module in method.teacher.modules())
    assert not any(p.requires_grad or p.grad is not None for p in method.teacher.parameters())
    again = method.terms(view)
    assert again["distance"] == terms["distance"], "the teacher has dropout 0.5"
    assert method.terms(view._replace(phase="discriminate")) == {}


def test_a_teacher_of_other_streams_is_refused():
    teacher = build()
    teacher.streams = {"video": "speech"}
    with pytest.raises(ValueError, match=r"the teacher has streams \['video'\], the model"):
        Relation(teacher).build(build())
