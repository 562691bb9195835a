"""conservative: outputs stay near those of the unadapted model. Yu et al. 2013. Topic: adaptation.

Yu, Yao, Su, Li, Seide: KL-divergence regularized deep neural network adaptation.
"""

import copy
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.head import Task
from mtl.method import Method, View
from mtl.model import Model
from mtl.ops import masked_mean


def conservative(old: Tensor, new: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Give KL(old || new) in nats (B,), from logits or log-probabilities of the same shape.

    They are (B, C), or (B, T, V) with `lengths` (B,): then the mean over the valid frames.

    >>> half, sure = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.2, 0.8]]).log()
    >>> conservative(half, half).item(), round(conservative(half, sure).item(), 3)
    (0.0, 0.223)
    """
    old, new = old.log_softmax(-1), new.log_softmax(-1)
    each = F.kl_div(new, old, reduction="none", log_target=True)
    return (each if lengths is None else masked_mean(each, lengths)).sum(-1)


class Conservative(Method):
    """A task's loss plus rho / (1 - rho) times its KL from the model that `fit` is given, term `kl`.

    That is (1 - rho) loss + rho KL, divided by 1 - rho: training on labels mixed with the old posteriors,
    (1 - rho) y + rho p_old. A rho of 0.25 to 0.5 is usual, more for less data.
    `tasks` names the heads to keep, by default all that predict: leave out those without training. Their
    posteriors are compared on every example of `streams` (default: all of the same modality), labelled or
    not, so old languages can be kept on new recordings. Raises ValueError for a rho outside [0, 1),
    unknown tasks and streams, or where no task reads such a stream.

    Differs: the KL of frames is averaged while the CTC loss counts per symbol, which has several frames.
    """

    old: Model

    def __init__(
        self, rho: float = 0.5, tasks: Sequence[str] = (), streams: Sequence[str] = ()
    ) -> None:
        super().__init__()
        if not 0 <= rho < 1:
            raise ValueError(f"rho is {rho}; it is a share, from 0 to below 1")
        self.rho, self.tasks, self.streams = rho, tuple(tasks), tuple(streams)

    def build(self, model: Model) -> None:
        """Copy the model as it is before training."""
        self.old = copy.deepcopy(model).requires_grad_(False).eval()
        for name in self.tasks:
            model.head(name)
        for name in self.streams:
            model.stem(name)
        kept = [task for stream in self.streams or model.streams for task in self._kept(stream)]
        if not kept:
            raise ValueError(f"no task to keep on streams {list(self.streams)}: name others")
        self.taps = tuple(sorted({task.at for task in kept if task.at is not None}))

    def _kept(self, stream: str) -> Iterator[Task]:
        """Give the tasks whose heads understand a stream."""
        modality = self.old.streams[stream]
        for name, task in self.old.tasks.items():
            chosen = name in self.tasks if self.tasks else not task.auxiliary
            if chosen and self.old.streams[task.stream] == modality:
                yield task

    def train(self, mode: bool = True) -> "Conservative":
        """Set the training mode; the old model keeps evaluating."""
        super().train(mode)
        if "old" in self._modules:
            self.old.eval()
        return self

    def terms(self, view: View) -> dict[str, Tensor]:
        """Compare old and new posteriors; only the phase of the tasks moves them."""
        if view.phase != "train":
            return {}
        weight = self.rho / (1 - self.rho)
        parts = [
            weight * task.weight * view.mean(stream, each)
            for stream in self.streams or view.batches
            for task, each in self._divergences(stream, view)
        ]
        return {"kl": torch.stack(parts).sum()} if parts else {}

    def _divergences(self, stream: str, view: View) -> Iterator[tuple[Task, Tensor]]:
        """Give each kept task's divergences (B,) on a stream."""
        kept = list(self._kept(stream))
        if not kept:
            return
        with torch.no_grad():
            before = self.old(stream, view.batches[stream], self.taps)
        for task in kept:
            with torch.no_grad():
                old = self.old.scores(task.name, before)
            new = view.model.scores(task.name, view.features[stream])
            yield task, conservative(old.x, new.x, new.lengths)
