"""symbols: give a task of a saved model other symbols, and keep what it knows of those it had.

The output rows of blank and of all symbols that both vocabularies hold are kept, new symbols begin untrained,
and everything else stays bit for bit. Writes another model, to be trained on, and says what is kept.

    mtl symbols --model runs/multilingual_asr/model --out new --task de --symbols bpe:500 --data de.jsonl
    mtl symbols --model runs/multilingual_asr/model --out more --task de --add --data new.jsonl
"""

import sys
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.commands import json_option, print_json

if TYPE_CHECKING:
    from mtl.data.manifest import Utterance
    from mtl.model import Model


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--model", required=True, metavar="DIR_OR_ID", help="folder of a saved model, or hub id")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the new model")
    add("--task", required=True, metavar="TASK", help="task whose head changes, such as de")
    texts = "JSON lines whose texts, or phonemes, the symbols are made from; several may follow"
    add("--data", required=True, nargs="+", type=Path, metavar="MANIFEST", help=texts)
    written = "chars, or bpe:N or unigram:N for N pieces of words; for a head of phones: phones "
    add("--symbols", default="", metavar="SYMBOLS", help=f"{written}(default: as the head has)")
    more = "keep all symbols that the head has, and add those that the data need"
    add("--add", action="store_true", help=more)
    json_option(parser)


def run(args: Namespace) -> int:
    """Change, save and print."""
    from mtl.data.manifest import read_manifest
    from mtl.model import Model
    from mtl.vocabulary import ctc_head, kinds, parse_symbols, renewed, replace_head

    _refuse(args.model, args.out)
    utterances = [u for path in args.data for u in read_manifest(path)]
    model = Model.from_pretrained(args.model)
    old = ctc_head(model, args.task)
    if args.symbols:
        parse_symbols(args.symbols, kinds(old), f"task {args.task!r}: --symbols")
    said = _labels(model, args.task, utterances)
    head = renewed(old, [text for _, text in said], args.symbols, args.add)
    change = replace_head(model, args.task, head)
    for line in _notes(model, args, said):
        print(f"mtl: {line}", file=sys.stderr)
    model.save_pretrained(args.out)
    if args.json:
        print_json({**change._asdict(), "out": args.out})
        return 0
    print(change)  # not before it is true
    print(args.out)
    return 0


def _refuse(model: str, out: Path) -> None:
    """Raise ValueError where the new model would lie in the old one, or in the place of anything."""
    there = Path(model).resolve()
    if there.is_dir() and there in (out.resolve(), *out.resolve().parents):
        raise ValueError(
            f"--out {out} lies in the model's folder, which stays as it is: name another"
        )
    if blocked := next((folder for folder in out.parents if folder.is_file()), None):
        raise ValueError(f"--out {out}: {blocked} is a file; name a new folder")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"--out {out} exists: name a new folder, or remove it")


def _labels(
    model: "Model", task: str, utterances: Sequence["Utterance"]
) -> list[tuple["Utterance", str]]:
    """Give what the task's head learns from, with the utterances. Raises ValueError where it is nothing."""
    from mtl.data.speech import raw_labels
    from mtl.vocabulary import labels_of

    said = []
    for label in labels_of(model, task):
        raws = [(utterance, raw_labels(utterance)) for utterance in utterances]
        found = [(utterance, str(raw[label])) for utterance, raw in raws if label in raw]
        if not found:
            langs = Counter(u.lang for u, raw in raws if "text" in raw)
            held = ", ".join(f"{lang} {count}" for lang, count in sorted(langs.items()))
            raise ValueError(
                f"task {task!r}: no utterance of the data has a label {label!r}; texts there: "
                f"{held or 'none'}"
            )
        said += found
    return _legible(model, task, said)


def _legible(
    model: "Model", task: str, said: Sequence[tuple["Utterance", str]]
) -> list[tuple["Utterance", str]]:
    """Leave out, and name, what the head cannot read at all: IPA that is none, texts without a letter."""
    head, kept, problems = model.head(task), [], []
    for utterance, text in said:
        try:
            if head.reference(text):
                kept.append((utterance, text))
            else:
                problems.append(f"{utterance.where}: nothing is left of {text!r}")
        except ValueError as error:
            problems.append(f"{utterance.where}: {error}")
    if problems:
        print(f"mtl: left out {len(problems)} of {len(said)}: {problems[0]}", file=sys.stderr)
    if not kept:
        raise ValueError(f"task {task!r}: none of the {len(said)} texts can be used")
    return kept


def _notes(model: "Model", args: Namespace, said: Sequence[tuple["Utterance", str]]) -> list[str]:
    """Say what else the new symbols mean: fewer pieces than asked for, texts too long for the frames."""
    from mtl.data.speech import too_short
    from mtl.vocabulary import ctc_head, parse_symbols

    head, stem = ctc_head(model, args.task), model.stem(model.tasks[args.task].stream)
    notes = []
    wanted = parse_symbols(args.symbols).size if args.symbols else 0
    if len(head.symbols) < wanted:
        notes.append(f"{len(head.symbols)} pieces, as the texts hold no more than that")
    short = []
    for utterance, text in said:
        frames = round(utterance.seconds * stem.frames_per_second)
        if problem := too_short(model, args.task, head.encode(text), frames):
            short.append(f"{utterance.where}: {problem}")
    if short:
        notes.append(f"{len(short)} of {len(said)} utterances cannot be learnt: {short[0]}")
    return notes
