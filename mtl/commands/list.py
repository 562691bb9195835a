"""list: name the stems, trunks, heads, balances, methods, tunings and scores that there are.

mtl list heads
"""

import ast
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path

FOLDERS = (
    *("stems", "trunks", "heads", "balance", "methods", "tune"),
    *("instances", "cluster", "score"),
)


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    what = f"one of {', '.join(FOLDERS)} (default: all)"
    parser.add_argument("folder", nargs="?", choices=FOLDERS, metavar="FOLDER", help=what)


def run(args: Namespace) -> int:
    """Print the names and what they are."""
    from mtl.registry import names

    for folder in FOLDERS if args.folder is None else (args.folder,):
        print(f"{folder}:")
        for name in names(folder):
            line = _first_line(folder, name)
            title, _, rest = line.partition(": ")
            print(f"  {name:<12}  {rest if title.lower() == name else line}")
    return 0


def _first_line(folder: str, name: str) -> str:
    """Give a module's first line of prose; it is not imported, as its extras may be missing."""
    spec = find_spec(f"mtl.{folder}.{name}")
    if spec is None or spec.origin is None:
        return ""
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (text or "").partition("\n")[0]
