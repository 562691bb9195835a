"""align: say when each word of a manifest is spoken.

Writes the manifest's lines anew, each with `words`: [{"word", "start", "end", "confidence"}, ...], in seconds
from where the utterance starts. What cannot be aligned is named, counted and left out; exit code 1 if any is.

    mtl align train.jsonl --model runs/multilingual_asr/model --out aligned.jsonl
    mtl align train.jsonl --model runs/multilingual_asr/model --out aligned.jsonl --by symbols --ctm
"""

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.commands import json_option, print_json

if TYPE_CHECKING:
    from torch import Tensor

    from mtl.data.manifest import Utterance
    from mtl.decode.align import Word
    from mtl.head import Prediction, Scores
    from mtl.load import Loaded

GROUP = 64  # utterances whose scores are in memory at once


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("manifest", type=Path, metavar="MANIFEST", help="JSON lines with audio, text and language")
    add("--model", required=True, metavar="DIR_OR_ID", help="folder of a saved model, or hub id")
    add("--out", type=Path, required=True, metavar="FILE", help="manifest to write")
    add("--ctm", action="store_true", help="write the times as CTM too, beside it")
    by = "what gets times: words, or symbols, which are characters or phones (default: words)"
    add("--by", choices=["words", "symbols"], default="words", help=by)
    add("--task", metavar="NAME", help="the model's task that aligns (default: by language)")
    add("--speaker", metavar="NAME", help="who speaks everywhere, whom `mtl adapt` has met")
    where = "folder that it wrote to (default: speakers/ beside the model)"
    add("--speakers", type=Path, metavar="DIR", help=where)
    json_option(parser)


def run(args: Namespace) -> int:
    """Align; 1 where an utterance could not be."""
    from mtl.atomic import atomic_text
    from mtl.data.manifest import read_manifest, write_manifest
    from mtl.decode.captions import ctm
    from mtl.load import load

    utterances = read_manifest(args.manifest)
    if args.out.resolve() == args.manifest.resolve():
        raise ValueError(f"--out {args.out} is the manifest itself; name another file")
    aligner = _Aligner(load(args.model, speaker=args.speaker, speakers=args.speakers), args)
    lines: list[str] = []
    done = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal done
        records = _records(args.manifest)
        for utterance, words in aligner.aligned(utterances):
            done += 1
            lines.append(ctm(utterance.id, words) if args.ctm else "")
            yield _row(records[utterance.line], utterance, words, args.out.parent)
        if not done:  # an error here leaves the file of an earlier run as it was
            raise ValueError(
                f"{args.manifest}: nothing could be aligned; {args.out} is not written"
            )

    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(args.out, rows())
    if args.ctm:
        atomic_text(args.out.with_suffix(".ctm"), "".join(lines))
    if args.json:
        print_json({"aligned": done, "utterances": len(utterances), "out": args.out})
    else:
        print(f"aligned {done} of {len(utterances)} utterances: {args.out}")
    return int(done < len(utterances))


class _Aligner:
    """A model that says when what is written was said."""

    def __init__(self, loaded: "Loaded", args: Namespace) -> None:
        from mtl.languages import SPEECH, writers

        self.model, self.speaker, self.stream = loaded.model, loaded.speaker, SPEECH
        self.writers, self.task, self.by = writers(loaded.model), args.task, args.by
        if args.task is not None:
            self._check(args.task)

    def _check(self, task: str) -> None:
        from mtl.heads.ctc import CTC

        if not isinstance(self.model.head(task), CTC):
            kind = type(self.model.head(task)).__name__
            raise ValueError(f"task {task!r} gives no times: its head is {kind}, not CTC")

    def aligned(
        self, utterances: Sequence["Utterance"]
    ) -> Iterator[tuple["Utterance", list["Word"]]]:
        """Give utterances with their words, and complain of those that have none."""
        for start in range(0, len(utterances), GROUP):
            kept, tasks, labels = [], [], []
            for utterance in utterances[start : start + GROUP]:
                try:
                    task, label = self._label(utterance)
                except ValueError as error:
                    _complain(f"{utterance.where} ({utterance.id}): {error}")
                else:
                    kept.append(utterance)
                    tasks.append(task)
                    labels.append(label)
            yield from self._group(kept, tasks, labels)

    def _label(self, utterance: "Utterance") -> "tuple[str, Tensor]":
        """Choose the task that spells an utterance, and its label."""
        from mtl.data.speech import raw_labels
        from mtl.languages import PHONEMES

        task = self.task or self.writers.get(utterance.lang) or self.writers.get("text")
        if task is None:
            known = ", ".join(self.writers) or "none"
            raise ValueError(f"language {utterance.lang!r} has no task; this model has: {known}")
        self._check(task)
        name = self.model.tasks[task].label or task
        raw = raw_labels(utterance)
        if name not in raw and utterance.lang != name.removesuffix(PHONEMES) and utterance.text:
            raise ValueError(f"is in {utterance.lang}; task {task!r} aligns {name}")
        if name not in raw:
            raise ValueError(f"it has no {name!r}, from which task {task!r} aligns")
        return task, self.model.head(task).encode(raw[name])

    def _group(
        self, utterances: "list[Utterance]", tasks: list[str], labels: "list[Tensor]"
    ) -> Iterator[tuple["Utterance", list["Word"]]]:
        from mtl.data.speech import Speech
        from mtl.decode.align import align, frames_per_second, placed, symbols, words
        from mtl.predict import predict

        data = Speech(utterances, self.model, groups={"speaker": {"": self.speaker}})
        answers = predict(
            self.model,
            data,
            self.stream,
            tasks=lambda index: [tasks[index]],
            decoders=dict.fromkeys(tasks, _emitted),
        )
        for utterance, task, label, answer in zip(utterances, tasks, labels, answers, strict=True):
            try:
                if answer.problem:
                    raise ValueError(answer.problem)
                spans = align(answer.predictions[task].value, label)
            except ValueError as error:
                place = f"{utterance.where} ({utterance.id})"
                _complain(str(error) if str(error).startswith(place) else f"{place}: {error}")
                continue
            spans = placed(spans, frames_per_second(self.model, task))
            write = words if self.by == "words" else symbols
            yield utterance, write(spans, self.model.head(task))  # type: ignore[arg-type]


def _emitted(scores: "Scores") -> "list[Prediction]":
    """Decode nothing: give the scores."""
    from mtl.head import Prediction

    assert scores.lengths is not None
    rows = zip(scores.x.cpu(), scores.lengths.tolist(), strict=True)
    return [Prediction(row[:length], 0.0) for row, length in rows]


def _records(manifest: Path) -> dict[int, dict[str, Any]]:
    """Read the lines as they stand, by number: what mtl does not know in them stays."""
    text = manifest.read_text(encoding="utf-8-sig")
    return {n: json.loads(line) for n, line in enumerate(text.split("\n"), 1) if line.strip()}


def _row(
    record: dict[str, Any], utterance: "Utterance", words: Sequence["Word"], folder: Path
) -> dict[str, Any]:
    """Make a line of the new manifest, whose paths start at its own folder."""
    row = record | {"id": utterance.id, "duration": utterance.seconds}
    for key, path in (("audio_filepath", utterance.audio), ("feature_path", utterance.features)):
        if path is not None:
            row[key] = str(path) if Path(record.get(key, "")).is_absolute() else _from(folder, path)
    return row | {"words": [word.record() for word in words]}


def _from(folder: Path, path: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _complain(message: str) -> None:
    print(f"mtl: {message}", file=sys.stderr)
