"""evaluate: measure a model on a manifest.

Prints character and word error rates (CER, WER) and accuracies in per cent with their 95 % intervals, which
resample whole speakers, and the worst utterances. An utterance that cannot be read counts as an error.

    mtl evaluate test.jsonl --model runs/multilingual_asr/model
    mtl evaluate test.jsonl --model runs/multilingual_asr/model --speakers
    mtl evaluate dutch.jsonl --model runs/multilingual_asr/model --lm nl=nl.arpa
"""

import copy
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.commands import count, json_option, print_json, read_search, search_options

if TYPE_CHECKING:
    from mtl.data.manifest import Utterance
    from mtl.delta import Delta
    from mtl.evaluate import Evaluation, Row
    from mtl.model import Model
    from mtl.predict import Decoder


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("manifest", type=Path, metavar="MANIFEST", help="JSON lines with audio, text and language")
    add("--model", required=True, metavar="DIR", help="folder of a saved model, or hub id")
    add(
        "--speakers",
        nargs="?",
        const="",
        metavar="DIR",
        help="hear each speaker whom `mtl adapt` has met as it learnt to, by the files in DIR (default: "
        "speakers/ beside the model), and the others without",
    )
    json_option(parser, "one JSON object; rates as fractions")
    add(
        "--worst", type=count, default=5, metavar="N", help="worst utterances per task (default: 5)"
    )
    search_options(parser)


def run(args: Namespace) -> int:
    """Evaluate and print."""
    from mtl.data.manifest import read_manifest
    from mtl.decoding import beams
    from mtl.load import load

    utterances = read_manifest(args.manifest)
    model = load(args.model).model
    known = languages(model)
    unknown = Counter(u.lang for u in utterances if known and u.lang not in known)
    kept = [u for u in utterances if u.lang not in unknown]
    deltas = None if args.speakers is None else _deltas(args.model, args.speakers, kept)
    search = read_search(args)
    decoders = beams(model, search) if search else {}
    evaluation = _evaluate(model, kept, deltas or [], decoders)
    if not evaluation.rows:
        raise ValueError(
            f"{args.manifest} has nothing to evaluate: its languages are "
            f"{', '.join(sorted({u.lang for u in utterances}))}, "
            f"the model's tasks {', '.join(t.name for t in model.tasks.values() if not t.auxiliary)}"
        )
    counts = {} if deltas is None else _counts(deltas, kept)
    if args.json:
        print_json(_plain(evaluation, unknown, args.worst, counts))
    else:
        notes = _notes(evaluation, unknown, known, counts) + _wordless(model, evaluation, kept)
        _show(args.manifest.name, evaluation, notes, args.worst)
    return 0


def _deltas(model: str, speakers: str, utterances: Sequence["Utterance"]) -> list["Delta"]:
    """Read the deltas of those who speak that the folder has; "" is the one beside the model."""
    from mtl.delta import folder_beside, read
    from mtl.naming import files

    folder = Path(speakers) if speakers else folder_beside(model)
    there = files(folder)
    if not there:
        raise ValueError(f"{folder} holds no delta of a speaker: make some with `mtl adapt`")
    heard = {utterance.speaker for utterance in utterances}
    return [read(path) for name, path in there.items() if name in heard]


def _evaluate(
    model: "Model",
    utterances: Sequence["Utterance"],
    deltas: Sequence["Delta"],
    decoders: "Mapping[str, Decoder]",
) -> "Evaluation":
    """Evaluate each utterance with the delta of its speaker, by as few passes as the deltas allow."""
    from mtl.data.speech import Speech
    from mtl.delta import wear
    from mtl.evaluate import Evaluation, evaluate
    from mtl.languages import SPEECH

    together = [delta for delta in deltas if _by_member(delta)]
    alone = {delta.name: delta for delta in deltas if not _by_member(delta)}
    passes = [(together, [u for u in utterances if u.speaker not in alone])]
    for name, delta in alone.items():
        passes.append(([delta], [u for u in utterances if u.speaker == name]))
    rows: list[Row] = []
    for worn, heard in passes:
        adapted = copy.deepcopy(model) if worn else model
        numbers = wear(adapted, worn) if worn else {"": 0}
        data = Speech(heard, adapted, groups={"speaker": numbers})
        rows += evaluate(adapted, {SPEECH: data}, decoders=decoders).rows
    return Evaluation(sorted(rows, key=lambda row: row.task))


def _by_member(delta: "Delta") -> bool:
    """Say whether a delta is rows alone, which others may stand beside, and not the model changed."""
    return bool(delta.edits) and all(edit.get("size") == 1 for edit in delta.edits)


def _counts(deltas: Sequence["Delta"], utterances: Sequence["Utterance"]) -> dict[str, int]:
    """Count who had a delta, and what they said, beside all."""
    names = {delta.name for delta in deltas}
    return {
        "adapted_speakers": len(names),
        "speakers": len({utterance.speaker for utterance in utterances}),
        "adapted_utterances": sum(utterance.speaker in names for utterance in utterances),
        "utterances": len(utterances),
    }


def languages(model: "Model") -> set[str]:
    """Give the languages that a model writes or tells apart; empty where it takes any."""
    from mtl.languages import language_task, writers

    written = set(writers(model))
    task = language_task(model)
    if "text" in written:
        return set()
    return written if task is None else written | set(getattr(model.head(task), "classes", ()))


def _wordless(
    model: "Model", evaluation: "Evaluation", utterances: Sequence["Utterance"]
) -> list[str]:
    """Count the utterances that only the language was told of, as they have nothing to compare with."""
    from mtl.languages import language_task

    judged = {row.id for row in evaluation.rows if row.task != language_task(model)}
    left = [utterance for utterance in utterances if utterance.id not in judged]
    if not left:
        return []
    return [f"left out {len(left)} utterance(s) without text or label, the first {left[0].where}"]


def _notes(
    evaluation: "Evaluation", unknown: Counter[str], known: set[str], adapted: dict[str, int]
) -> list[str]:
    """Say what the figures do not show: who had a delta, what could not be used, or was left out."""
    skipped = {name: figures.get("skipped") for name, figures in evaluation.tasks().items()}
    notes = [
        f"{name}: {number} skipped, which count as errors"
        for name, number in skipped.items()
        if number
    ]
    if adapted:
        notes.append(
            "adapted: {adapted_speakers} of {speakers} speakers, "
            "{adapted_utterances} of {utterances} utterances".format(**adapted)
        )
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


def _plain(
    evaluation: "Evaluation", unknown: Counter[str], worst: int, adapted: dict[str, int]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "tasks": evaluation.tasks(),
        "unknown_languages": dict(unknown),
        "worst": {
            task: [row._asdict() for row in _worst(evaluation, task, worst)]
            for task in evaluation.tasks()
        },
    }
    if adapted:
        found["adapted"] = adapted
    return found
