"""LM: n-grams by interpolated modified Kneser-Ney smoothing. Chen and Goodman 1998; Heafield et al. 2013.

The model is the one that `lmplz` of KenLM makes of the same text, discounts, <unk> and pruning included, so
that the decoder's KenLM, whose Python package only reads models, has one to read.
"""

import gzip
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple

from mtl.atomic import atomic_file

BOS, EOS, UNK = "<s>", "</s>", "<unk>"
SPACE = "<space>"  # a space as a symbol: a model file parts its symbols by spaces
ORDERS = range(2, 7)  # that KenLM, as it is packaged, reads
_BINARY = b"mmap lm http://kheafield.com/code"  # with which KenLM's own files begin
FALLBACK = (0.5, 1.0, 1.5)  # discounts where a text is too small for its own; those of lmplz
Gram = tuple[str, ...]


class NGrams(NamedTuple):
    """An n-gram model with back-off.

    `probabilities` holds those of the n-grams, a dict per length, and `backoffs` the weight that each context
    gives to what has not followed it. `discounts` are those of n-grams seen once, twice and more often, by
    length; `fallen_back` lists the lengths whose discounts could not be estimated and are `FALLBACK`.
    """

    probabilities: list[dict[Gram, float]]
    backoffs: dict[Gram, float]
    discounts: list[tuple[float, ...]]
    fallen_back: list[int]

    @property
    def order(self) -> int:
        """Give the length of the longest n-grams."""
        return len(self.probabilities)

    @property
    def words(self) -> list[str]:
        """List what may follow a context: all words, <unk> and </s>."""
        return [word for (word,) in self.probabilities[0]]

    def probability(self, word: str, context: Sequence[str] = ()) -> float:
        """Give the probability of `word` after `context`, which begins with <s> at a sentence's start."""
        history = tuple(context)[max(0, len(context) - self.order + 1) :]
        word = word if (word,) in self.probabilities[0] else UNK
        weight = 1.0
        while (*history, word) not in self.probabilities[len(history)]:
            weight *= self.backoffs.get(history, 1.0)
            history = history[1:]
        return weight * self.probabilities[len(history)][(*history, word)]

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Give the perplexity per word, </s> being one. Raises ValueError where there is no sentence.

        >>> model = estimate([["a", "b"], ["a", "c"]], order=2)
        >>> model.perplexity([["a", "b"]]) < model.perplexity([["c", "a"]])
        True
        """
        logs: list[float] = []
        for sentence in sentences:
            padded = [BOS, *sentence, EOS]
            logs += [
                math.log(self.probability(padded[i], padded[:i])) for i in range(1, len(padded))
            ]
        if not logs:
            raise ValueError("no sentence to measure the perplexity on")
        return math.exp(-sum(logs) / len(logs))

    def write(self, path: str | Path) -> None:
        """Write an ARPA file, which appears whole or not at all."""
        with atomic_file(Path(path)) as partial, partial.open("w", encoding="utf-8") as file:
            file.writelines(self._lines())

    def _lines(self) -> Iterator[str]:
        yield "\\data\\\n"
        for length, grams in enumerate(self.probabilities, 1):
            yield f"ngram {length}={len(grams) + (length == 1)}\n"
        for length, grams in enumerate(self.probabilities, 1):
            yield f"\n\\{length}-grams:\n"
            if length == 1:  # a context that is never predicted
                yield f"-99\t{BOS}\t{self._backoff((BOS,))}\n"
            for gram, probability in grams.items():
                more = "" if length == self.order else f"\t{self._backoff(gram)}"
                yield f"{math.log10(probability):.7g}\t{' '.join(gram)}{more}\n"
        yield "\n\\end\\\n"

    def _backoff(self, context: Gram) -> str:
        return f"{math.log10(self.backoffs.get(context, 1.0)):.7g}"


def estimate(
    sentences: Iterable[Sequence[str]], order: int = 3, prune: Sequence[int] = ()
) -> NGrams:
    """Estimate n-grams of up to `order` words from sentences, which are read once.

    The probability of a word is that of the n-gram, its count lowered by a discount, plus what the discounts
    of its context freed, shared out by the next shorter n-gram (Chen and Goodman, equation 20). Counts of the
    shorter ones are of the different words before them. The shortest share out evenly over all words, <unk>
    among them. Where counts of counts give no discounts (equation 26), those of `FALLBACK` are taken.
    `prune` gives, by length from 1, the count up to which n-grams are left out; the last holds for longer
    ones. Raises ValueError for an order that KenLM does not read, thresholds that fall or drop words, and a
    text that is empty or holds <s>, </s> or <unk>.

    >>> model = estimate([["a", "b"], ["a", "c"]], order=2)
    >>> round(sum(model.probability(word, ["a"]) for word in model.words), 6)
    1.0
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order}; KenLM reads {ORDERS.start} to {ORDERS.stop - 1}")
    thresholds = _thresholds(prune, order)
    counts = _count(sentences, order)
    found: list[dict[Gram, float]] = []
    backoffs: dict[Gram, float] = {}
    discounts, fallen_back = [], []
    for length, adjusted in enumerate(_adjust(counts), 1):
        own = discounts_of(adjusted.values())
        discounts.append(own or FALLBACK)
        fallen_back += [] if own else [length]
        least = thresholds[length - 1]
        dropped = {gram for gram in adjusted if least and counts[length - 1][gram] <= least}
        if length == 1:
            adjusted[(UNK,)] = 0
        even = 1 / len(adjusted)
        lower = found[-1].__getitem__ if found else lambda _, even=even: even
        probabilities, freed = _smooth(adjusted, dropped, discounts[-1], lower)
        found.append(probabilities)
        backoffs |= freed
    del backoffs[()]  # what the shortest freed is part of their probabilities
    return NGrams(found, backoffs, discounts, fallen_back)


def discounts_of(counts: Iterable[int]) -> tuple[float, ...] | None:
    """Estimate the discounts of counts 1, 2 and from 3; None where there are too few counts for it.

    >>> discounts_of([1] * 6 + [2] * 3 + [3] * 2 + [4])
    (0.5, 1.0, 2.0)
    """
    n = Counter(count for count in counts if count < 5)
    if not (n[1] and n[2] and n[3]):
        return None
    y = n[1] / (n[1] + 2 * n[2])
    found = tuple(j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3))
    # Nothing freed would leave words impossible, more than the count would leave less than nothing.
    return found if all(0 < discount <= j for j, discount in enumerate(found, 1)) else None


def tokens(text: str, unit: str) -> list[str]:
    """Cut a text into words or characters; a space becomes "<space>".

    >>> tokens("to be", "words"), tokens("to be", "characters")
    (['to', 'be'], ['t', 'o', '<space>', 'b', 'e'])
    """
    if unit == "words":
        return text.split()
    return [SPACE if char == " " else char for char in text]


def _thresholds(prune: Sequence[int], order: int) -> list[int]:
    given = list(prune) or [0]
    if given[0] != 0 or given != sorted(given) or len(given) > order:
        raise ValueError(
            f"prune is {tuple(prune)}; give at most {order} counts, the first 0 as no word is dropped, "
            "and none below the one before it, such as (0, 0, 1)"
        )
    return given + given[-1:] * (order - len(given))


class NoSentence(ValueError):
    """Texts that hold nothing to estimate from."""


def _count(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Gram]]:
    """Count the n-grams of each length."""
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for number, sentence in enumerate(sentences, 1):
        if taken := {BOS, EOS, UNK}.intersection(sentence):
            raise ValueError(
                f"sentence {number} holds {', '.join(sorted(taken))}, which an n-gram model keeps for "
                "its own use: leave it out of the text"
            )
        padded = (BOS, *sentence, EOS)
        for length, counter in enumerate(counts, 1):
            counter.update(zip(*(islice(padded, i, None) for i in range(length)), strict=False))
    if not counts[0]:
        raise NoSentence("no sentence to estimate a language model from")
    return counts


def _adjust(counts: Sequence[Counter[Gram]]) -> Iterator[dict[Gram, int]]:
    """Count, by length, in how many ways n-grams are continued to the left; the longest as they are.

    Nothing stands before <s>: n-grams that begin with it keep their counts.
    """
    for own, longer in pairwise(counts):
        adjusted = Counter(gram[1:] for gram in longer)
        first = {gram: count for gram, count in own.items() if gram[0] == BOS and len(gram) > 1}
        yield {**adjusted, **first}
    yield dict(counts[-1])


def _smooth(
    adjusted: Mapping[Gram, int],
    dropped: set[Gram],
    discounts: Sequence[float],
    lower: Callable[[Gram], float],
) -> tuple[dict[Gram, float], dict[Gram, float]]:
    """Give the probabilities of the n-grams that stay, and the share that each context has freed."""
    taken = (0.0, *discounts)
    totals: dict[Gram, int] = defaultdict(int)
    freed: dict[Gram, float] = defaultdict(float)
    for gram, count in adjusted.items():
        context = gram[:-1]
        totals[context] += count
        freed[context] += count if gram in dropped else taken[min(count, 3)]
    shares = {context: freed[context] / total for context, total in totals.items()}
    probabilities = {
        gram: (count - taken[min(count, 3)]) / totals[gram[:-1]]
        + shares[gram[:-1]] * lower(gram[1:])
        for gram, count in adjusted.items()
        if gram not in dropped
    }
    return probabilities, shares


def vocabulary(path: str | Path) -> list[str]:
    """List the words of a model in a file, ARPA (also .gz) or KenLM binary, without <s>, </s> and <unk>.

    Raises ValueError for a file that is neither, or a binary that was made without its words.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(len(_BINARY))
    words = _binary_words(path) if start == _BINARY else _arpa_words(path)
    return [word for word in words if word.lower() not in (BOS, EOS, UNK)]


def _binary_words(path: Path) -> Iterator[str]:
    """KenLM appends the words to its tables, each with a zero byte behind it, <unk> first."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        start = content.rfind(b"<unk>\0")
        if start < 0:
            raise ValueError(
                f"{path}: the words were left out of this KenLM binary; give its words as a lexicon"
            )
        yield from content[start:].decode("utf-8").rstrip("\0").split("\0")


def _arpa_words(path: Path) -> Iterator[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as file:
        if not any(line.strip() == "\\1-grams:" for line in islice(file, 100)):
            raise ValueError(f"{path}: neither an ARPA file nor a KenLM binary")
        for line in file:
            fields = line.split()
            if fields and fields[0].startswith("\\"):
                return
            yield from fields[1:2]
