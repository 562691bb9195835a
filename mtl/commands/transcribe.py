"""transcribe: turn audio files into text.

Prints a line for each file: its path, its language and the text, with tabs between them.

    mtl transcribe --model runs/multilingual_asr/model *.wav
"""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mtl.commands import STREAM, language_task, load_model, writers

if TYPE_CHECKING:
    from mtl.data.manifest import Utterance
    from mtl.model import Model
    from mtl.predict import Answer

AUTO = "auto"


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="wav, flac, ogg, mp3, ..., any rate")
    add("--model", required=True, metavar="DIR_OR_ID", help="folder of a saved model, or hub id")
    add(
        "--lang",
        default=AUTO,
        help="language of all files; auto: the model decides (default: auto)",
    )
    add(
        "--json", action="store_true", help="print JSON lines, with confidence (0 to 1) and seconds"
    )
    add(
        "--batch",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="seconds of audio that run at once; lower it to save memory (default: 60)",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0, such as 60")
    return seconds


def run(args: Namespace) -> int:
    """Transcribe; 1 where a file could not be."""
    from mtl.data.speech import Speech
    from mtl.predict import predict

    model = load_model(args.model)
    choice = choose(model, args.lang)
    utterances = list(_readable(args.files))
    data = Speech(utterances, model, STREAM)
    answers = predict(model, data, STREAM, tasks=choice.tasks(), batch=args.batch)
    done = sum(
        _print(utterance, answer, choice, args.json)
        for utterance, answer in zip(utterances, answers, strict=True)
    )
    return int(done < len(args.files))


class Choice(NamedTuple):
    """Which tasks write which language, and the language: given, or told by the task `detector`."""

    writers: dict[str, str]
    lang: str = "und"
    detector: str | None = None

    def tasks(self) -> list[str]:
        """Give the tasks to ask: with a detector all, as heads cost little beside the trunk."""
        if self.detector is not None:
            return [self.detector, *self.writers.values()]
        return [self.writers.get(self.lang) or self.writers["text"]]


def choose(model: "Model", lang: str) -> Choice:
    """Decide how a language is chosen; `lang` may be "auto".

    Raises ValueError, naming the languages, where the model does not know `lang` or cannot choose.
    """
    tasks = writers(model)
    known = ", ".join(tasks)
    if not tasks:
        raise ValueError(
            f"this model writes no text from {STREAM}; its tasks: {', '.join(model.tasks) or 'none'}"
        )
    if lang != AUTO:
        if lang not in tasks and "text" not in tasks:
            raise ValueError(f"--lang {lang!r} is not known; this model has: {known} (or {AUTO})")
        return Choice(tasks, lang)
    if len(tasks) == 1 and "text" not in tasks:
        return Choice(tasks, known)
    detector = language_task(model)
    if detector is None and "text" not in tasks:
        raise ValueError(f"this model has no task 'language' to choose by; give --lang: {known}")
    return Choice(tasks, detector=detector)


def _readable(files: Iterable[Path]) -> Iterator["Utterance"]:
    """Make utterances of the files, and report those that hold no audio."""
    from mtl.data.audio import audio_seconds

    for path in files:
        try:
            if not path.is_file():
                what = "is a folder; name the files in it" if path.is_dir() else "no such file"
                raise ValueError(f"{path}: {what}")
            yield _utterance(path, audio_seconds(path))
        except (ValueError, OSError) as error:
            _complain(str(error))


def _utterance(path: Path, seconds: float) -> "Utterance":
    from mtl.data.manifest import Utterance

    return Utterance(
        id=str(path),
        text="",
        lang="und",
        speaker="unknown",
        seconds=seconds,
        audio=path,
        offset=0.0,
        features=None,
        key=None,
        label=None,
        phonemes=None,
        weight=1.0,
        line=0,
        manifest=path,
    )


def _print(utterance: "Utterance", answer: "Answer", choice: Choice, as_json: bool) -> bool:
    """Print a file's line; False, and a line on the error output, where there is none."""
    if answer.problem:
        # There is no manifest whose line could help.
        _complain(answer.problem.removeprefix(f"{utterance.where} ({utterance.id}): "))
        return False
    said = answer.predictions
    lang = choice.lang if choice.detector is None else said[choice.detector].value
    task = choice.writers.get(lang) or choice.writers.get("text")
    if task is None:
        known = ", ".join(choice.writers)
        _complain(f"{utterance.id}: sounds like {lang!r}, not written here; give --lang: {known}")
        return False
    text, confidence = said[task]
    if as_json:
        line = {"path": utterance.id, "lang": lang, "text": text}
        numbers = {"confidence": round(confidence, 4), "seconds": round(utterance.seconds, 3)}
        print(json.dumps(line | numbers, ensure_ascii=False))
    else:
        print(utterance.id, lang, text, sep="\t")
    return True


def _complain(message: str) -> None:
    print(f"mtl: {message}", file=sys.stderr)
