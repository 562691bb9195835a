"""domain_norm: batch norm with means and variances per domain. Li et al. 2018 (AdaBN). Topic: adaptation."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mtl.model import Model, edit


@edit
def domain_norm(model: Model, streams: Sequence[str] | None = None) -> None:
    """Let every batch norm of stems and trunk know each of `streams` (default: all) by its own statistics.

    Scales and offsets stay shared, and all streams begin with the statistics that there are. Without this
    edit every stream is normalised by its own batch in training, and in evaluation by means over the
    batches of all; with `fit.one_pass` by the joint batch. Raises ValueError for streams that the model
    lacks, and where there is no batch norm.

    >>> from mtl.trunks.torchvision import load
    >>> stem, trunk, _ = load("shufflenet_v2_x0_5")
    >>> model = Model({"images": stem}, trunk, streams={"target": "images"})
    >>> domain_norm(model)
    >>> [norm.running_mean.shape for norm in model.modules() if isinstance(norm, DomainNorm)][0]
    torch.Size([2, 24])
    """
    names = list(model.streams if streams is None else streams)
    if odd := [name for name in names if name not in model.streams]:
        raise ValueError(f"no stream {odd[0]!r}; this model has: {', '.join(model.streams)}")
    made: dict[nn.Module, DomainNorm] = {}  # one norm may stand in several places
    for part in (*model.stems.modules(), *model.trunk.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, _BatchNorm) and child.track_running_stats:
                made.setdefault(child, DomainNorm(child, len(names)))
                setattr(part, name, made[child])
    if not made:
        raise ValueError("stems and trunk have no batch norm: there are no statistics to keep")
    numbers = {name: number for number, name in enumerate(names)}
    model.register_forward_pre_hook(partial(_enter, numbers))
    model.register_forward_hook(_leave)


class DomainNorm(nn.Module):
    """A batch norm with a row of statistics for each domain; the model says which one a batch is of."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm, domains: int) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.eps, self.momentum = norm.eps, norm.momentum
        self.domain: int | None = None
        for name, value in norm.named_buffers():
            self.register_buffer(name, value.expand(domains, *value.shape).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise maps or frames of one domain, channels second."""
        if self.domain is None:
            raise RuntimeError(
                "a batch norm by domain does not know which stream this is: run the whole model, without "
                "fit.checkpoint_blocks and stored prefixes"
            )
        row, momentum = self.domain, self.momentum
        if self.training:
            self.num_batches_tracked[row] += 1
            if momentum is None:  # as in torch: a plain mean over all batches
                momentum = 1 / float(self.num_batches_tracked[row])
        mean, var = self.running_mean[row], self.running_var[row]
        return F.batch_norm(
            x, mean, var, self.weight, self.bias, self.training, momentum or 0.0, self.eps
        )


def _enter(numbers: Mapping[str, int], model: nn.Module, args: tuple[Any, ...]) -> None:
    """Tell all norms the stream that a model is about to run."""
    if args[0] not in numbers:
        raise ValueError(f"stream {args[0]!r} has no statistics; these have: {', '.join(numbers)}")
    _tell(model, numbers[args[0]])


def _leave(model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    _tell(model, None)


def _tell(model: nn.Module, domain: int | None) -> None:
    for module in model.modules():
        if isinstance(module, DomainNorm):
            module.domain = domain
