"""ESZSL: the closed form against an optimum found otherwise, and made problems with known answers."""

import numpy as np
import pytest
import torch

from mtl.batch import Features
from mtl.heads.eszsl import ESZSL, eszsl


def problem(seed=0):
    rng = np.random.default_rng(seed)
    x, s = rng.standard_normal((30, 4)), rng.standard_normal((5, 3))
    return x, s, np.arange(30) % 5


def test_the_closed_form_is_the_papers():
    x, s, y = problem()
    signs = np.where(y[:, None] == np.arange(5), 1.0, -1.0)
    left = np.linalg.inv(x.T @ x + 0.7 * np.eye(4))
    right = np.linalg.inv(s.T @ s + 1.3 * np.eye(3))
    found = eszsl(*map(torch.tensor, (x, signs, s)), 0.7, 1.3)
    assert np.allclose(found, left @ x.T @ signs @ s @ right)


def test_no_other_product_has_a_smaller_objective():
    """The paper's objective: ||X V S^T - Y||^2 + gamma ||V S^T||^2 + lam ||X V||^2 + gamma lam ||V||^2."""
    x, s, y = (torch.tensor(each) for each in problem())
    signs = 2.0 * torch.nn.functional.one_hot(y, 5).double() - 1
    v = eszsl(x, signs, s, 0.7, 1.3).requires_grad_(True)
    objective = (
        (x @ v @ s.T - signs).square().sum()
        + 0.7 * (v @ s.T).square().sum()
        + 1.3 * (x @ v).square().sum()
        + 0.7 * 1.3 * v.square().sum()
    )
    objective.backward()
    assert v.grad.abs().max() < 1e-9


@pytest.mark.parametrize("standardise", [False, True])
def test_a_solved_head_scores_as_computed_directly(standardise):
    x, s, y = problem()
    x = 3 * x + 1
    classes = [f"c{n}" for n in range(5)]
    head = ESZSL([*classes, "new"], [*s.tolist(), [1.0, 1.0, 0.0]], seen=5, gamma=0.7, lam=1.3)
    head.build(4)
    head.solve(x, [classes[n] for n in y], standardise)
    z = (x - x.mean(0)) / x.std(0) if standardise else x
    signs = np.where(y[:, None] == np.arange(5), 1.0, -1.0)
    v = eszsl(*map(torch.tensor, (z, signs, s)), 0.7, 1.3).numpy()
    expected = z @ v @ np.concatenate([s, [[1.0, 1.0, 0.0]]]).T
    f = Features(torch.tensor(x[:, None]).float(), torch.ones(30, dtype=torch.long))
    assert np.allclose(head.scores(f).x.detach(), expected, atol=1e-4)


def test_unseen_classes_are_told_by_their_attributes():
    rng = np.random.default_rng(0)
    signatures = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]], dtype=float)
    mix = rng.standard_normal((3, 8))
    y = np.arange(300) % 5
    x = signatures[y] @ mix + 0.1 * rng.standard_normal((300, 8))
    names = np.array(["red", "green", "blue", "yellow", "cyan"])
    head = ESZSL(names.tolist(), signatures, seen=3, penalty=float("inf"))
    head.build(8)
    seen = y < 3
    head.solve(x[seen], names[y[seen]].tolist())
    rows = torch.tensor(x[~seen][:, None]).float()
    said = head.predict(head.scores(Features(rows, torch.ones(len(rows), dtype=torch.long))))
    assert (
        np.mean([one.value == name for one, name in zip(said, names[y[~seen]], strict=True)]) > 0.95
    )


def test_wrong_calls_are_named():
    head = ESZSL(["a", "b"], [[1.0], [2.0]], seen=1)
    head.build(2)
    with pytest.raises(ValueError, match="2 features, but 1 labels"):
        head.solve(np.zeros((2, 2)), ["a"])
    with pytest.raises(ValueError, match="'b' is described only"):
        head.solve(np.zeros((1, 2)), ["b"])
    with pytest.raises(ValueError, match="gamma is 0 and lam 1"):
        eszsl(torch.eye(2), torch.eye(2), torch.eye(2), 0, 1)
    head = ESZSL(["a"], [[1.0]], pool="attention")
    head.build(2)
    with pytest.raises(ValueError, match="pool 'attention' is learnt by steps"):
        head.solve(np.zeros((1, 2)), ["a"])
