"""adapt: make a model better for speakers, from a few utterances of each.

Writes what it learns of a speaker to speakers/NAME.safetensors beside the model, which itself stays as it is,
for `transcribe --speaker NAME` and `evaluate --speakers`. Prints a line for each speaker; one of whom
nothing can be learnt is named and left out, and the exit code is 1.

    mtl adapt --model runs/multilingual_asr/model --speaker anna anna.jsonl
    mtl adapt --model runs/multilingual_asr/model --by lhuc many-speakers.jsonl
"""

import ast
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.commands import json_option, print_json

if TYPE_CHECKING:
    from mtl.adapt import Adapt, Adapted
    from mtl.data.manifest import Utterance

SHOWN = 5  # reasons per speaker; more are summed up by kind
MORE = "; or with +kl, +l2sp, +unsupervised or +replay, as in full+kl"
REPLAY = "learn as much from utterances that the model was trained on; may be given several times"


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    manifest = "JSON lines with audio, text, language and speaker"
    add("manifests", nargs="+", type=Path, metavar="MANIFEST", help=manifest)
    add("--model", required=True, metavar="DIR_OR_ID", help="folder of a saved model, or hub id")
    add("--speaker", metavar="NAME", help="who speaks (default: whom each line names)")
    where = "folder to write to (default: speakers/ beside the model)"
    add("--speakers", type=Path, metavar="DIR", help=where)
    add("--lang", help="language of the lines that name none")
    for name, kind, default, text in _settings():
        how: dict[str, Any] = {"type": kind, "metavar": kind.__name__.upper()}
        shown = f"{text} (default: {default})"
        if name == "replay":  # its utterances say that it is wanted
            how, shown = {"type": Path, "action": "append", "metavar": "MANIFEST"}, REPLAY
        elif kind is bool:
            how, shown = {"action": "store_true"}, text
        elif name == "by":
            shown = f"{text}{MORE} (default: {default})"
        add(f"--{name}", default=SUPPRESS, help=shown.replace("%", "%%"), **how)
    json_option(parser, "a JSON object a line, for each speaker")


def _settings() -> Iterator[tuple[str, type, Any, str]]:
    """Give name, type, default and docstring of the fields of `Adapt`, unimported: that takes seconds."""
    spec = find_spec("mtl.adapt")
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    classes = {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
    kinds = {kind.__name__: kind for kind in (bool, int, float, str)}
    for field, text in pairwise(classes["Adapt"]):
        if isinstance(field, ast.AnnAssign) and field.value and isinstance(text, ast.Expr):
            kind, default = kinds[ast.unparse(field.annotation)], ast.literal_eval(field.value)
            yield ast.unparse(field.target), kind, default, ast.literal_eval(text.value)


def run(args: Namespace) -> int:
    """Adapt, write and print."""
    from mtl.adapt import adapt
    from mtl.data.cache import Cache
    from mtl.data.manifest import read_manifest
    from mtl.delta import folder_beside
    from mtl.load import load
    from mtl.naming import names

    settings = _given(args)
    said = _by_speaker([u for path in args.manifests for u in read_manifest(path)], args)
    source = [u for path in getattr(args, "replay", ()) for u in read_manifest(path)]
    folder = args.speakers or folder_beside(args.model)
    if Path(args.model).resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ValueError(f"{folder} lies in the model's folder, which stays as it is: name another")
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"--speakers {there} is a file; give a folder")
    model = load(args.model).model
    cache = Cache()
    older, problems = names(folder), dict[str, str]()
    # A run that trains speakers one after the other need not end for the first to be safe.
    for group in [said] if settings.by_member else [{name: said[name]} for name in said]:
        known = len(problems)
        found = adapt(model, group, settings, source=source, cache=cache, problems=problems)
        for problem in list(problems.values())[known:]:
            print(f"mtl: {problem}", file=sys.stderr)
        for name, adapted in found.items():
            line = _finish(adapted, len(group[name]), folder, name in older)
            if args.json:
                print_json(line)
            else:
                _show(line)
    return int(bool(problems))


def _given(args: Namespace) -> "Adapt":
    """Give the settings; an option goes before what the method's name, such as full+kl, says."""
    from mtl.adapt import Adapt, read_method

    given = {name: getattr(args, name) for name, *_ in _settings() if name in args}
    settings = read_method(given.pop("by", Adapt.by), Adapt())
    given["replay"] = "replay" in given
    if settings.replay and not given["replay"]:
        raise ValueError(f"--by {args.by}: give --replay MANIFEST, utterances to replay")
    settings = replace(settings, **given)
    idle = [name for name in ("confident", "rounds", "lm") if name in given]
    if idle and not settings.unsupervised:
        raise ValueError(f"--{idle[0]} is for --unsupervised: add that, or leave it out")
    return settings


def _by_speaker(utterances: Sequence["Utterance"], args: Namespace) -> dict[str, list["Utterance"]]:
    """Sort utterances by speaker, all of them that of the option if there is one."""
    from mtl.naming import as_name
    from mtl.pseudo import UNDETERMINED
    from mtl.sat import UNKNOWN

    nameless = [utterance for utterance in utterances if utterance.speaker == UNKNOWN]
    if nameless and args.speaker is None:
        raise ValueError(
            f"{nameless[0].where}: {len(nameless)} of {len(utterances)} utterances name no speaker: "
            "give --speaker NAME for all, or write `speaker` into the manifest"
        )
    langs = {utterance.lang for utterance in utterances}
    if args.lang is not None and UNDETERMINED not in langs:
        raise ValueError(
            f"--lang {args.lang}: it is for lines that name no language, and all name one "
            f"({', '.join(sorted(langs))}): leave it out"
        )
    said: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        if args.lang is not None and utterance.lang == UNDETERMINED:
            utterance = replace(utterance, lang=args.lang)
        name = as_name(utterance.speaker if args.speaker is None else args.speaker)
        said.setdefault(name, []).append(utterance)
    return said


def _finish(adapted: "Adapted", said: int, folder: Path, replaces: bool) -> dict[str, Any]:
    """Save a delta, print on the error output what was left out, and give what there is to say."""
    from mtl.data.speech import describe_skips
    from mtl.delta import save, size

    delta, skips = adapted
    name = delta.name if delta.name.isprintable() else ascii(delta.name)
    each = [f"left out {skip.reason}" for skip in skips]
    for line in each if len(each) <= SHOWN else describe_skips(skips, said):
        print(f"mtl: {name}: {line}", file=sys.stderr)
    learnt = delta.notes["utterances"]
    counts = {"learnt": learnt, "held_out": said - learnt - len(skips), "left_out": len(skips)}
    how = {"by": delta.notes["by"], "strength": delta.notes["strength"], "replaces": replaces}
    path = save(delta, folder)
    return {"speaker": name, **counts, **how, "bytes": size(delta), "path": path}


def _show(line: Mapping[str, Any]) -> None:
    counts = "learnt {learnt}, held out {held_out}, left out {left_out}".format(**line)
    how = "{by}, strength {strength:.2g}".format(**line)
    how += ", replaces an older delta" if line["replaces"] else ""
    size = f"{line['bytes'] / 1000:.1f} kB"
    print(line["speaker"], counts, how, size, line["path"], sep="\t", flush=True)
