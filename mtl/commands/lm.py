"""lm: estimate an n-gram language model from texts, for a beam search.

Takes text files, a sentence per line, and manifests (.jsonl), whose texts it reads. They are written as a
model writes: small letters and no punctuation, or by the rules of --model. Writes an ARPA file.

    mtl lm train.jsonl --lang ru --out ru.arpa
    mtl lm news.txt --out letters.arpa --unit characters --order 6
"""

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.commands import json_option, print_json

if TYPE_CHECKING:
    from mtl.decode.lm import NGrams

UNITS = ("words", "characters", "symbols")
Cut = Callable[[str], list[str]]


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("texts", nargs="+", type=Path, metavar="TEXT", help="text files or manifests (.jsonl)")
    add("--out", required=True, type=Path, metavar="FILE", help="the ARPA file to write")
    add("--order", type=int, default=3, metavar="N", help="longest n-grams, 2 to 6 (default: 3)")
    units = "what n-grams are of; symbols: of a model's head, such as pieces (default: words)"
    add("--unit", choices=UNITS, default="words", help=units)
    prune = "count up to which n-grams are left out, by length, such as 0,0,1; the first must be 0"
    add("--prune", type=_counts, default=(), metavar="N,...", help=prune)
    add("--lang", help="take the lines of this language from manifests (default: all)")
    add("--model", metavar="DIR_OR_ID", help="write texts by the rules of this model")
    add("--task", help="which of its tasks (default: that of --lang, or the only one that writes)")
    add("--raw", action="store_true", help="take texts as they are, but for white space")
    add("--test", type=Path, metavar="TEXT", help="measure the perplexity on this file or manifest")
    json_option(parser)


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"{text!r}: write counts with commas, such as 0,0,1") from None


class Reader:
    """Sentences of files, cut into units; what is left out is counted, with the first place of each kind."""

    def __init__(self, field: str, lang: str | None, cut: Cut) -> None:
        self.field, self.lang, self.cut = field, lang, cut
        self.lines = self.units = 0
        self.left: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def __call__(self, paths: Iterable[Path]) -> Iterator[list[str]]:
        """Read files, a sentence at a time."""
        for where, text in (line for path in paths for line in self._lines(path)):
            try:
                units = self.cut(text)
            except ValueError as error:  # no symbols for it
                self._leave("not spelled by the head", f"{where}: {error}")
                continue
            if units:
                self.lines, self.units = self.lines + 1, self.units + len(units)
                yield units
            else:
                self._leave("empty", where)

    def _lines(self, path: Path) -> Iterator[tuple[str, str]]:
        """Give file:line and text."""
        number = 0
        try:
            with path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    where = f"{path.name}:{number}"
                    if path.suffix != ".jsonl":
                        yield where, line
                    elif line.strip():
                        yield from self._told(where, line)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: not UTF-8 after line {number} ({error.reason}): convert the file"
            ) from error

    def _told(self, where: str, line: str) -> Iterator[tuple[str, str]]:
        """Give the text of a manifest's line, if it is of the language."""
        try:
            record = json.loads(line)
            text, lang = record.get(self.field) or "", record.get("lang")
            if not isinstance(text, str):
                raise ValueError(f"{self.field} is {text!r}, no text")
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{where}: no line of a manifest ({error})") from error
        if self.lang is None or lang == self.lang:
            yield where, text
        else:
            self._leave(f"not {self.lang}", where)

    def _leave(self, kind: str, where: str) -> None:
        self.left[kind] += 1
        self.first.setdefault(kind, where)


def run(args: Namespace) -> int:
    """Estimate, write and say what was found."""
    from mtl.decode.lm import NoSentence, estimate

    _refuse(args)
    field, cut = _cutter(args)
    read, test = (Reader(field, args.lang, cut) for _ in range(2))
    try:
        model = estimate(read(args.texts), args.order, args.prune)
    except NoSentence as error:
        raise ValueError(_nothing(args, read)) from error
    perplexity = model.perplexity(test([args.test])) if args.test else None
    model.write(args.out)
    notes = _notes(args, model, read)
    if args.json:
        measured = {"perplexity": perplexity, "test_lines": test.lines} if args.test else {}
        counts = {"lines": read.lines, "units": read.units}
        sizes = [len(grams) for grams in model.probabilities]
        print_json({"out": args.out, **counts, "ngrams": sizes, **measured, "notes": notes})
        return 0
    for line in notes:
        print(line)
    if perplexity is not None:
        print(f"{args.test}: perplexity {perplexity:.4g} in {test.lines:,} lines, ends included")
        for line in _left(test):
            print(line)
    return 0


def _refuse(args: Namespace) -> None:
    """Raise ValueError where the model would be written over a text."""
    texts = [*args.texts, args.test] if args.test else args.texts
    if args.out.resolve() in [path.resolve() for path in texts]:
        raise ValueError(f"--out {args.out} is one of the texts to read; name another file")


def _cutter(args: Namespace) -> tuple[str, Cut]:
    """Say which field of a manifest is read, and how its texts are cut."""
    from mtl.decode.lm import SPACE, tokens
    from mtl.text import TextRules, normalise

    if args.raw and args.model:
        raise ValueError(
            "--raw takes texts as they are, --model writes them by its rules: give one"
        )
    if (args.unit == "symbols" or args.task) and not args.model:
        raise ValueError(f"{'--task' if args.task else '--unit symbols'} needs --model")
    if args.raw:
        return "text", lambda text: tokens(" ".join(text.split()), args.unit)
    if not args.model:
        return "text", lambda text: tokens(normalise(text, TextRules()), args.unit)
    field, head = _head(args)
    if args.unit != "symbols":
        return field, lambda text: tokens(head.reference(text), args.unit)
    names = ["", *(SPACE if symbol == " " else symbol for symbol in head.symbols)]

    def cut(text: str) -> list[str]:
        written = text.strip() and head.reference(text)
        return [names[number] for number in head.encode(text).tolist()] if written else []

    return field, cut


def _head(args: Namespace) -> tuple[str, Any]:
    """Load the head whose rules hold, and say which field of a manifest it learns from."""
    from mtl.languages import writers
    from mtl.load import load

    model = load(args.model, device="cpu").model
    known = writers(model)
    name = args.task or known.get(args.lang) or known.get("text")
    if name is None and len(known) == 1:
        (name,) = known.values()
    if name is None:
        some = ", ".join(known) or "none that writes"
        raise ValueError(f"give --task, or --lang of one of the model's languages: {some}")
    head = model.head(name)
    if not hasattr(head, "symbols"):
        raise ValueError(f"task {name!r} writes no symbols; those that do: {', '.join(known)}")
    label = model.tasks[name].label or name
    return "phonemes" if label.endswith("phonemes") else "text", head


def _notes(args: Namespace, model: "NGrams", read: Reader) -> list[str]:
    """Say what was made of what."""
    sizes = ", ".join(f"{len(grams):,} {n}-grams" for n, grams in enumerate(model.probabilities, 1))
    lines = [f"{args.out}: {sizes}, of {read.units:,} {args.unit} in {read.lines:,} lines"]
    if model.fallen_back:
        lengths = ", ".join(f"{length}-grams" for length in model.fallen_back)
        lines.append(f"too little text for discounts of {lengths}: 0.5, 1 and 1.5 are taken")
    if not any(model.probabilities[1:]):
        lines.append(
            f"--prune leaves nothing longer than 1-grams, so that no {args.unit} depend on those before: "
            "prune less"
        )
    return lines + _left(read)


def _nothing(args: Namespace, read: Reader) -> str:
    """Say that no text is left, and why."""
    texts = ", ".join(map(str, args.texts))
    of, other = (f" of language {args.lang}", ", or another --lang") if args.lang else ("", "")
    why = "; ".join([*_left(read), f"give other texts{other}"])
    return f"{texts}: no sentence{of} to estimate from; {why}"


def _left(read: Reader) -> list[str]:
    return [
        f"left out {count:,} lines ({kind}), the first {read.first[kind]}"
        for kind, count in read.left.items()
    ]
