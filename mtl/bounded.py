"""Bounded: what a configuration describes is no larger than the weights that come with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

NUMBERS, PARAMETERS = 1 << 27, 1 << 14  # that may be made beyond: trunks drop their classifiers
SHORTEST = 64  # bytes of a tensor in a file, its name among them
# What constructors raise for arguments that make no sense.
STRANGE = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError),
    *(RuntimeError, StopIteration, TypeError, ValueError),
)


@contextmanager
def no_larger_than(weights: Path) -> Iterator[None]:
    """Raise ValueError, within, where modules are built with far more or larger tensors than a file holds.

    That is before their memory is touched: a width of a thousand millions costs nothing.
    """
    size = weights.stat().st_size
    numbers, parameters = NUMBERS + 4 * size, PARAMETERS + size // SHORTEST

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal numbers, parameters
        numbers -= 0 if parameter is None else parameter.numel()
        parameters -= 1
        if numbers < 0 or parameters < 0:
            raise ValueError(
                f"describes a model far larger than {weights.name}, which holds {size / 1e6:.3g} MB: "
                "its sizes are wrong"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
