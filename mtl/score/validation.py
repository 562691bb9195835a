"""validation: how good a model is on a target without labels. Musgrave et al. 2022. Topic: adaptation.

For choosing settings and checkpoints; of all scores, more is better. Feed them what was held out of the
source's training, and the target's TRAINING data: its test data are for the end.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtl.apart import log_odds, regression

Array = NDArray[np.float64]


class Held(NamedTuple):
    """What a model says of held-out data: logits (N, C) and (M, C), features (N, D) and (M, D), and the
    classes (N,) of the source alone.
    """

    source_logits: Array
    target_logits: Array
    source_features: Array
    target_features: Array
    source_labels: NDArray[np.int64]


def source_accuracy(held: Held) -> float:
    """Give the share of the source told right: says nothing of the target, and is often hard to beat."""
    return float((held.source_logits.argmax(1) == held.source_labels).mean())


def certainty(held: Held) -> float:
    """Give minus the mean entropy of the target's posteriors, in nats, 0 at most.

    A model that takes everything for one class is certain of it: see `information_maximisation`.

    >>> round(certainty(Held(*[np.zeros((1, 2))] * 4, np.zeros(1, int))), 3)
    -0.693
    """
    return -float(_entropy(_softmax(held.target_logits)).mean())


def information_maximisation(held: Held) -> float:
    """Give the mutual information of target examples and classes, in nats: from 0 to log C.

    That is the entropy of the mean posterior less the mean entropy: certain of each, and of all classes.

    Differs: where the target's classes are unequally frequent, the best model is not the best score.
    """
    posteriors = _softmax(held.target_logits)
    return float(_entropy(posteriors.mean(0)) - _entropy(posteriors).mean())


def bnm(held: Held) -> float:
    """Give the nuclear norm of the target's posteriors, from 0 to 1: batch nuclear-norm maximisation.

    Cui et al. 2020, equation 5, divided by its greatest value, sqrt(M min(M, C)).
    """
    posteriors = _softmax(held.target_logits)
    greatest = np.sqrt(len(posteriors) * min(posteriors.shape))
    return float(np.linalg.norm(posteriors, "nuc") / greatest)


def importance_weighted(held: Held, seed: int = 0) -> float:
    """Give the accuracy on the source, each example weighed by how much more frequent its like is in the
    target: right under covariate shift (Sugiyama et al. 2007; You et al. 2019 for deep features).

    The ratio of densities comes from a logistic regression that tells the domains apart, each example's
    from one that was not trained on it. Raises ValueError for fewer than 5 examples of a domain.

    Differs: the weights are divided by their mean, so that it stays between 0 and 1.
    """
    odds = log_odds(held.source_features, held.target_features, seed=seed)[0]
    weights = np.exp(odds - odds.max())
    right = held.source_logits.argmax(1) == held.source_labels
    return float(weights @ right / weights.sum())


def reverse_validation(held: Held) -> float:
    """Give the accuracy on the source of a classifier trained on the target, with the model's own guesses
    for labels (Zhong et al. 2010; Ganin et al. 2016, section 5.1.2). 0 where it guesses one class only.

    Differs: it is a logistic regression on the model's features, where the papers adapt a whole model back.
    """
    guesses = held.target_logits.argmax(1)
    if len(set(guesses.tolist())) < 2:
        return 0.0
    learnt = regression().fit(held.target_features, guesses)
    return float((learnt.predict(held.source_features) == held.source_labels).mean())


VALIDATORS: Mapping[str, Callable[[Held], float]] = {
    "source accuracy": source_accuracy,
    "entropy": certainty,
    "information maximisation": information_maximisation,
    "nuclear norm": bnm,
    "importance-weighted": importance_weighted,
    "reverse validation": reverse_validation,
}


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    posteriors: Array = powers / powers.sum(1, keepdims=True)
    return posteriors


def _entropy(posteriors: Array) -> Array:
    entropy: Array = -(posteriors * np.log(np.maximum(posteriors, 1e-300))).sum(-1)
    return entropy
