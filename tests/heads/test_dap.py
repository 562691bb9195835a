"""DAP: posteriors by multiplying probabilities, attribute by attribute."""

import numpy as np
import pytest
import torch

from mtl.batch import Labels
from mtl.head import Scores
from mtl.heads.dap import DAP, dap

SIGNATURES = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1]], dtype=float)


def multiplied(p, signatures, priors):
    """Equation 2 of the paper: prod_m p(a_m = s_m | x) / p(a_m = s_m), for equally likely classes."""
    found = np.ones((len(p), len(signatures)))
    for n, row in enumerate(p):
        for c, signature in enumerate(signatures):
            for m, has in enumerate(signature):
                found[n, c] *= (row[m] / priors[m]) if has else (1 - row[m]) / (1 - priors[m])
    return found / found.sum(1, keepdims=True)


def test_posteriors_are_products():
    p = np.random.default_rng(0).uniform(0.05, 0.95, (6, 4))
    priors = np.array([0.5, 0.3, 0.6, 0.2])
    found = dap(*(torch.tensor(each) for each in (np.log(p / (1 - p)), SIGNATURES, priors)))
    assert np.allclose(found.softmax(1), multiplied(p, SIGNATURES, priors))


@pytest.mark.parametrize("prior", [True, False])
def test_priors_are_those_of_the_seen_classes(prior):
    head = DAP(["a", "b", "c", "d"], SIGNATURES, seen=3, prior=prior)
    p = np.random.default_rng(1).uniform(0.05, 0.95, (5, 4))
    scores = Scores(torch.tensor(np.log(p / (1 - p))).float())
    # All of the seen have the first attribute, which so says nothing of how usual it is.
    priors = np.array([0.5, 1 / 3, 2 / 3, 1 / 3]) if prior else np.full(4, 0.5)
    expected = multiplied(p, SIGNATURES, priors)
    assert np.allclose(head.fit_of(scores).softmax(1), expected, atol=1e-5)
    for said, row in zip(head.predict(scores), expected, strict=True):
        assert said.value == head.classes[row.argmax()]
        assert said.confidence == pytest.approx(row.max(), abs=1e-5)


def test_without_priors_the_nearest_signature_wins():
    head = DAP(["a", "b", "c", "d"], SIGNATURES, prior=False)
    for index, signature in enumerate(SIGNATURES):
        logits = torch.tensor(4 * signature - 2)[None].float()
        assert head.predict(Scores(logits))[0].value == head.classes[index]


def test_the_loss_is_of_the_attributes():
    head = DAP(["a", "b", "c", "d"], SIGNATURES)
    p = np.random.default_rng(2).uniform(0.05, 0.95, (2, 4))
    wanted = SIGNATURES[[2, 1]]
    expected = -np.log(np.where(wanted > 0, p, 1 - p)).mean(1)
    scores = Scores(torch.tensor(np.log(p / (1 - p))).float())
    assert head.loss(scores, Labels(torch.tensor([2, 1]))).tolist() == pytest.approx(expected)


def test_attributes_are_probabilities():
    with pytest.raises(ValueError, match="class 'b' has attributes from -1 to 2; DAP takes"):
        DAP(["a", "b"], [[0.0, 1.0], [-1.0, 2.0]])
    head = DAP(["a"], [[0.0, 1.0]])
    with pytest.raises(ValueError, match="class 'c' has attributes from 0 to 7"):
        head.add({"c": [0.0, 7.0]})
