"""gain: how much better tasks do together than alone. Maninis et al. 2019. Topic: diagnosis.

Differs: equal figures gain 0 also where both are 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def gain(joint: Tensor, single: Tensor, directions: Sequence[str] = ()) -> Tensor:
    """Give the relative change of a figure, above 0 for better: joint (T,), single (T,) -> (T,), float64.

    `directions` says per task whether a figure is better small ("min", as all are where nothing is said)
    or large ("max"). The mean is Delta_m (Maninis et al. 2019, equation 4; Vandenhende et al. 2021,
    equation 12). Infinite where only the single figure is 0. Raises ValueError where sizes differ.

    >>> gain(torch.tensor([0.25, 0.5]), torch.tensor([0.5, 1.0]), ["min", "max"]).tolist()
    [0.5, -0.5]
    """
    ways = list(directions) or ["min"] * len(joint)
    if joint.shape != single.shape or joint.shape != (len(ways),) or set(ways) - {"min", "max"}:
        shapes = f"joint {tuple(joint.shape)}, single {tuple(single.shape)}"
        raise ValueError(
            f"{shapes}, directions {ways}; give (T,) figures, and 'min' or 'max' for each"
        )
    signs = joint.new_tensor([1 if way == "min" else -1 for way in ways], dtype=torch.float64)
    better = signs * (single.double() - joint.double())
    return torch.where(better == 0, better.abs(), better / single.double().abs())
