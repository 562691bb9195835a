"""Cause: why a task is likely worse with others than alone, from training losses and gradients."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

ABOVE = 0.1  # of the single run's final loss, from which the joint one counts as higher
LEARNT = 0.01  # and of its first loss: below this, either has learnt the task
OPPOSED = -0.1  # a mean cosine below it opposes; those of unrelated tasks scatter around 0
LAST = 4  # the final loss is the mean of the last quarter of a history


class Losses(NamedTuple):
    """A task's training loss at the beginning and in the end."""

    first: float
    final: float


def training_loss(history: Sequence[Mapping[str, Any]], task: str) -> Losses | None:
    """Give the first and the final training loss of a task, the latter a mean over the last quarter.

    >>> training_loss([{"step": 20 * n, "loss": {"nl": 1 / n}} for n in (1, 2, 4)], "nl")
    Losses(first=1.0, final=0.25)
    """
    found = [entry["loss"][task] for entry in history if task in entry.get("loss", {})]
    last = found[-max(len(found) // LAST, 1) :]
    return Losses(found[0], sum(last) / len(last)) if found else None


def trains_worse(joint: Losses, single: Losses) -> bool:
    """Say whether a task's final loss is clearly higher with others than alone.

    That is, by more than a tenth, and by more than a hundredth of the loss that training began with.

    >>> trains_worse(Losses(2.0, 0.3), Losses(2.0, 0.2)), trains_worse(Losses(2.0, 0.01), Losses(2.0, 0.001))
    (True, False)
    """
    return joint.final - single.final > max(ABOVE * abs(single.final), LEARNT * abs(single.first))


def likely_cause(
    joint: Losses | None,
    single: Losses | None,
    cosines: Mapping[str, float],
    struggling: Collection[str] = (),
) -> str:
    """Say why a task is worse with others, from its training losses and its cosines with the others by name.

    - It trains as well as alone: what it learns from the others' data does not carry over to new data of its
      own, "unlike data", or it overfits.
    - It trains worse, and its gradient opposes particular tasks, with a mean cosine below -0.1: "conflict",
      which names them. The tasks that it does not oppose train well.
    - It trains worse, and opposes nobody, or everybody, or others that it does not oppose are `struggling`
      as well: "too little capacity". Tasks that share too small a network all push each other about.

    These are rules of thumb; a wider trunk is the proof of the last.

    >>> likely_cause(Losses(2.0, 0.5), Losses(2.0, 0.1), {"cy": -0.4, "language": 0.1})
    'conflict with cy'
    """
    if joint is None or single is None:
        return "unknown: a history holds no training loss of it"
    if not trains_worse(joint, single):
        return "unlike data"
    if not cosines:
        return "too little capacity, or conflict: fit.diagnose would tell"
    against = [name for name, cosine in cosines.items() if cosine < OPPOSED]
    others = set(cosines) - set(against)
    if against and (others or len(against) == 1) and not others & set(struggling):
        return f"conflict with {', '.join(against)}"
    return "too little capacity"
