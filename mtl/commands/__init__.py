"""Commands: the `mtl` commands, one file each, and what several of them need.

A command file has `arguments(parser)` and `run(args) -> exit code`; its docstring is its help. It imports
torch, and what imports torch, inside functions: `mtl --help` should take no seconds.
"""

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl.decode.beam import Search


def count(text: str) -> int:
    """Read a whole number from 0, for argparse."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def json_option(parser: ArgumentParser, what: str = "one JSON object") -> None:
    """Declare `--json`."""
    parser.add_argument("--json", action="store_true", help=f"print {what}")


def print_json(found: Any) -> None:
    """Print on one line, paths as texts; numbers that JSON does not know, such as infinity, as null.

    >>> print_json({"fit": float("-inf"), "word": "né"})
    {"fit": null, "word": "né"}
    """
    plain = json.loads(json.dumps(found, default=str), parse_constant=lambda _: None)
    print(json.dumps(plain, ensure_ascii=False), flush=True)


def search_options(parser: ArgumentParser) -> None:
    """Declare the options of a beam search, any of which turns it on."""
    group = parser.add_argument_group("beam search (needs the extra 'lm')")
    add = group.add_argument
    files = "FILE|LANG=FILE,..."
    add("--beam", type=count, metavar="N", help="texts kept after each frame, 50 unless told")
    add("--lm", metavar=files, help="n-gram model, ARPA or KenLM binary: see `mtl lm`")
    add("--lexicon", metavar=files, help="words that may be written: a line for each")
    hot = "words and phrases that are expected, with commas between"
    add("--hotwords", type=_phrases, metavar="WORDS", help=hot)
    bonus = "added for each hot word found, 5 unless told"
    add("--hotword-weight", type=float, metavar="NATS", help=bonus)
    add("--lm-weight", type=float, metavar="W", help="weight of the model, 0.5 unless told")
    add("--word-score", type=float, metavar="NATS", help="added for each word, 0 unless told")


def read_search(args: Namespace) -> "Search | None":
    """Give the beam search that the options ask for.

    Raises ValueError for values out of range, and for what would do nothing: a weight of what is not given.
    """
    names = ("beam", "lm", "lexicon", "hotwords", "hotword_weight", "lm_weight", "word_score")
    given = {name: getattr(args, name) for name in names}
    if all(value is None for value in given.values()):
        return None
    for name in ("lm", "lexicon"):
        if given[name] == "":
            raise ValueError(f"--{name} is empty: name a file, or leave the option out")
    for weight, what in (("lm_weight", "lm"), ("hotword_weight", "hotwords")):
        if given[weight] is not None and given[what] is None:
            raise ValueError(f"--{weight.replace('_', '-')} does nothing without --{what}")
    from mtl.decode.beam import Search

    return Search(**{name: value for name, value in given.items() if value is not None})


def _phrases(text: str) -> tuple[str, ...]:
    if not (phrases := tuple(phrase.strip() for phrase in text.split(",") if phrase.strip())):
        raise ArgumentTypeError(f"{text!r} holds no words")
    return phrases
