import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import accuracy_score

from mtl.score.validation import (
    VALIDATORS,
    Held,
    bnm,
    certainty,
    importance_weighted,
    information_maximisation,
    reverse_validation,
    source_accuracy,
)


def held(target_logits, **more):
    n, m, c = 60, len(target_logits), np.shape(target_logits)[1]
    rng = np.random.default_rng(0)
    given = {
        "source_logits": rng.normal(size=(n, c)),
        "target_logits": np.asarray(target_logits, float),
        "source_features": rng.normal(size=(n, 2)),
        "target_features": rng.normal(size=(m, 2)),
        "source_labels": rng.integers(c, size=n),
    }
    return Held(**(given | more))


SURE = 50.0 * np.eye(3)[np.arange(12) % 3]
ONE_CLASS = 50.0 * np.eye(3)[np.zeros(12, int)]
BLANK = np.zeros((12, 3))


def test_source_accuracy_counts_what_is_right():
    h = held(BLANK)
    wanted = accuracy_score(h.source_labels, h.source_logits.argmax(1))
    assert source_accuracy(h) == pytest.approx(wanted)


def test_entropies_are_those_of_scipy():
    h = held(np.random.default_rng(1).normal(size=(20, 4)))
    posteriors = np.exp(h.target_logits) / np.exp(h.target_logits).sum(1, keepdims=True)
    each = entropy(posteriors, axis=1).mean()
    assert certainty(h) == pytest.approx(-each)
    assert information_maximisation(h) == pytest.approx(entropy(posteriors.mean(0)) - each)
    wanted = np.linalg.svd(posteriors, compute_uv=False).sum() / np.sqrt(20 * 4)
    assert bnm(h) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("logits", "values"),
    [
        (SURE, (0.0, np.log(3), 1.0)),
        (ONE_CLASS, (0.0, 0.0, 1 / np.sqrt(3))),
        (BLANK, (-np.log(3), 0.0, 1 / 3)),
        (1e3 * SURE, (0.0, np.log(3), 1.0)),
    ],
)
def test_one_class_for_all_is_certain_but_says_nothing(logits, values):
    """The norm of equal rows is sqrt(12) times that of one, out of sqrt(12 * 3)."""
    h = held(logits)
    found = certainty(h), information_maximisation(h), bnm(h)
    assert found == pytest.approx(values, abs=1e-9)


def test_importance_looks_at_the_part_of_the_source_that_is_like_the_target():
    """The model is right where the first feature is positive; so is most of the target."""
    rng = np.random.default_rng(0)
    source = rng.normal(size=(2000, 2))
    labels = np.zeros(2000, int)
    logits = np.stack([source[:, 0], np.zeros(2000)], 1)
    for shift, share in ((0.0, 0.5), (1.0, 0.841), (-1.0, 0.159)):  # Phi(shift)
        target = rng.normal([shift, 0.0], size=(1500, 2))
        h = held(
            BLANK,
            source_logits=logits,
            source_features=source,
            target_features=target,
            source_labels=labels,
        )
        assert importance_weighted(h) == pytest.approx(share, abs=0.06)


def test_reverse_validation_sees_guesses_that_do_not_carry_back():
    rng = np.random.default_rng(0)
    classes = np.arange(200) % 2
    features = rng.normal(size=(200, 2)) + 4 * classes[:, None]
    right, wrong = 9.0 * np.eye(2)[classes], 9.0 * np.eye(2)[rng.permutation(classes)]
    more = {
        "source_features": features,
        "source_labels": classes,
        "target_features": features + 0.3,
    }
    good, chance, swapped = (
        reverse_validation(held(logits, **more)) for logits in (right, wrong, right[:, ::-1])
    )
    assert good > 0.98 and 0.2 < chance < 0.8 and swapped < 0.02
    assert reverse_validation(held(ONE_CLASS[:, :2].repeat(17, 0)[:200], **more)) == 0


def test_all_validators_prefer_the_better_model_and_never_ask_for_target_labels():
    rng = np.random.default_rng(0)
    classes = np.arange(300) % 3
    features = rng.normal(size=(300, 3)) + 3 * np.eye(3)[classes]
    common = {
        "source_features": features,
        "source_labels": classes,
        "target_features": features + 0.2,
    }
    scores = []
    for logits in (3 * features, 0.3 * features[:, [1, 2, 0]]):  # the other errs, and is less sure
        h = held(logits, source_logits=logits, **common)
        scores.append({name: validate(h) for name, validate in VALIDATORS.items()})
    good, bad = scores
    assert len(good) == 6
    assert all(good[name] > bad[name] for name in VALIDATORS)
    assert "target_labels" not in Held._fields
