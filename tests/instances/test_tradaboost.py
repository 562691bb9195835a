"""TrAdaBoost: a calculation by hand, what weights come to, and that it helps."""

from math import log, sqrt

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from mtl.instances.tradaboost import tradaboost

SOURCE, TARGET = (
    (np.array([0, 1]), np.array([1, 1])),
    (np.array([2, 3, 4, 5]), np.array([0, 0, 1, 1])),
)
SAID = [  # of examples 0 to 5, round after round
    np.array([1, 0, 0, 0, 1, 0]),
    np.array([0, 1, 0, 1, 1, 1]),
    np.array([1, 1, 1, 0, 0, 1]),
]


def scripted(seen):
    """A learner that says what is written above, and keeps the weights that it gets."""

    def learn(weights):
        said = SAID[len(seen)]
        seen.append(weights)
        return lambda examples: said[examples]

    return learn


def test_three_rounds_are_those_of_a_hand_calculation():
    beta = 1 / (1 + sqrt(2 * log(2) / 3))
    seen = []
    found = tradaboost(scripted(seen), SOURCE, TARGET, rounds=3)
    # Round 1 errs on example 1 and on the last target of four: e = 1/4, beta_t = 1/3.
    second = np.array([1, beta, 1, 1, 1, 3.0])
    # Round 2 errs on example 0 and on the second target: e = 1/6, beta_t = 1/5.
    third = np.array([beta, beta, 1, 5, 1, 3.0])
    # Round 3 errs on the first and third target: e = 2/10.
    for got, wanted in zip(seen, (np.ones(6), second, third), strict=True):
        np.testing.assert_allclose(got, wanted / wanted.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.errors, [1 / 4, 1 / 6, 2 / 10], rtol=1e-12)
    np.testing.assert_allclose(found.weights, seen)
    # Rounds 2 and 3 vote (from ceil(3 / 2) on), with log 5 and log 4: where they differ, round 2 decides.
    np.testing.assert_allclose(found.votes, [log(5), log(4)], rtol=1e-12)
    np.testing.assert_array_equal(found.predict(np.arange(6)), SAID[1])


@pytest.mark.parametrize(("rounds", "voting"), [(1, 1), (2, 2), (4, 3), (5, 3)])
def test_the_second_half_of_the_rounds_votes(rounds, voting):
    """N = 1: 1; N = 2: 1, 2; N = 4: 2, 3, 4; N = 5: 3, 4, 5."""

    def learn(weights):
        return lambda examples: SAID[0][examples]

    assert len(tradaboost(learn, SOURCE, TARGET, rounds).predictors) == voting


def test_the_vote_is_the_papers_product_of_betas():
    """h(x) = 1 where prod beta_t^-h_t >= prod beta_t^-1/2, also where both are the same."""
    rng = np.random.default_rng(0)
    said = rng.integers(2, size=(6, 40))
    rounds = []

    def learn(weights):
        row = said[len(rounds)]
        rounds.append(row)
        return lambda examples: row[examples]

    old, new = rng.integers(2, size=(2, 20))
    found = tradaboost(learn, (np.arange(20), old), (np.arange(20, 40), new), rounds=6)
    e = np.minimum(found.errors, 0.499)[2:]
    betas = (e / (1 - e))[:, None]
    wanted = np.prod(betas ** -said[2:].astype(float), 0) >= np.prod(betas**-0.5, 0)
    np.testing.assert_array_equal(found.predict(np.arange(40)), wanted)
    assert 0 < wanted.sum() < 40


def test_two_that_are_level_say_the_greater_class():
    said = [np.array([0, 1, 1]), np.array([1, 0, 1])]
    seen = []

    def learn(weights):
        row = said[len(seen)]
        seen.append(row)
        return lambda examples: row[examples]

    found = tradaboost(learn, (np.array([2]), [1]), (np.array([0, 1]), [1, 1]), rounds=2)
    np.testing.assert_allclose(found.errors, [0.5, 1 / (1 + 0.501 / 0.499)])
    assert found.predict(np.arange(3)).tolist() == [1, 1, 1]


def test_no_error_ends_the_rounds_and_half_is_the_most_that_counts():
    def right(weights):
        return lambda examples: np.array([1, 1, 0, 0, 1, 1])[examples]

    def wrong(weights):
        return lambda examples: np.array([1, 1, 1, 1, 0, 0])[examples]

    found = tradaboost(right, SOURCE, TARGET, rounds=9)
    assert len(found.errors) == 1 and found.errors[0] == 0
    np.testing.assert_allclose(found.votes, log(7))  # half of four is an eighth
    found = tradaboost(wrong, SOURCE, TARGET, rounds=3)
    np.testing.assert_allclose(found.errors, 1)
    np.testing.assert_allclose(found.votes, log(0.501 / 0.499))
    assert np.isfinite(found.weights).all()


def learner(source, target, make):
    x, y = (np.concatenate(parts) for parts in zip(source, target, strict=True))

    def learn(weights):
        return make().fit(x, y, sample_weight=weights).predict

    return learn


def two_rules(seed):
    """150 source examples follow the target's rule, 250 another; a tenth of the targets' classes is wrong."""
    rng = np.random.default_rng(seed)
    rule, other = np.zeros((2, 10))
    rule[0], rule[2:6], other[:2] = 1, 0.5, (-0.5, 3)
    old, new, tests = (rng.normal(size=(count, 10)) for count in (400, 60, 1000))
    classes = np.concatenate([old[:150] @ rule > 0, old[150:] @ other > 0])
    noise = rng.random(60) < 0.1
    odd = classes != (old @ rule > 0)
    return (old, classes), (new, (new @ rule > 0) ^ noise), (tests, tests @ rule > 0), odd


def test_source_examples_that_contradict_the_target_lose_their_weight():
    shares, errors = [], []
    for seed in range(4):
        source, target, (tests, truth), odd = two_rules(seed)
        learn = learner(source, target, LogisticRegression)
        found = tradaboost(learn, source, target, rounds=20)
        last = found.weights[-1][:400]
        shares.append(last[odd].mean() / last[~odd].mean())
        errors.append([(p(tests) != truth).mean() for p in (found.predict, learn(np.ones(460)))])
    assert np.mean(shares) < 0.3
    boosted, pooled = np.mean(errors, 0)
    assert boosted < pooled


def test_the_target_may_have_a_share_of_all_weight():
    seen = []
    tradaboost(scripted(seen), SOURCE, TARGET, rounds=1, share=0.5)
    np.testing.assert_allclose(seen[0], [1.5, 1.5, 0.75, 0.75, 0.75, 0.75])
    with pytest.raises(ValueError, match=r"share is 1\.0; give the target's, between 0 and 1"):
        tradaboost(scripted([]), SOURCE, TARGET, share=1.0)


def test_classes_may_be_many_and_have_any_names():
    rng = np.random.default_rng(0)
    names = np.array(["nl", "cy", "fr"])
    x, tests = rng.normal(size=(150, 2)), rng.normal(size=(200, 2))

    def tree():
        return DecisionTreeClassifier(max_depth=2, random_state=0)

    def kind(x):
        return (x[:, 0] > -0.4).astype(int) + (x[:, 0] > 0.4)

    old = np.where(x[:120, 1] > 0.8, rng.permutation(kind(x[:120])), kind(x[:120]))
    source, target = (x[:120], old), (x[120:], kind(x[120:]))
    found = tradaboost(learner(source, target, tree), source, target, rounds=8)
    called = [(rows, names[classes]) for rows, classes in (source, target)]
    other = tradaboost(learner(*called, tree), *called, rounds=8)
    np.testing.assert_allclose(found.weights, other.weights)
    assert (names[found.predict(tests)] == other.predict(tests)).mean() > 0.97  # but for ties
    assert (found.predict(tests) == kind(tests)).mean() > 0.9


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="0 rounds, 2 source and 4 target examples"):
        tradaboost(scripted([]), SOURCE, TARGET, rounds=0)
    with pytest.raises(ValueError, match="1 rounds, 2 source and 0 target"):
        tradaboost(scripted([]), SOURCE, (np.array([]), []), rounds=1)
    with pytest.raises(ValueError, match=r"predictions of shape \(2, 1\) for classes \(2,\)"):
        tradaboost(lambda weights: lambda examples: np.zeros((len(examples), 1)), SOURCE, TARGET)
