"""evaluate: measure a model on a manifest.

Prints character and word error rates (CER, WER) and accuracies in per cent with their 95 % intervals, which
resample whole speakers, and the worst utterances. An utterance that cannot be read counts as an error.

    mtl evaluate test.jsonl --model runs/multilingual_asr/model
"""

import json
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mtl.commands import count

if TYPE_CHECKING:
    from mtl.evaluate import Evaluation, Row
    from mtl.model import Model


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("manifest", type=Path, metavar="MANIFEST", help="JSON lines with audio, text and language")
    add("--model", required=True, metavar="DIR", help="folder of a saved model, or hub id")
    add("--json", action="store_true", help="print one JSON object; rates as fractions")
    add(
        "--worst", type=count, default=5, metavar="N", help="worst utterances per task (default: 5)"
    )


def run(args: Namespace) -> int:
    """Evaluate and print."""
    from mtl.data.manifest import read_manifest
    from mtl.data.speech import Speech
    from mtl.evaluate import evaluate
    from mtl.languages import SPEECH
    from mtl.load import load

    utterances = read_manifest(args.manifest)
    model = load(args.model).model
    known = languages(model)
    unknown = Counter(u.lang for u in utterances if known and u.lang not in known)
    kept = [u for u in utterances if u.lang not in unknown]
    evaluation = evaluate(model, {SPEECH: Speech(kept, model, SPEECH)})
    if not evaluation.rows:
        raise ValueError(
            f"{args.manifest} has nothing to evaluate: its languages are "
            f"{', '.join(sorted({u.lang for u in utterances}))}, "
            f"the model's tasks {', '.join(model.tasks)}"
        )
    if args.json:
        print(_json(evaluation, unknown, args.worst))
    else:
        _show(args.manifest.name, evaluation, _notes(evaluation, unknown, known), args.worst)
    return 0


def languages(model: "Model") -> set[str]:
    """Give the languages that a model writes or tells apart; empty where it takes any."""
    from mtl.languages import language_task, writers

    written = set(writers(model))
    task = language_task(model)
    if "text" in written:
        return set()
    return written if task is None else written | set(getattr(model.head(task), "classes", ()))


def _notes(evaluation: "Evaluation", unknown: Counter[str], known: set[str]) -> list[str]:
    """Say what the figures do not show: utterances that could not be used, or were left out."""
    skipped = {name: figures.get("skipped") for name, figures in evaluation.tasks().items()}
    notes = [
        f"{name}: {number} skipped, which count as errors"
        for name, number in skipped.items()
        if number
    ]
    if unknown:
        counts = ", ".join(f"{lang} {count}" for lang, count in sorted(unknown.items()))
        notes.append(
            f"left out {unknown.total()} utterance(s) in languages that this model does not know "
            f"({counts}); it knows: {', '.join(sorted(known))}"
        )
    return notes


def _show(title: str, evaluation: "Evaluation", notes: list[str], worst: int) -> None:
    from rich.console import Console

    from mtl.report import Report

    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    Report(title, 0, evaluation.tasks(), notes=notes).show(console)
    for task in evaluation.tasks():
        for row in _worst(evaluation, task, worst):
            metric, (part, whole) = next(iter(row.counts.items()))
            place = f"\n{task}  {row.id}  {metric} {part:g}/{whole:g}  {row.problem}"
            console.print(place.rstrip())
            console.print(f"  reference  {row.reference}\n  predicted  {row.prediction}")


def _worst(evaluation: "Evaluation", task: str, most: int) -> list["Row"]:
    """Give the worst utterances that hold any error at all."""
    rows = evaluation.worst(task, most)
    return [row for row in rows if row.problem or row.reference != row.prediction]


def _json(evaluation: "Evaluation", unknown: Counter[str], worst: int) -> str:
    found = {
        "tasks": evaluation.tasks(),
        "unknown_languages": dict(unknown),
        "worst": {
            task: [row._asdict() for row in _worst(evaluation, task, worst)]
            for task in evaluation.tasks()
        },
    }
    # JSON knows no infinity, the ends of the interval of a single speaker: null.
    plain = json.loads(json.dumps(found), parse_constant=lambda _: None)
    return json.dumps(plain, ensure_ascii=False)
