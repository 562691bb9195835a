"""Commands: the `mtl` commands, one file each, and what several of them need.

A command file has `arguments(parser)` and `run(args) -> exit code`; its docstring is its help. It imports
torch, and what imports torch, inside functions: `mtl --help` should take no seconds.
"""

from argparse import ArgumentTypeError


def count(text: str) -> int:
    """Read a whole number from 0, for argparse."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)
