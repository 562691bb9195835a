"""Method: what a paper adds to a training step: loss terms, other inputs, further phases."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl.batch import Batch, Features
from mtl.gather import gather_rows
from mtl.head import Scores
from mtl.model import Model


class Phase(NamedTuple):
    """One backward and optimizer step within a training step.

    Gradients that fall outside `parameters` are dropped; `tasks` adds the tasks' losses; the phase runs
    in every `every`-th step. Without `features` the model does not run in it, which saves its time: the
    terms see the batches as they came, and neither features nor scores. The phase `train` always exists:
    all tasks, all parameters that no other phase claims.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    tasks: bool = False
    every: int = 1
    features: bool = True


class Adam(NamedTuple):
    """How Adam moves the networks of a method: from rate `lr` on, which falls as the schedule of `fit` does.

    The first of `betas` is low where networks work against each other (Radford et al. 2016, section 3).
    """

    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)


class Totals(NamedTuple):
    """The global batch: examples by stream over all processes, and the parts each process cuts."""

    examples: dict[str, int]
    processes: int = 1
    parts: int = 1


class View(NamedTuple):
    """What a method sees of one step, within one phase.

    `features` by stream, with the blocks of `Method.taps`; `scores` and `losses` (B of the labelled
    rows,) by task; `progress` runs from 0 to 1 over training. The global random generator is seeded
    from (seed, step, process) before each step, so a method draws from it as it likes.
    """

    phase: str
    batches: dict[str, Batch]
    features: dict[str, Features]
    scores: dict[str, Scores]
    losses: dict[str, Tensor]
    model: Model
    progress: float
    totals: Totals

    def mean(self, stream: str, values: Tensor) -> Tensor:
        """Average a value per example (B,) over the GLOBAL batch of a stream.

        A plain mean would weigh the examples of a process that holds fewer of them more.
        """
        weights = self.batches[stream].weights
        counted = values if weights is None else values * (weights > 0).to(values.dtype)
        scale = self.totals.processes * self.totals.parts / self.totals.examples[stream]
        return counted.sum() * scale

    def gather(self, stream: str, values: Tensor) -> Tensor:
        """Join a row per example (B, D) over the GLOBAL batch of a stream, in its order: (N, D).

        For what is no mean over examples, such as a distance between two samples: the gradient is right
        where all processes compute the same from it. Examples of weight 0 are left out. Accumulated
        parts are not joined.
        """
        weights = self.batches[stream].weights
        counted = (
            torch.ones_like(values[:, 0]) if weights is None else (weights > 0).to(values.dtype)
        )
        rows = gather_rows(torch.cat([values, counted[:, None]], 1), self.totals.processes)
        return rows[rows[:, -1] > 0, :-1]


class Method(nn.Module):
    """A training method. By default it changes nothing.

    Its own networks live in the checkpoint, never in the saved model. It must not keep the model as an
    attribute: the model comes with every call. `build` may keep a frozen copy of it; a run that resumes
    gets the copy back from the checkpoint. They learn as the model does, unless `adam` says otherwise.
    """

    taps: tuple[str, ...] = ()
    adam: Adam | None = None

    def build(self, model: Model) -> None:
        """Make the method's own networks; called once before training."""

    def inputs(self, batches: dict[str, Batch]) -> dict[str, Batch]:
        """Give the batches that the model sees.

        Rows put behind a stream's own (translated images, say) add their losses to those of the step, whose
        means stay over the stream's own rows.
        """
        return batches

    def terms(self, view: View) -> dict[str, Tensor]:
        """Give loss terms, scalars by name; they are summed, and averaged over processes and parts.

        Means over examples go through `view.mean`. A value without gradient is reported beside the losses.
        """
        return {}

    def phases(self) -> list[Phase]:
        """Give further phases, for networks that minimise something else."""
        return []
