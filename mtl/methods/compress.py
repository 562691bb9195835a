"""compress: a network learns what a teacher says and keeps what it knew, by online EWC. Schwarz et al. 2018.

Topic: transfer. Schwarz, Luketina, Czarnecki, Grabska-Barwinska, Teh, Pascanu, Hadsell: Progress & Compress.
A column learns a task with laterals from a frozen knowledge base ("progress": `mtl.tune.progressive`), which
then learns it from the column ("compress"): one network, however many tasks.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Batch
from mtl.head import Scores, Task
from mtl.method import Method, View
from mtl.model import Model
from mtl.ops import masked_mean

SHARED = ("stems.", "trunk.")  # what tasks share, and one could take from another
Fisher = Mapping[str, Tensor]  # by parameter, in its shape


def compress(
    weights: Iterable[Tensor], start: Iterable[Tensor], fisher: Iterable[Tensor]
) -> Tensor:
    """Give half the squared distance () of weights from their start, weighed by their Fisher information.

    >>> compress([torch.tensor([3.0, 1.0])], [torch.tensor([1.0, 0.0])], [torch.tensor([0.5, 4.0])])
    tensor(3.)
    """
    triples = zip(weights, start, fisher, strict=True)
    return torch.stack([(f * (w - s).square()).sum() for w, s, f in triples]).sum() / 2


def consolidate(old: Fisher, new: Fisher, gamma: float = 1.0) -> dict[str, Tensor]:
    """Give the Fisher information of all tasks so far, gamma old + new; below 1 old tasks fade.

    >>> consolidate({"w": torch.tensor([2.0])}, {"w": torch.tensor([1.0])}, gamma=0.5)
    {'w': tensor([2.])}
    """
    return {
        name: gamma * old[name] + value if name in old else value for name, value in new.items()
    }


def information(model: Model, task: str, examples: Iterable[Batch]) -> dict[str, Tensor]:
    """Give the diagonal Fisher information of what is shared, normalised to mean 1 over all weights.

    It is the mean over examples, batches of one, of the squared gradient of a task's loss with its label.
    Raises ValueError where no example has a label of the task, or none says anything of the weights.

    Differs: labels are those of the data; the paper leaves open whose they are, and how it normalises.
    """
    trained = {n: p for n, p in model.named_parameters() if n.startswith(SHARED)}
    kept = {name: parameter.requires_grad for name, parameter in trained.items()}
    modes = {module: module.training for module in model.modules()}
    sums = {name: torch.zeros_like(parameter) for name, parameter in trained.items()}
    model.eval()
    for parameter in trained.values():
        parameter.requires_grad_(True)
    for batch in examples:
        loss = _loss(model, model.tasks[task], batch.to(next(model.parameters()).device))
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            if gradient is not None:
                total += gradient.square()
    for name, parameter in trained.items():
        parameter.requires_grad_(kept[name])
    for module, mode in modes.items():
        module.training = mode
    count = sum(total.numel() for total in sums.values())
    mean = torch.stack([total.double().sum() for total in sums.values()]).sum() / count
    if not mean > 0:
        raise ValueError(f"no example says anything of the weights that task {task!r} uses")
    return {name: (total / mean).to(total.dtype) for name, total in sums.items()}


class Compress(Method):
    """Learn what `teacher` says of every example, term `kl`, near where the weights were, term `ewc`.

    The tasks that teacher and model share are compared on the streams that `fit` is given: feed them
    without labels. `fisher` says how much each weight of stem and trunk matters (see `information`;
    default: all alike), and `strength` how much that is against what is new. Without a teacher it is the
    model as `fit` is given it. Set `fit.weight_decay` to 0: it would pull the weights to zero all the same.
    Raises ValueError for a strength below 0, a `fisher` of other weights, and where no task is shared.

    Differs: the KL of a sequence is the mean over its frames.
    """

    start: nn.ParameterList
    fisher: nn.ParameterList

    def __init__(
        self, teacher: Model | None = None, fisher: Fisher | None = None, strength: float = 1.0
    ) -> None:
        super().__init__()
        if strength < 0:
            raise ValueError(f"strength is {strength}; it may not be below 0")
        self.strength, self._given = strength, fisher
        self.teacher = copy.deepcopy(teacher)

    def build(self, model: Model) -> None:
        """Remember where the weights are now."""
        own = {n: p for n, p in model.named_parameters() if n.startswith(SHARED)}
        given = (
            {n: torch.ones_like(p) for n, p in own.items()} if self._given is None else self._given
        )
        if odd := [n for n, value in given.items() if n not in own or value.shape != own[n].shape]:
            raise ValueError(f"fisher is of other weights than this model has, such as {odd[0]}")
        self.names = [name for name in own if name in given]
        # Frozen parameters: buffers would be copied in every step, and sent to all processes.
        self.start = _frozen([own[name] for name in self.names])
        self.fisher = _frozen([given[name] for name in self.names])
        self.teacher = (self.teacher or copy.deepcopy(model)).requires_grad_(False).eval()
        tasks = [task for task in model.tasks.values() if self._taught(task)]
        if not tasks:
            raise ValueError(f"the teacher has none of the tasks {list(model.tasks)}")
        self.taps = tuple(sorted({task.at for task in tasks if task.at is not None}))

    def train(self, mode: bool = True) -> "Compress":
        """Set the training mode; the teacher keeps evaluating."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def terms(self, view: View) -> dict[str, Tensor]:
        """Compare what both say, and where the weights are."""
        if view.phase != "train":
            return {}
        weights = dict(view.model.named_parameters())
        near = compress([weights[name] for name in self.names], self.start, self.fisher)
        parts = [part for stream in view.batches for part in self._divergences(view, stream)]
        said = {"kl": torch.stack(parts).sum()} if parts else {}
        return {**said, "ewc": self.strength * near}

    def _taught(self, task: Task) -> bool:
        return self.teacher is not None and task.name in self.teacher.tasks and not task.auxiliary

    def _divergences(self, view: View, stream: str) -> list[Tensor]:
        """Give the mean KL of each task of a stream."""
        assert self.teacher is not None
        tasks = [task for task in view.model.tasks_of(stream) if self._taught(task)]
        if not tasks:
            return []
        with torch.no_grad():
            places = {self.teacher.tasks[task.name].at for task in tasks} - {None}
            heard = self.teacher(stream, view.batches[stream], places)
            said = [self.teacher.scores(task.name, heard) for task in tasks]
        own = [view.model.scores(task.name, view.features[stream]) for task in tasks]
        return [view.mean(stream, divergence(old, new)) for old, new in zip(said, own, strict=True)]


def divergence(old: Scores, new: Scores) -> Tensor:
    """Give KL(old || new) in nats (B,), of logits (B, C), or the mean over frames of (B, T, V).

    >>> half, sure = (Scores(torch.tensor([p]).log()) for p in ([0.5, 0.5], [0.2, 0.8]))
    >>> round(divergence(half, sure).item(), 3)
    0.223
    """
    each = F.kl_div(
        new.x.float().log_softmax(-1),
        old.x.float().log_softmax(-1),
        reduction="none",
        log_target=True,
    )
    return (each if new.lengths is None else masked_mean(each, new.lengths)).sum(-1)


def _frozen(values: Sequence[Tensor]) -> nn.ParameterList:
    return nn.ParameterList(nn.Parameter(v.detach().clone(), requires_grad=False) for v in values)


def _loss(model: Model, task: Task, batch: Batch) -> Tensor:
    """Give a task's loss () on a batch. Raises ValueError where it has no label of it."""
    label = task.label or task.name
    if label not in batch.labels:
        raise ValueError(f"example {', '.join(batch.ids)} has no label of task {task.name!r}")
    with torch.enable_grad():
        features = model(task.stream, batch, () if task.at is None else (task.at,))
        head = model.head(task.name)
        return head.loss(model.scores(task.name, features), batch.labels[label]).sum()
