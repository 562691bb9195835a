"""adversary: what discriminators and those who would fool them lose, and a network that does not learn."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def logistic(scores: Tensor, real: bool) -> Tensor:
    """Give the cross entropy of logits (B, ...) that are to say real, or not, as each row's mean: (B,).

    A generator that loses `logistic(scores, True)` of its pictures is the one that does not saturate
    (Goodfellow et al. 2014, section 3).

    >>> logistic(torch.tensor([[0.0], [3.0]]), real=True)
    tensor([0.6931, 0.0486])
    """
    return F.softplus(-scores if real else scores).float().flatten(1).mean(1)


def least_squares(scores: Tensor, real: bool) -> Tensor:
    """Give (score - 1)^2 for what is to be real and score^2 otherwise, as each row's mean: (B, ...) -> (B,).

    Mao et al. 2017, equation 9.

    >>> least_squares(torch.tensor([[0.0, 3.0]]), real=True), least_squares(torch.ones(1, 2), real=False)
    (tensor([2.5000]), tensor([1.]))
    """
    return (scores.float() - float(real)).square().flatten(1).mean(1)


def still(network: nn.Module, x: Tensor) -> Tensor:
    """Run a network whose weights take no gradient, while its input does.

    >>> layer, x = nn.Linear(1, 1), torch.ones(1, 1, requires_grad=True)
    >>> still(layer, x).sum().backward()
    >>> layer.weight.grad is None, x.grad is None
    (True, False)
    """
    held = {name: parameter.detach() for name, parameter in network.named_parameters()}
    given: Tensor = torch.func.functional_call(network, held, (x,))
    return given


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """Identity forward, gradient times `scale` backward; none at all for 0.

    >>> x = torch.ones(1, requires_grad=True)
    >>> scale_gradient(x, 0.5).sum().backward()
    >>> x.grad, scale_gradient(x, 0.0).requires_grad
    (tensor([0.5000]), False)
    """
    if not scale:
        return x.detach()
    return x if scale == 1 else x.detach() + scale * (x - x.detach())
