"""transcribe: turn audio files into text, captions or words with times.

Prints a line for each file: its path, its language and the text, with tabs between them. Files longer than
--chunk are cut at their pauses and heard piece by piece, in the memory of a few pieces.

    mtl transcribe --model runs/multilingual_asr/model *.wav
    mtl transcribe --model runs/multilingual_asr/model --format srt --out captions lecture.flac
    mtl transcribe --model runs/multilingual_asr/model --speaker anna *.wav
    mtl transcribe --model runs/multilingual_asr/model --lang nl --lm nl.arpa --hotwords Kwik,Flevo *.wav
"""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.atomic import atomic_text
from mtl.commands import read_search, search_options

if TYPE_CHECKING:
    from mtl.encoder import Encoder
    from mtl.long import Told


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="wav, flac, ogg, mp3, ..., any rate")
    add("--model", required=True, metavar="DIR_OR_ID", help="folder of a saved model, or hub id")
    add(
        "--lang",
        default="auto",
        help="language of all files; auto: the model decides, once for a file (default: auto)",
    )
    add("--speaker", metavar="NAME", help="who speaks in all files, whom `mtl adapt` has met")
    where = "folder that it wrote to (default: speakers/ beside the model)"
    add("--speakers", type=Path, metavar="DIR", help=where)
    written = parser.add_mutually_exclusive_group().add_argument
    written(
        "--format",
        choices=list(WRITERS),
        default="text",
        help="text; json: lines with confidence (0 to 1) and seconds; srt, vtt: captions; ctm: words with "
        "start, length and confidence (default: text)",
    )
    written("--json", dest="format", action="store_const", const="json", help="as --format json")
    times = "text: a line for each caption, from and to in seconds; json: `words` with times"
    add("--timestamps", action="store_true", help=times)
    add("--out", type=Path, metavar="DIR", help="write a file here for each recording, not print")
    pieces = "longest piece that is heard at once (default: 30)"
    add("--chunk", type=_seconds, default=30.0, metavar="SECONDS", help=pieces)
    add(
        "--batch",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="seconds of audio that run at once; lower it to save memory (default: 60)",
    )
    search_options(parser)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0, such as 60")
    return seconds


def run(args: Namespace) -> int:
    """Transcribe; 1 where a file could not be."""
    from mtl.decoding import beams, check_files
    from mtl.languages import AUTO, SPEECH, choose
    from mtl.load import Inputs, load
    from mtl.long import transcribe

    put = _putter(args)
    loaded = load(args.model, speaker=args.speaker, speakers=args.speakers)
    search = read_search(args)
    stem = loaded.model.stem(SPEECH)
    choice = choose(loaded.model, args.lang)
    data = Inputs(list(_readable(args.files, stem)), stem, speaker=loaded.speaker)
    timed = args.timestamps or args.format in TIMED
    settings: dict[str, Any] = {"chunk": args.chunk, "batch": args.batch, "timed": timed}
    lang = "" if args.lang == AUTO else args.lang
    if search and lang:
        check_files(loaded.model, search, lang)
    settings["decoders"] = beams(loaded.model, search, lang) if search else None
    done = 0
    for told in transcribe(loaded.model, data, choice, **settings):
        if told.transcript is None:
            _complain(told.problem)
        else:
            put(told.id, WRITERS[args.format](told, args.timestamps))
            done += 1
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


def _putter(args: Namespace) -> Callable[[str, str], None]:
    """Give what prints a recording's lines, or writes them to its own file.

    Raises ValueError where files would overwrite each other, or captions follow each other.
    """
    if args.out is None:
        if args.format in CAPTIONS and len(args.files) > 1:
            raise ValueError(f"captions of {len(args.files)} recordings: give a folder, --out DIR")
        return lambda _, text: print(text, end="", flush=True)
    names = [path.stem for path in args.files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"several files are called {twice[0]!r}: give each --out of its own")
    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {args.out} is a file; give a folder")
    suffix = {"text": ".txt"}.get(args.format, f".{args.format}")
    args.out.mkdir(parents=True, exist_ok=True)

    def write(name: str, text: str) -> None:
        atomic_text(args.out / f"{Path(name).stem}{suffix}", text)

    return write


def _text(told: "Told", timed: bool) -> str:
    """Write a line, or one for each caption with its times."""
    from mtl.decode.captions import cues

    assert told.transcript is not None
    text, lang, *_ = told.transcript
    lines = [(told.id, lang, text)]
    if timed:
        found = cues(told.words, told.space)
        lines = [(told.id, lang, f"{c.start:.2f}", f"{c.end:.2f}", c.text) for c in found]  # type: ignore[misc]
    return "".join("\t".join(line) + "\n" for line in lines)


def _json(told: "Told", timed: bool) -> str:
    """Write a line of JSON."""
    assert told.transcript is not None
    text, lang, confidence, _ = told.transcript
    line: dict[str, Any] = {"path": told.id, "lang": lang, "text": text}
    line |= {"confidence": round(confidence, 4), "seconds": round(told.seconds, 3)}
    if timed:
        line["words"] = [word.record() for word in told.words]
    return json.dumps(line, ensure_ascii=False) + "\n"


def _srt(told: "Told", _: bool) -> str:
    from mtl.decode.captions import cues, srt

    return srt(cues(told.words, told.space))


def _vtt(told: "Told", _: bool) -> str:
    from mtl.decode.captions import cues, vtt

    return vtt(cues(told.words, told.space))


def _ctm(told: "Told", _: bool) -> str:
    from mtl.decode.captions import ctm

    return ctm(told.id, told.words)


def _complain(message: str) -> None:
    print(f"mtl: {message}", file=sys.stderr)


WRITERS = {"text": _text, "json": _json, "srt": _srt, "vtt": _vtt, "ctm": _ctm}
CAPTIONS = ("srt", "vtt")
TIMED = (*CAPTIONS, "ctm")
