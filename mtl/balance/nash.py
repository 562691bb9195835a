"""Nash-MTL: the step on which bargaining tasks agree. Navon et al. 2022. Topic: balance."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mtl.ops import on_active

GRADIENTS = True
RIDGE = 1e-6  # added to the cosines' diagonal: where tasks cannot agree, weights would be infinite
STEPS = 200  # Newton's method takes 5 to 70
Array = NDArray[np.float64]


def nash(losses: Tensor, rows: Tensor | None, gramian: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Give the w > 0 with gramian @ w = 1 / w: (T, T) -> (T,).

    The step maximises the product of the tasks' gains, so none is harmed and none's scale matters: twice
    the gradient gets half the weight. Its length is sqrt(T) whatever the gradients' are: choose the
    learning rate for it, and clip. Navon et al. 2022, claim 3.1 and algorithm 1.

    Differs: solved by Newton's method for w'Kw / 2 - sum log w, which has its least point there, where
    the paper iterates convex programs; a ridge keeps tasks that cannot agree finite.

    >>> gradients = Tensor([[3.0, 0.0], [0.0, 1.0]]).double()
    >>> (nash(Tensor([1.0, 1.0]), None, gradients @ gradients.T, {}) @ gradients).numpy().round(4).tolist()
    [1.0, 1.0]
    """
    return on_active(gramian, _agree)


def _agree(cosines: Array, norms: Array) -> Array:
    matrix = cosines + RIDGE * np.eye(len(norms))
    shares = np.full(len(norms), np.sqrt(len(norms) / matrix.sum()))  # w times norms
    for _ in range(STEPS):
        slope = matrix @ shares - 1 / shares
        step = np.linalg.solve(matrix + np.diag(shares**-2), -slope)
        decrement = np.sqrt(max(-slope @ step, 0))
        if decrement < 1e-6:
            break
        # The function is self-concordant: damped so, steps stay positive and always converge.
        shares = shares + (step if decrement < 0.25 else step / (1 + decrement))
    weights: Array = shares / norms
    return weights
