"""TrAdaBoost: rounds that trust ever fewer source examples. Dai, Yang, Xue, Yu 2007. Topic: transfer.

Any learner will do that takes weights: a scikit-learn estimator, or `fit` on `Batch.weights`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Predictor = Callable[[Any], Any]  # examples -> the class (examples,) of each
Learner = Callable[[Array], Predictor]
MOST = 0.499  # error that counts: from 0.5 on, a vote would be against


class Boosted(NamedTuple):
    """Predictors and their votes (log of 1 / beta_t), of the second half of the R rounds.

    `errors` (R,) are those on the target, weighed as in that round; `weights` (R, N + M) what the learner
    got, source first: a source example that lost its weight contradicts the target.
    """

    predictors: list[Predictor]
    votes: Array
    errors: Array
    weights: Array

    def predict(self, examples: Any) -> NDArray[Any]:
        """Give each example the class of the most votes; of two that are level, the greater one."""
        said = np.stack([np.asarray(predict(examples)) for predict in self.predictors])
        classes = np.unique(said)[::-1]  # the paper's rule says 1 where both have half of the votes
        votes = (self.votes[:, None, None] * (said[..., None] == classes)).sum(0)
        # Sums of the same votes in another order count as level.
        level = votes >= votes.max(1, keepdims=True) * (1 - 1e-12)
        said_most: NDArray[Any] = classes[level.argmax(1)]
        return said_most


def tradaboost(
    learn: Learner,
    source: tuple[Any, ArrayLike],
    target: tuple[Any, ArrayLike],
    rounds: int = 10,
    share: float | None = None,
) -> Boosted:
    """Learn in rounds, with examples (N of the source, M of the target) and their classes (N,) and (M,).

    `learn` takes weights (N + M,) of mean 1, source first, and gives a predictor from examples to classes;
    it keeps the examples itself. At first all weigh the same, or the target has a `share` of all weight: the
    paper leaves it to users. Where a predictor errs, a source example is multiplied by
    beta = 1 / (1 + sqrt(2 ln N / rounds)), and a target example divided by beta_t = e / (1 - e), where e is
    the weighted error on the target alone (Dai et al. 2007, algorithm 1). Other names of the classes change
    nothing, up to ties. Raises ValueError for fewer than 1 round, a share outside 0 to 1, and predictions
    that are not one class per example.

    Differs: classes may be many, each wrong one an error of 1. An error of half and more counts as 0.499. A
    round without error on the target is the last, and votes as if half an example of M were wrong.

    >>> from sklearn.tree import DecisionTreeClassifier
    >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> learn = lambda weights: DecisionTreeClassifier(max_depth=1).fit(
    ...     np.concatenate([x, x]), np.concatenate([1 - y, y]), sample_weight=weights).predict
    >>> tradaboost(learn, (x, 1 - y), (x, y)).predict(x).tolist()
    [0, 0, 1, 1]
    """
    (olds, old), (news, new) = (
        (examples, np.asarray(classes)) for examples, classes in (source, target)
    )
    n, m = len(old), len(new)
    if rounds < 1 or not n or not m:
        raise ValueError(
            f"{rounds} rounds, {n} source and {m} target examples; give 1 of each at least"
        )
    share = m / (n + m) if share is None else share
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; give the target's, between 0 and 1")
    beta = 1 / (1 + np.sqrt(2 * np.log(n) / rounds))
    weights = np.repeat([(1 - share) / n, share / m], [n, m])
    predictors, errors, given = [], [], []
    for _ in range(rounds):
        weights = weights / weights.mean()
        given.append(weights)
        predictors.append(learn(weights))
        wrong = [_wrong(predictors[-1](x), y) for x, y in ((olds, old), (news, new))]
        errors.append(weights[n:] @ wrong[1] / weights[n:].sum())
        if not errors[-1]:
            break
        beta_t = min(errors[-1], MOST) / (1 - min(errors[-1], MOST))
        weights = weights * np.concatenate([beta ** wrong[0], (1 / beta_t) ** wrong[1]])
    counted = np.minimum([error or 1 / (2 * m) for error in errors], MOST)
    half = (len(errors) - 1) // 2  # the paper's rounds from ceil(R / 2) on, where the first is 1
    votes = np.log((1 - counted) / counted)[half:]
    return Boosted(predictors[half:], votes, np.array(errors), np.stack(given))


def _wrong(said: Any, classes: NDArray[Any]) -> Array:
    said = np.asarray(said)
    if said.shape != classes.shape:
        raise ValueError(
            f"predictions of shape {said.shape} for classes {classes.shape}; give one each"
        )
    return np.asarray(said != classes, np.float64)
