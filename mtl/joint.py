"""Joint: a CTC head and the attention head that learnt beside it decide together. Watanabe et al. 2017."""

from collections.abc import Sequence
from typing import cast

from mtl.batch import Features
from mtl.head import Prediction, Scores
from mtl.heads.attention import Attention
from mtl.model import Model
from mtl.registry import describe

WEIGHT = 0.3  # of CTC, as in the paper's experiments


def judge(model: Model, task: str) -> str | None:
    """Name the task whose attention head judges what the CTC head of `task` writes, if there is one.

    It learns the same label at the same block; one of other symbols than the CTC head now has judges nothing.
    """
    own = model.tasks[task]
    for other in model.tasks_of(own.stream):
        head = model.head(other.name)
        beside = (other.label or other.name, other.at) == (own.label or own.name, own.at)
        if isinstance(head, Attention) and beside and head.like == describe(model.head(task)):
            return other.name
    return None


def decide(
    model: Model,
    task: str,
    features: Features,
    scores: Scores,
    *,
    weight: float = WEIGHT,
    more: Sequence[Sequence[Sequence[int]]] = (),
) -> list[Prediction]:
    """Write what a task's head writes, or where there is a judge, what both like best.

    `features` are those of the task's block, `scores` what its head made of them; `weight` and `more`, an
    n-best list of symbol numbers for each example, are those of `mtl.heads.attention.Attention.joint`.
    """
    name = judge(model, task)
    if name is None:
        return model.head(task).predict(scores)
    head = cast(Attention, model.head(name))
    return head.joint(head.scores(features), scores, weight, more)
