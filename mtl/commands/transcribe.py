"""transcribe: turn audio files into text.

Prints a line for each file: its path, its language and the text, with tabs between them.

    mtl transcribe --model runs/multilingual_asr/model *.wav
    mtl transcribe --model runs/multilingual_asr/model --speaker anna *.wav
"""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtl.encoder import Encoder
    from mtl.languages import Choice
    from mtl.predict import Answer


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="wav, flac, ogg, mp3, ..., any rate")
    add("--model", required=True, metavar="DIR_OR_ID", help="folder of a saved model, or hub id")
    add(
        "--lang",
        default="auto",
        help="language of all files; auto: the model decides (default: auto)",
    )
    add("--speaker", metavar="NAME", help="who speaks in all files, whom `mtl adapt` has met")
    where = "folder that it wrote to (default: speakers/ beside the model)"
    add("--speakers", type=Path, metavar="DIR", help=where)
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
    from mtl.languages import SPEECH, choose
    from mtl.load import Inputs, load
    from mtl.predict import predict

    loaded = load(args.model, speaker=args.speaker, speakers=args.speakers)
    stem = loaded.model.stem(SPEECH)
    choice = choose(loaded.model, args.lang)
    data = Inputs(list(_readable(args.files, stem)), stem, speaker=loaded.speaker)
    answers = predict(loaded.model, data, SPEECH, tasks=choice.tasks(), batch=args.batch)
    done = sum(
        _print(answer, seconds, choice, args.json)
        for answer, seconds in zip(answers, data.lengths, strict=True)
    )
    return int(done < len(args.files))


def _readable(files: Iterable[Path], stem: "Encoder") -> Iterator[Path]:
    """Give the files that hold audio, by their headers, and report the others."""
    from mtl.load import Inputs

    for path in files:
        try:
            Inputs([path], stem)
            yield path
        except (ValueError, OSError) as error:
            _complain(str(error))


def _print(answer: "Answer", seconds: float, choice: "Choice", as_json: bool) -> bool:
    """Print a file's line; False, and a line on the error output, where there is none."""
    if answer.problem:
        _complain(answer.problem)
        return False
    try:
        text, lang, confidence, _ = choice.transcript(answer.predictions)
    except ValueError as error:
        _complain(f"{answer.id}: {error}")
        return False
    if as_json:
        line = {"path": answer.id, "lang": lang, "text": text}
        numbers = {"confidence": round(confidence, 4), "seconds": round(seconds, 3)}
        print(json.dumps(line | numbers, ensure_ascii=False))
    else:
        print(answer.id, lang, text, sep="\t")
    return True


def _complain(message: str) -> None:
    print(f"mtl: {message}", file=sys.stderr)
