"""Spelling: what recipes/spelling.py needs: a language's utterances and words, and word errors."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl.data.manifest import Utterance, read_manifest
from mtl.data.speech import Speech
from mtl.data.synthetic import make_corpus
from mtl.evaluate import evaluate
from mtl.heads.ctc import CTC
from mtl.lexicon import describe_left, read_lexicon, spell, write_lexicon
from mtl.model import Model
from mtl.predict import Decoder
from mtl.text import TextRules, normalise


def one_language(
    lang: str, train: int, test: int, data: Sequence[Path] = (), tests: Sequence[Path] = ()
) -> tuple[list[Utterance], list[Utterance]]:
    """Read, or make where `data` names no manifest, utterances of a language to learn from and to test on.

    Raises ValueError where one of the two is given alone, and where there are fewer than `train` to learn
    from, or none to test on.
    """
    if bool(data) != bool(tests):
        given, other = ("data", "test") if data else ("test", "data")
        raise ValueError(f"--{given} is given alone; give manifests for --{other} as well")
    parts: list[Sequence[Path]] = [data, tests]
    if not data:
        made = make_corpus({lang: train}, dev=4, test=test)
        parts = [[made["train"]], [made["test"]]]
    learnt, tested = (
        [u for path in paths for u in read_manifest(path) if u.lang == lang] for paths in parts
    )
    if len(learnt) < train or not tested:
        raise ValueError(
            f"{lang}: {len(learnt)} utterances to learn from, {train} are wanted, and {len(tested)} to test"
        )
    return learnt, tested


def words(lexicon: str, *parts: Iterable[Utterance]) -> list[str]:
    """List the words of a lexicon or, where none is named, of texts. Raises what `read_lexicon` raises."""
    if lexicon:
        return list(read_lexicon(lexicon)[0])
    texts = [normalise(utterance.text, TextRules()) for part in parts for utterance in part]
    return sorted({word for text in texts for word in text.split()})


def pronounced(
    head: CTC, vocabulary: Sequence[str], lang: str, path: Path
) -> tuple[str, list[str]]:
    """Write the lexicon of a head to `path`; give that, and a note where it cannot spell every word."""
    lexicon, left = spell(head, vocabulary, lang)
    write_lexicon(path, lexicon)
    return str(path), describe_left(left, len(vocabulary))


def word_errors(
    model: Model, data: Speech, task: str, decoders: Mapping[str, Decoder] | None = None
) -> dict[str, Any]:
    """Give the word error rate of a task, with the counts of each utterance, as `mtl.tally` takes them."""
    rows = evaluate(model, {"speech": data}, decoders=decoders).of(task)
    counts: list[Any] = [[*row.counts["wer"], row.group] for row in rows]
    rate = sum(row[0] for row in counts) / sum(row[1] for row in counts)
    return {"metric": "wer", "value": rate, "n": len(counts), "counts": counts}
