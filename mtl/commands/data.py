"""data: check a manifest, or make a speech corpus.

mtl data check train.jsonl
mtl data make --languages en=100,nl=20
"""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.commands import count

if TYPE_CHECKING:
    from mtl.data.check import Language

SHOWN = 60  # symbols of a language in the table


def arguments(parser: ArgumentParser) -> None:
    """Declare the two commands."""
    parts = parser.add_subparsers(metavar="check|make", required=True)

    text = "list every defect of a manifest and its files, then what it holds; exit code 1 if any"
    check = parts.add_parser("check", help=text, description=text)
    check.set_defaults(part=_check)
    check.add_argument("manifest", type=Path, metavar="MANIFEST", help="JSON lines")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.add_argument(
        "--no-decode",
        action="store_true",
        help="read the headers of the files only: quick, but truncated sound and NaN go unseen",
    )

    text = "write a corpus that espeak-ng speaks, and print its manifests; needs the extra 'corpus'"
    make = parts.add_parser("make", help=text, description=text)
    make.set_defaults(part=_make)
    add = make.add_argument
    add(
        "--languages",
        type=_sizes,
        required=True,
        metavar="LANG=N,...",
        help="training utterances per language, such as en=100,nl=20",
    )
    add("--dev", type=count, default=40, help="dev utterances per language (default: 40)")
    add("--test", type=count, default=100, help="test utterances per language (default: 100)")
    add("--seed", type=int, default=0, help="seed of texts and voices (default: 0)")
    add("--folder", type=Path, help="where (default: $MTL_CACHE, else ~/.cache/mtl)")


def _sizes(text: str) -> dict[str, int]:
    """Read "en=100,nl=20"."""
    pairs = [item.partition("=") for item in text.split(",")]
    if not all(lang.strip() and size.strip().isdecimal() for lang, _, size in pairs):
        raise ArgumentTypeError(f"{text!r}: write LANG=N with commas between, such as en=100,nl=20")
    return {lang.strip(): int(size) for lang, _, size in pairs}


def run(args: Namespace) -> int:
    """Run the part that was named."""
    code: int = args.part(args)
    return code


def _check(args: Namespace) -> int:
    """Print the defects, then the languages; 1 if there are defects."""
    from mtl.data.check import find_defects, summary

    defects = []
    for defect in find_defects(args.manifest, decode=not args.no_decode):
        defects.append(defect)
        if not args.json:
            print(defect, flush=True)
    languages = summary(args.manifest)
    if args.json:
        found = {
            "defects": [defect._asdict() for defect in defects],
            "languages": {name: language._asdict() for name, language in languages.items()},
        }
        print(json.dumps(found, ensure_ascii=False))
    else:
        _show(languages, f"{args.manifest.name}: {len(defects)} defect(s)")
    return int(bool(defects))


def _show(languages: "dict[str, Language]", title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in ("language", "utterances", "hours", "speakers", "symbols"):
        left = name in ("language", "symbols")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for name, language in languages.items():
        some = "".join(language.symbols[:SHOWN]) + "…" * (len(language.symbols) > SHOWN)
        hours = f"{language.hours:.3g}"
        symbols = f"{len(language.symbols)}: {some}"
        table.add_row(name, str(language.utterances), hours, str(language.speakers), symbols)
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    console.print(table)
    for name, language in languages.items():
        if language.dropped:
            counts = ", ".join(f"{sign} {count}" for sign, count in language.dropped.items())
            console.print(
                f"{name}: signs that are spoken are dropped from texts ({counts}): write them as words"
            )


def _make(args: Namespace) -> int:
    """Make the corpus unless it is there, and print split and manifest, with a tab between."""
    from mtl.data.synthetic import make_corpus

    sizes = {"dev": args.dev, "test": args.test, "seed": args.seed}
    shown = sys.stderr.isatty()
    manifests = make_corpus(args.languages, **sizes, folder=args.folder, progress=shown)
    for split, path in manifests.items():
        print(split, path, sep="\t")
    return 0
