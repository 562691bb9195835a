"""SDT: domain confusion, and soft labels for a few labelled targets. Tzeng et al. 2015. Topic: adaptation.

Simultaneous deep transfer across domains and tasks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mtl.domains import Adapting, domain_classifier, tell_apart, tupled
from mtl.method import Phase, View
from mtl.model import Model

RATE = 0.1  # of the soft labels' mean over steps
DOMAIN = "sdt"  # the phase of the domain classifier


def sdt(logits: Tensor) -> Tensor:
    """Give the cross entropy (B,) of the uniform distribution and domain logits (B, domains), in nats.

    Tzeng et al. 2015, equation 4: least, log(domains), where the classifier has no opinion.

    >>> sdt(torch.tensor([[1.0, 1.0], [0.0, 9.0]]))
    tensor([0.6931, 4.5001])
    """
    return -logits.float().log_softmax(1).mean(1)


def soft_loss(scores: Tensor, classes: Tensor, soft: Tensor, temperature: float) -> Tensor:
    """Give the cross entropy (B,) of each example's class's soft label and its softened scores, in nats.

    `scores` (B, C), `classes` (B,), `soft` (C, C): row k is the distribution of class k (Tzeng et al. 2015,
    equation 6). A row of zeros is of a class not seen yet, and costs nothing.

    >>> soft_loss(torch.zeros(1, 2), torch.tensor([1]), torch.eye(2), temperature=2.0)
    tensor([0.6931])
    """
    return -(soft[classes] * (scores.float() / temperature).log_softmax(1)).sum(1)


class SDT(Adapting):
    """Domain confusion, and where a few targets are labelled what classes look alike.

    In the phase of the tasks, the features behind the block `at` (empty text: the trunk) learn to leave the
    domain classifier without opinion, term `confusion` of strength `weight`. In the phase `sdt` it learns to
    tell the domains from features that stay, term `domain`; its `accuracy` is reported.

    `tasks` names a classifier of the source and one of labelled targets, which share a head:
    `Task("few", "target", "digit", label="digit")`. The mean over the source's examples of a class of their
    scores, softened by `temperature`, is the soft label of that class's targets, term `soft` of strength
    `soft_weight`. Raises ValueError for tasks without classes, or of other streams.

    Differs: soft labels are means over the last steps, where the paper computes them once, before adaptation.
    """

    soft: Tensor

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        at: str = "",
        weight: float = 0.01,
        tasks: Sequence[str] = (),
        soft_weight: float = 0.1,
        temperature: float = 2.0,
        hidden: int = 0,
    ) -> None:
        super().__init__(source, target)
        if min(weight, soft_weight, hidden) < 0 or temperature <= 0:
            raise ValueError(
                f"weight is {weight}, soft_weight is {soft_weight}, hidden is {hidden}, temperature is "
                f"{temperature}; the first three may not be below 0, the last is above it"
            )
        self.at, self.weight, self.hidden = at, weight, hidden
        self.tasks, self.soft_weight, self.temperature = tupled(tasks), soft_weight, temperature
        self.taps = (at,) if at else ()

    def build(self, model: Model) -> None:
        """Make the domain classifier, and room for soft labels."""
        super().build(model)
        self.classifier = domain_classifier(model, self.at, len(self.streams), self.hidden)
        if self.tasks:
            self._check_tasks(model)
            classes = len(model.head(self.tasks[0]).classes)  # type: ignore[arg-type]
            self.register_buffer("soft", torch.zeros(classes, classes))

    def _check_tasks(self, model: Model) -> None:
        for name in self.tasks:
            if not hasattr(model.head(name), "classes"):
                raise ValueError(f"task {name!r} has no classes; name two classifiers")
        streams = [model.tasks[name].stream for name in self.tasks]
        fits = len(streams) == 2 and streams[0] in self.source and streams[1] in self.target
        if not fits or len({id(model.head(name)) for name in self.tasks}) > 1:
            raise ValueError(
                f"tasks {list(self.tasks)} read {streams}; give two that share a head, one that reads "
                f"{' or '.join(self.source)}, and one that reads {' or '.join(self.target)}"
            )

    def phases(self) -> list[Phase]:
        """Let the domain classifier learn on its own."""
        return [Phase(DOMAIN, list(self.classifier.parameters()))]

    def terms(self, view: View) -> dict[str, Tensor]:
        """Confuse the classifier while tasks learn, teach it in its own phase."""
        if view.phase not in ("train", DOMAIN):
            return {}
        z = [self.pooled(view, stream, self.at) for stream in self.streams]
        if view.phase == DOMAIN:
            return tell_apart(view, self.streams, [self.classifier(each.detach()) for each in z])
        confused = [
            view.mean(stream, sdt(self.classifier(each)))
            for stream, each in zip(self.streams, z, strict=True)
        ]
        terms = {"confusion": self.weight * torch.stack(confused).mean()}
        if self.tasks:
            if self.training:
                self._observe(view, self.tasks[0])
            terms |= self._compare(view, self.tasks[1])
        return terms

    @torch.no_grad()
    def _observe(self, view: View, task: str) -> None:
        """Take the source's scores of a step into the soft labels."""
        size = len(self.soft)
        stream, rows, classes = _labelled(view, task)
        seen = self.soft.new_zeros(len(view.batches[stream].lengths), 2 * size)
        if len(rows):
            softened = (view.scores[task].x.float() / self.temperature).softmax(1)
            seen[rows] = torch.cat([softened, torch.eye(size).to(softened)[classes]], 1)
        seen = view.gather(stream, seen)
        counts = seen[:, size:].sum(0)
        means = seen[:, size:].T @ seen[:, :size] / counts.clamp(min=1)[:, None]
        rate = torch.where(self.soft.any(1), RATE, 1.0) * (counts > 0)
        self.soft.lerp_(means, rate[:, None].expand_as(means))

    def _compare(self, view: View, task: str) -> dict[str, Tensor]:
        """Compare the labelled targets with the soft labels of their classes."""
        stream, rows, classes = _labelled(view, task)
        # As with the task's own loss, an example without label counts as one of loss 0.
        whole = self.soft.new_zeros(len(view.batches[stream].lengths))
        if len(rows):
            each = soft_loss(view.scores[task].x, classes, self.soft.clone(), self.temperature)
            whole = whole.index_put((rows,), each)
        return {"soft": self.soft_weight * view.mean(stream, whole)}


def _labelled(view: View, task: str) -> tuple[str, Tensor, Tensor]:
    """Give a task's stream, the rows of its batch that have labels, and their classes."""
    known = view.model.tasks[task]
    labels = view.batches[known.stream].labels.get(known.label or known.name)
    if labels is None:
        none = torch.zeros(0, dtype=torch.long)
        return known.stream, none, none
    present = labels.present
    everything = torch.arange(len(labels.values), device=labels.values.device)
    rows = everything if present is None else everything[present]
    return known.stream, rows, labels.values[rows]
