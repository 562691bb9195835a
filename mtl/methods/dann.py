"""DANN: features from which a classifier cannot tell the domain. Ganin et al. 2016. Topic: adaptation."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtl.domains import Adapting, domain_classifier, ramp, tell_apart
from mtl.method import View
from mtl.model import Model
from mtl.ops import reverse_gradient


def dann(z: Tensor, classifier: nn.Module, scale: float) -> Tensor:
    """Give domain logits (B, domains) of features (B, D), whose gradient comes back times -scale.

    The classifier itself learns at the full rate (Ganin et al. 2016, equations 11 to 13).

    >>> import torch
    >>> z = torch.ones(1, 2, requires_grad=True)
    >>> dann(z, nn.Identity(), 0.5).sum().backward()
    >>> z.grad.tolist()
    [[-0.5, -0.5]]
    """
    logits: Tensor = classifier(reverse_gradient(z, scale))
    return logits


class DANN(Adapting):
    """A task's loss plus a domain classifier's behind reversed gradients, term `domain`.

    Streams are domains: the cross entropy is averaged over the examples of each, then over the domains, so
    it is log(domains) at chance whatever the batch sizes. The features behind the block `at` (empty text:
    the trunk) get its gradient times -`weight` * ramp(progress, gamma). `accuracy` is reported beside it:
    1 / domains is chance, and neither needed nor enough for adaptation; 1 to the end says that the features
    do not follow, chance from the start that the classifier learns nothing. Raises ValueError for numbers
    below 0, and as `mtl.domains.Adapting`.

    Differs: domains are averaged where the paper adds them, as its own code does.
    """

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        at: str = "",
        weight: float = 1.0,
        gamma: float = 10.0,
        hidden: int = 100,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(source, target)
        if weight < 0 or gamma <= 0 or hidden < 0:
            raise ValueError(
                f"weight is {weight}, gamma is {gamma}, hidden is {hidden}; weight and hidden may not "
                "be below 0, and gamma is above it"
            )
        self.at, self.weight, self.gamma = at, weight, gamma
        self.hidden, self.dropout = hidden, dropout
        self.taps = (at,) if at else ()

    def build(self, model: Model) -> None:
        """Make the domain classifier."""
        super().build(model)
        count = len(self.streams)
        self.classifier = domain_classifier(model, self.at, count, self.hidden, self.dropout)

    def terms(self, view: View) -> dict[str, Tensor]:
        """Tell the domains apart, in the phase of the tasks."""
        if view.phase != "train":
            return {}
        scale = self.weight * ramp(view.progress, self.gamma)
        logits = [
            dann(self.pooled(view, stream, self.at), self.classifier, scale)
            for stream in self.streams
        ]
        return tell_apart(view, self.streams, logits)
