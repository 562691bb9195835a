"""Main: the `mtl` command line. Each file in `mtl/commands` is a command, named like the file."""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import NoReturn

import mtl
import mtl.commands

INTERRUPTED = 130  # what shells report of a program that Ctrl-C ended


class Parser(argparse.ArgumentParser):
    """A parser, also of commands within commands, that says in one line what is wrong."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]
        # No default, as that of a command would overwrite what was given before the command's name.
        self.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show where in the program an error arose",
        )

    def error(self, message: str) -> NoReturn:
        """Name what is wrong and where to look, and exit with 2."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code: 0 well, 1 an error or defects; 2 (bad usage) exits."""
    args = argparse.Namespace()
    try:
        args = make_parser().parse_args(argv)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("mtl: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has enough. Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, FloatingPointError, ImportError, MemoryError) as error:
        if "debug" in args:
            raise
        print(f"mtl: {_message(error)}", file=sys.stderr)
        return 1


def make_parser() -> Parser:
    """Build the parser of all commands, which import torch only when they run."""
    parser = Parser(prog="mtl", description=mtl.__doc__)
    parser.add_argument("--version", action="version", version=f"mtl {mtl.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for found in pkgutil.iter_modules(mtl.commands.__path__):
        module = importlib.import_module(f"mtl.commands.{found.name}")
        text = (module.__doc__ or "").removeprefix(f"{found.name}: ")
        command = commands.add_parser(
            found.name, help=text.splitlines()[0].replace("%", "%%"), description=text
        )
        command.set_defaults(run=module.run)
        module.arguments(command)
    return parser


def _message(error: Exception) -> str:
    """Say what went wrong: in one line, unless it is a list such as the defects of a manifest."""
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    text = str(error)
    if error.strerror:  # the number before it means nothing to people
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
