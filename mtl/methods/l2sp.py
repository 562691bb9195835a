"""L2SP: fine-tuned weights stay near the pretrained ones. Li, Grandvalet, Davoine 2018. Topic: transfer."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mtl.method import Method, View
from mtl.model import Model


def l2sp(weights: Iterable[Tensor], start: Iterable[Tensor] | None = None) -> Tensor:
    """Give half the squared distance () of all `weights` from `start`, of equal shapes; None is zero.

    >>> l2sp([torch.tensor([3.0, 1.0])], [torch.tensor([1.0, 1.0])])
    tensor(2.)
    """
    moved = weights if start is None else [w - w0 for w, w0 in zip(weights, start, strict=True)]
    return torch.stack([w.square().sum() for w in moved]).sum() / 2


class L2SP(Method):
    """alpha/2 ||w_shared - w_start||^2 + beta/2 ||w_new||^2, terms `start` and `new`.

    `shared` names the modules of the model that came pretrained; every other parameter (by default the
    heads) is new. The start is the model that `fit` is given; frozen parameters do not count. Set
    `fit.weight_decay` to 0: it would pull the shared weights to zero all the same. Raises ValueError
    for strengths below 0, and where `shared` matches nothing that is trained.

    Differs: AdamW divides the gradient of the sum by its scale, where the paper uses plain momentum.
    """

    start: nn.ParameterList

    def __init__(
        self, alpha: float = 0.01, beta: float = 0.01, shared: Sequence[str] = ("stems", "trunk")
    ) -> None:
        super().__init__()
        if alpha < 0 or beta < 0:
            raise ValueError(f"alpha is {alpha}, beta is {beta}; neither may be below 0")
        self.alpha, self.beta, self.shared = alpha, beta, tuple(shared)

    def build(self, model: Model) -> None:
        """Remember where the shared parameters are now."""
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        found = {
            part: [n for n in trained if f"{n}.".startswith(f"{part}.")] for part in self.shared
        }
        if empty := [part for part, names in found.items() if not names]:
            raise ValueError(
                f"nothing that is trained lies in {empty}; name other modules as shared"
            )
        self.old = list(dict.fromkeys(name for names in found.values() for name in names))
        self.new = [name for name in trained if name not in self.old]
        # Frozen parameters: buffers would be copied in every step, and sent to all processes.
        self.start = nn.ParameterList(
            nn.Parameter(trained[name].detach().clone(), requires_grad=False) for name in self.old
        )

    def terms(self, view: View) -> dict[str, Tensor]:
        """Give both penalties; they do not depend on the data."""
        weights = dict(view.model.named_parameters())
        terms = {"start": self.alpha * l2sp([weights[name] for name in self.old], self.start)}
        if self.new:
            terms["new"] = self.beta * l2sp([weights[name] for name in self.new])
        return terms
