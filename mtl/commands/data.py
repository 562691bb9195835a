"""data: check a manifest, make a speech corpus, or import one from another format.

A manifest is a file of JSON lines, a superset of NeMo's.

    mtl data check train.jsonl
    mtl data make --languages en=100,nl=20
    mtl data import common_voice cv-corpus-17.0/nl --split train --out train.jsonl
"""

import importlib
import pkgutil
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mtl.data.imports
from mtl.commands import count, json_option, print_json
from mtl.data.imports import FIELDS, LEVELS, Ask, Skip

if TYPE_CHECKING:
    from mtl.data.check import Language
    from mtl.data.importing import Report

SHOWN = 60  # symbols of a language in the table
NAMED = 5  # skips of one kind on the screen; a file names all


def arguments(parser: ArgumentParser) -> None:
    """Declare the three commands."""
    parts = parser.add_subparsers(metavar="check|make|import", required=True)

    text = "list every defect of a manifest and its files, then what it holds; exit code 1 if any"
    check = parts.add_parser("check", help=text, description=text)
    check.set_defaults(part=_check)
    check.add_argument("manifest", type=Path, metavar="MANIFEST", help="JSON lines")
    json_option(check)
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
    held = {"dev": 40, "test": 100}
    for name, size in held.items():
        about = f"{name} utterances per language (default: {size})"
        add(f"--{name}", type=count, default=size, metavar="N", help=about)
    add("--seed", type=int, default=0, metavar="N", help="seed of texts and voices (default: 0)")
    add("--folder", type=Path, metavar="DIR", help="where (default: $MTL_CACHE, else ~/.cache/mtl)")
    json_option(make)

    _import_arguments(parts)


def _import_arguments(parts: Any) -> None:
    """Declare `import`; the formats are the files of `mtl/data/imports`."""
    formats = [found.name for found in pkgutil.iter_modules(mtl.data.imports.__path__)]
    lines = [importlib.import_module(f"mtl.data.imports.{name}").__doc__ for name in formats]
    heads = [str(line).partition("\n")[0].partition(": ") for line in lines]
    text = "write a manifest of a corpus in another format; no audio that lies in files is copied"
    about = "\n".join(f"  {name:<13} {what}" for name, _, what in heads)
    part = parts.add_parser("import", help=text, description=f"{text}\n\nformats:\n{about}")
    part.set_defaults(part=_import)
    add = part.add_argument
    add("format", choices=formats, metavar="FORMAT", help="one of those above")
    add("source", metavar="SOURCE", help="a folder, a file, or a hub id")
    add("--out", type=Path, required=True, metavar="FILE", help="the manifest to write")
    add("--lang", default="", help="language of all utterances, whatever the source says")
    add("--split", default="", help="part of the source (default: train, where there are parts)")
    add("--subset", default="", help="mls: 9hr, 1hr, 1hr/0, 10hr; datasets: the configuration")
    where = "where relative paths start; speechbrain: {data_root} (default: at the source)"
    add("--root", type=Path, metavar="DIR", help=where)
    add(
        "--columns",
        type=_columns,
        default={},
        metavar="FIELD=NAME,...",
        help=f"the source's columns, such as text=wrd; fields: {', '.join(FIELDS)}",
    )
    add(
        "--folders",
        type=_levels,
        default=(),
        metavar="LEVEL/...",
        help=f"folder: what the folders above a file mean, such as lang/speaker; {', '.join(LEVELS)}",
    )
    add("--untranscribed", action="store_true", help="keep utterances that have no text")
    json_option(part)


def _columns(text: str) -> dict[str, str]:
    """Read "text=wrd,speaker=spk"."""
    pairs = [item.partition("=") for item in text.split(",")]
    if not all(name.strip() in FIELDS and there.strip() for name, _, there in pairs):
        fields = ", ".join(FIELDS)
        raise ArgumentTypeError(f"{text!r}: write FIELD=NAME, such as text=wrd; fields: {fields}")
    return {name.strip(): there.strip() for name, _, there in pairs}


def _levels(text: str) -> tuple[str, ...]:
    """Read "lang/speaker"."""
    levels = tuple(text.strip("/").split("/"))
    if not set(levels) <= set(LEVELS):
        raise ArgumentTypeError(f"{text!r}: write {', '.join(LEVELS)} with / between")
    return levels


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
        print_json(found)
    else:
        _show(languages, f"{args.manifest.name}: {len(defects)} defect(s)")
    return int(bool(defects))


def _import(args: Namespace) -> int:
    """Write the manifest, name skips on the error output, and print what it holds."""
    from rich.console import Console

    from mtl.data.check import summary
    from mtl.data.importing import Choices, import_manifest

    asked = {
        name: getattr(args, name) for name in ("split", "subset", "root", "columns", "folders")
    }
    choices = Choices(args.lang, args.untranscribed)
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    with console.status("importing") as status:

        def watch(report: "Report", skip: Skip | None) -> None:
            if skip and report.skips[skip.kind] <= NAMED:
                console.print(f"{skip.where}: {skip.message}")
            if report.kept % 100 == 0:
                status.update(f"{report.kept} imported, {report.skips.total()} skipped")

        ask = Ask(args.source, **asked)
        report = import_manifest(args.format, ask, args.out, choices, watch)
    languages = summary(args.out)
    if args.json:
        found = {"out": args.out, "imported": report.kept, "skipped": report.skips}
        found |= {"skips": report.skipped, "written": report.written, "replaced": report.replaced}
        print_json(
            found | {"languages": {lang: each._asdict() for lang, each in languages.items()}}
        )
        return 0
    _show(languages, f"{args.out}: {report.kept} imported, {report.skips.total()} skipped")
    if report.written:
        print(f"audio written to {report.written}")
    for kind, number in report.skips.most_common():
        print(f"skipped, {kind}: {number} (all are named in {report.skipped})")
    for lang, number in report.replaced.most_common():
        print(f"language {lang} became {args.lang}: {number}")
    if "und" in languages:
        print(
            f"no language: {languages['und'].utterances}; import again with --lang, such as --lang en"
        )
    return 0


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
    if args.json:
        print_json(manifests)
        return 0
    for split, path in manifests.items():
        print(split, path, sep="\t")
    return 0
