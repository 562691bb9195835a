"""keyword: teach a model a word from one recording of it or more, and find words it was taught so.

The model has a head that learns by examples: prototype, matching or siamese. `add` writes the word into its
folder at once or not at all. `detect` prints a line for each file: the word that fits best, its share among
all words, and how well it fits, where --least asks for a minimum; with --window also where each find starts.

    mtl keyword add --model runs/one_shot/model --name lumos lumos.wav
    mtl keyword detect --model runs/one_shot/model --least -12 --window 1 meeting.wav
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.commands import json_option, print_json

if TYPE_CHECKING:
    from mtl.batch import Example
    from mtl.encoder import Encoder
    from mtl.enrol import Found
    from mtl.model import Model


def arguments(parser: ArgumentParser) -> None:
    """Declare the two commands."""
    parts = parser.add_subparsers(metavar="add|detect", required=True)
    for part, text in ((_add, "teach a word"), (_detect, "find the words that were taught")):
        command = parts.add_parser(part.__name__.strip("_"), help=text, description=text)
        command.set_defaults(part=part)
        add = command.add_argument
        add("files", nargs="+", type=Path, metavar="FILE", help="recordings")
        add(
            "--model", required=True, metavar="DIR_OR_ID", help="folder of a saved model, or hub id"
        )
        add("--task", metavar="TASK", help="task with the words (default: the one that can)")
        json_option(command, "a JSON object a line")
        if part is _add:
            add("--name", required=True, metavar="WORD", help="what is said in all files")
            add("--out", type=Path, metavar="DIR", help="folder to write to (default: the model's)")
        else:
            add("--least", type=float, metavar="FIT", help="tell nothing that fits less")
            window = "look at so many seconds at a time, every quarter of them, in long recordings"
            add("--window", type=float, metavar="SECONDS", help=window)


def run(args: Namespace) -> int:
    """Run the command chosen."""
    code: int = args.part(args)
    return code


def _add(args: Namespace) -> int:
    from mtl.enrol import enrol, exemplar
    from mtl.load import Inputs

    model, task = _open(args)
    out = args.out or Path(args.model)
    if args.out is None and not out.is_dir():
        raise ValueError(
            f"--model {args.model} is no folder here: give --out, a folder to write to"
        )
    head = exemplar(model, task)
    known = args.name in head.classes
    enrol(model, task, args.name, Inputs(args.files, model.stem(model.tasks[task].stream)))
    model.save_pretrained(out)
    if args.json:
        taught = {"word": args.name, "anew": known, "examples": len(args.files)}
        print_json({**taught, "words": head.classes, "out": out})
        return 0
    done = f"{'taught anew' if known else 'added'}, from {len(args.files)} example(s)"
    print(args.name, done, f"{len(head.classes)} words", out, sep="\t")
    return 0


def _detect(args: Namespace) -> int:
    from mtl.enrol import exemplar, recognise

    if args.window is not None and not args.window > 0:
        raise ValueError(f"--window is {args.window}; give seconds, above 0")
    model, task = _open(args)
    if not exemplar(model, task).classes:
        raise ValueError(f"{args.model}: no word was taught yet; see `mtl keyword add`")
    code = 0
    for path in args.files:
        try:
            windows = dict(_windows(path, model.stem(model.tasks[task].stream), args.window))
            said = recognise(model, task, list(windows.values()))
        except ValueError as error:
            text = str(error)
            print(f"mtl: {text if str(path) in text else f'{path}: {text}'}", file=sys.stderr)
            code = 1
            continue
        for start, best in _peaks(list(zip(windows, said, strict=True)), args.least):
            if args.json:
                fits = {"word": best.name, "confidence": best.confidence, "fit": best.fit}
                print_json({"file": path, "start": start, **fits})
                continue
            when = [] if args.window is None else [f"{start:.2f}"]
            print(path, *when, best.name, f"{best.confidence:.2f}", f"{best.fit:.4g}", sep="\t")
    return code


def _open(args: Namespace) -> "tuple[Model, str]":
    from mtl.enrol import exemplar_task
    from mtl.model import Model

    model = Model.from_pretrained(args.model)
    return model, exemplar_task(model, args.task)


def _windows(
    path: Path, stem: "Encoder", seconds: float | None
) -> "Iterator[tuple[float, Example]]":
    """Give a recording whole, or cut into windows, by where they start."""
    from mtl.load import Inputs

    inputs = Inputs([path], stem)
    if seconds is None:
        yield 0.0, inputs.example(0)
        return
    if inputs.opened(0) is None:
        raise ValueError("is no sound: --window is for recordings")
    last = max(inputs.lengths[0] - seconds, 0.0)
    for step in range(int(last / (seconds / 4)) + 1):
        yield step * seconds / 4, inputs.cut(0, step * seconds / 4, seconds)


def _peaks(
    found: "Sequence[tuple[float, Found]]", least: float | None
) -> "Iterator[tuple[float, Found]]":
    """Give the best of each run of windows with one word, where it fits well enough."""
    for _, run in groupby(found, lambda one: one[1].name):
        best = max(run, key=lambda one: one[1].fit)
        if least is None or best[1].fit >= least:
            yield best
