"""report: set runs side by side, or collect what all runs claim on one page.

Takes folders to which recipes wrote (--out). Prints the figures with their 95 % intervals, or the range over
seeds, in per cent, and the settings that differ; with --claims every claim of all runs below the folders: its
sentence, verdict, difference, interval, baseline and command.

    mtl report runs/first runs/second
    mtl report --claims runs --out claims.html
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.commands import json_option, print_json

if TYPE_CHECKING:
    from mtl.runs import Run, Table


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="two runs or more; or with --claims, any",
    )
    add("--claims", action="store_true", help="collect the claims of all runs below the folders")
    add("--out", type=Path, metavar="FILE", help="write a page, one file of HTML, as well")
    json_option(parser, "one JSON object; fractions, not per cent")


def run(args: Namespace) -> int:
    """Print, and write the page."""
    from mtl.runs import (
        claims,
        claims_page,
        claims_table,
        differing,
        read_run,
        runs_page,
        side_by_side,
    )

    if args.out is not None and args.out.is_dir():
        raise ValueError(
            f"--out {args.out} is a folder; name a file, such as {args.out / 'claims.html'}"
        )
    if args.claims:
        found = claims(args.folders)
        plain: dict[str, object] = {"claims": [told._asdict() for told in found]}
        page, title, tables = claims_page(found), "Claims", [claims_table(found)]
        empty = "no run claims anything: smoke runs do not, nor runs without a baseline"
    else:
        if len(args.folders) < 2:
            raise ValueError(f"one run, {args.folders[0]}; give two or more, or --claims")
        runs = [read_run(folder) for folder in args.folders]
        plain = {"runs": [_plain(run) for run in runs]}
        page, title, tables = runs_page(runs), "Runs", [side_by_side(runs), differing(runs)]
        empty = "the runs have no figures"
    if args.out is not None:
        page.write(args.out, title)
    if args.json:
        print_json(plain)
    else:
        _show([table for table in tables if table[1]], empty)
    return 0


def _plain(run: "Run") -> dict[str, object]:
    return {
        "folder": str(run.folder),
        "command": run.command,
        "settings": run.settings,
        **run.figures,
    }


def _show(tables: "list[Table]", empty: str) -> None:
    """Print tables, text to the left and figures to the right."""
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console(markup=False, highlight=False, emoji=False)
    for columns, rows in tables:
        grid = Grid()
        for place, column in enumerate(columns):
            numbers = place and column not in ("metric", "verdict", "baseline")
            grid.add_column(column, justify="right" if numbers else "left")
        for row in rows:
            grid.add_row(*row)
        console.print(grid)
    if not tables:
        print(empty)
