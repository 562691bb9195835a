"""Head: trunk features into scores, losses and predictions; and the task that owns one."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from mtl.batch import Features, Labels


class Scores(NamedTuple):
    """A head's raw output: `x` (B, ...) and, for sequences (B, T, V), the valid frames (B,)."""

    x: Tensor
    lengths: Tensor | None = None


class Prediction(NamedTuple):
    """What a head says of one example, and how sure it is (0 to 1)."""

    value: Any
    confidence: float


class Head(nn.Module):
    """Trunk features to scores, and scores to losses (B,) and predictions.

    Scores are computed once and serve the loss, the methods and the prediction. Constructor arguments are
    kept as attributes of the same name; `metrics` names the measures, the one that selects models first;
    `blank` counts as said of an example that could not be used.
    """

    metrics: tuple[str, ...] = ()
    blank: Any = ""

    def build(self, dim: int) -> None:
        """Make the layers for features of width `dim`; a head that has weights is not built again."""
        raise NotImplementedError

    def encode(self, label: Any) -> Tensor:
        """Turn a raw label (a text, a class name) into the tensor that `loss` takes."""
        raise NotImplementedError

    def reference(self, label: Any) -> Any:
        """Turn a raw label into what a prediction's value is compared with; ValueError where none can be."""
        return label

    def unknown(self, reference: Any) -> str:
        """Say why no prediction can equal a reference, such as a class that is not known; "" if one can."""
        return ""

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the score frames of feature frames: integer tensor to integer tensor."""
        return lengths

    def scores(self, f: Features) -> Scores:
        """Compute the scores."""
        raise NotImplementedError

    def loss(self, scores: Scores, labels: Labels) -> Tensor:
        """Give one loss per example (B,)."""
        raise NotImplementedError

    def predict(self, scores: Scores) -> list[Prediction]:
        """Decide."""
        raise NotImplementedError

    def register(self, name: str, f: Features) -> None:
        """Learn the class `name` from support examples; only heads that can."""
        raise TypeError(f"a {type(self).__name__} head cannot learn a class from examples")


class Task(NamedTuple):
    """One task: which stream it reads, its head (or the name of the task whose head it shares).

    `at` names an inner block to read instead of the trunk's end; `label` the label it learns from (the
    task's name by default). An `auxiliary` task is trained, and neither predicted nor evaluated.
    """

    name: str
    stream: str
    head: Head | str
    at: str | None = None
    metric: str | None = None
    weight: float = 1.0
    label: str | None = None
    auxiliary: bool = False
