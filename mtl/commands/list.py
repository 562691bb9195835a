"""list: name the stems, trunks, heads, balances, methods, tunings and scores that there are.

With --by, the ways to transfer stand in the trees of the textbooks, each with a command that tries it; with
--table, as a table in Markdown with their papers and what was measured.

    mtl list heads
    mtl list --by labels
"""

from argparse import ArgumentParser, Namespace

from mtl.catalogue import TREES, Entry, entries, markdown, tree
from mtl.commands import json_option, print_json

FOLDERS = (
    *("stems", "trunks", "heads", "balance", "methods", "tune"),
    *("instances", "cluster", "score"),
)


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    what = f"one of {', '.join(FOLDERS)} (default: all)"
    parser.add_argument("folder", nargs="?", choices=FOLDERS, metavar="FOLDER", help=what)
    by = (
        "a tree: labels of source and target; features, the same or not; setting, inductive, "
        "transductive or unsupervised; what is transferred"
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--by", choices=list(TREES), help=by)
    either.add_argument("--table", action="store_true", help="print a table in Markdown")
    json_option(parser)


def run(args: Namespace) -> int:
    """Print the names and what they are."""
    if args.folder and (args.by or args.table):
        raise ValueError(f"--by and --table show all folders; leave out {args.folder!r}")
    if args.table:
        if args.json:
            raise ValueError("--table prints Markdown; for JSON leave it out")
        print(markdown())
        return 0
    if args.by:
        found = tree(args.by)
    else:
        folders = FOLDERS if args.folder is None else (args.folder,)
        found = {folder: list(entries(folder)) for folder in folders}
    if args.json:
        print_json({title: [_plain(each) for each in listed] for title, listed in found.items()})
        return 0
    for title, listed in found.items():
        print(f"{title}:")
        for entry in listed:
            print(f"  {entry.name:<13} {_line(entry)}")
            if args.by and entry.place:
                print(f"  {'':<13} {entry.place.command}")
    return 0


def _line(entry: Entry) -> str:
    """Say what a file is, with its title where that says more than its name."""
    title = "" if entry.title.lower() == entry.name else f"{entry.title}: "
    paper = f" {entry.paper}." if entry.paper else ""
    return f"{title}{entry.idea}.{paper}"


def _plain(entry: Entry) -> dict[str, object]:
    place = entry.place._asdict() if entry.place else None
    return {**entry._asdict(), "place": place}
