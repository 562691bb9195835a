"""vocabulary: the symbols of a CTC head, from texts, and other ones for a head that has learnt."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from mtl.head import Head
from mtl.heads.attention import Attention
from mtl.heads.ctc import CTC
from mtl.heads.phoneme import Phoneme
from mtl.heads.pieces import Pieces
from mtl.model import Model
from mtl.phones import WORD, phones
from mtl.pieces import SPACE, train
from mtl.registry import construct, describe
from mtl.text import TextRules, normalise, symbols

TEXTS = ("chars", "bpe", "unigram")  # what texts can be spelled in
SIZED = ("bpe", "unigram")
BY_SYMBOL = ("output", "embed")  # layers of CTC and attention heads that have a row for each symbol
SPACES = {" ": SPACE, SPACE: " "}  # that of characters, and that of pieces where it stands alone
SHOWN = 40  # symbols of each kind that a change names


class Kind(NamedTuple):
    """What a text is spelled in, and of pieces how many."""

    name: str
    size: int = 0


def parse_symbols(
    given: str, kinds: Sequence[str] = (*TEXTS, "phones"), name: str = "symbols"
) -> Kind:
    """Read "chars", "phones", "bpe:500" or "unigram:500". Raises ValueError, calling it `name`.

    >>> parse_symbols("bpe:500")
    Kind(name='bpe', size=500)
    """
    kind, colon, size = given.partition(":")
    number = int(size) if size.isascii() and size.isdecimal() else 0
    if kind not in kinds or (number < 1 if kind in SIZED else bool(colon)):
        choices = " or ".join(f"{kind}:N" if kind in SIZED else kind for kind in kinds)
        hint = ", such as bpe:500" if "bpe" in kinds else ""
        raise ValueError(f"{name} is {given!r}; give {choices}{hint}")
    return Kind(kind, number)


def make_head(
    texts: Iterable[str],
    given: str = "chars",
    rules: Mapping[str, Any] | None = None,
    upsample: int = 1,
) -> CTC:
    """Make the head that spells `texts`, or IPA for "phones", in what `parse_symbols` reads.

    Texts of several languages give them one shared vocabulary. `rules` are the keywords of
    `mtl.text.TextRules`; IPA has none. There are fewer pieces than asked for where the texts hold no more.
    Raises ValueError where no text is left, or the pieces are to be fewer than the characters.

    >>> make_head(["Bad cab!"]).symbols
    [' ', 'a', 'b', 'c', 'd']
    >>> make_head(["nˈeː"], "phones").symbols
    [' ', 'eː', 'n']
    """
    kind = parse_symbols(given)
    if kind.name == "phones":
        return _phoneme(texts, upsample)
    kept = None if rules is None else dict(rules)
    written = [text for text in _written(texts, kept) if text]
    if not written:
        raise ValueError("no text is left by the rules")
    if kind.name == "chars":
        return CTC(symbols(written), upsample, kept)
    return Pieces(train(written, cast(Any, kind.name), kind.size), None, upsample, kept)


def renewed(old: CTC, texts: Iterable[str], given: str = "", add: bool = False) -> CTC:
    """Make the head, without weights, that takes the place of `old` and spells `texts` as `given` says.

    Without `given` it spells as `old` does: characters, phones, or with `add` pieces, which then stay as
    they are while unseen characters come beside them. With `add` it keeps all symbols of `old`, at their
    numbers, and puts behind them those that are new; only symbols of several characters that a head of
    characters never writes are dropped when pieces come. Raises ValueError as `make_head` does, and for what
    does not fit `old`.
    """
    if type(old) not in (CTC, Pieces, Phoneme):
        raise ValueError(f"a head {type(old).__name__} has symbols of its own kind: make it anew")
    kind = parse_symbols(given, kinds(old)) if given else None
    if isinstance(old, Phoneme):
        new: CTC = _phoneme(texts, old.upsample, old.stress)
        return Phoneme(_joined(old, new), old.upsample, old.stress) if add else new
    if isinstance(old, Pieces) and add and (kind is None or kind.name == "chars"):
        return _with_characters(old, texts)
    if isinstance(old, Pieces) and kind is None:
        raise ValueError("this head has pieces: say what it is to get (--symbols), such as bpe:500")
    new = make_head(texts, given or "chars", old.rules, old.upsample)
    if not add:
        return new
    if isinstance(new, Pieces):
        return Pieces(new.pieces, _joined(old, new), old.upsample, old.rules)
    return CTC(_joined(old, new), old.upsample, old.rules)


def kinds(head: CTC) -> tuple[str, ...]:
    """Name what the symbols of a head may be changed to: phones, or what texts are spelled in."""
    return ("phones",) if isinstance(head, Phoneme) else TEXTS


class Change(NamedTuple):
    """What became of a task's symbols; a space that is spelled otherwise, as ` ` or `▁`, is kept."""

    task: str
    kept: list[str]
    new: list[str]
    gone: list[str]

    def __str__(self) -> str:
        total = len(self.kept) + len(self.new)
        parts = [f"{len(self.kept)} of its {total} symbols are old ones"]
        parts += [
            f"{len(found)} {what}" + (f": {_shown(found)}" if found else "")
            for what, found in (("new", self.new), ("gone", self.gone))
        ]
        return f"task {self.task}: {', '.join(parts)}"


def replace_head(model: Model, task: str, head: CTC, seed: int = 0) -> Change:
    """Give a task, and all that share its head, a head of other symbols that keeps what both have.

    The rows of the output layer for blank and for the symbols of both heads are kept, at each of the
    `upsample` frames, and those of the space where one has it as ` ` and the other as the piece `▁`; new
    symbols get those of a layer that `seed` draws. Attention heads that learn beside
    the old head go over to the new symbols in the same way. Nothing else in the model changes. Raises
    ValueError for a task that is unknown or not CTC, for heads that do not fit each other, and where another
    head learns from the same label.
    """
    old, owner = ctc_head(model, task), owner_of(model, task)
    if old.upsample != head.upsample:
        raise ValueError(
            f"upsample is {old.upsample} in the old head and {head.upsample} in the new"
        )
    if type(old.output) is not nn.Linear:
        raise ValueError(f"task {task!r}: {type(old.output).__name__} is no plain output layer")
    judges = _beside(model, owner)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        head.build(old.output.in_features)
        _carry(old, head, old.symbols, head.symbols)
        _install(model, owner, head)
        for name in judges:
            judge = cast(Attention, model.heads[name])
            settings = describe(judge) | {"like": describe(head)}
            new: Attention = construct("heads", settings)
            new.build(judge.norm.normalized_shape[0])
            _carry(judge, new, old.symbols, head.symbols)
            _install(model, name, new)
    sources = _sources(old.symbols, head.symbols)
    return Change(
        owner,
        list(sources),
        [symbol for symbol in head.symbols if symbol not in sources],
        [symbol for symbol in old.symbols if symbol not in sources.values()],
    )


def ctc_head(model: Model, task: str) -> CTC:
    """Give a task's head. Raises ValueError, naming tasks, where it is unknown or not CTC."""
    head = model.head(task)
    if not isinstance(head, CTC):
        found = [name for name, own in model.heads.items() if isinstance(own, CTC)]
        raise ValueError(
            f"task {task!r} has a head {type(head).__name__}, which spells nothing; CTC heads have: "
            f"{', '.join(found) or 'none'}"
        )
    return head


def owner_of(model: Model, task: str) -> str:
    """Name the task whose head a task has: itself, or the one that it shares with."""
    shared = model.tasks[task].head
    return shared if isinstance(shared, str) else task


def labels_of(model: Model, task: str) -> list[str]:
    """Name the labels that a task's head learns from, those of all tasks that share it."""
    owner = owner_of(model, task)
    sharing = [other for other in model.tasks.values() if owner_of(model, other.name) == owner]
    return list(dict.fromkeys(other.label or other.name for other in sharing))


def _beside(model: Model, owner: str) -> list[str]:
    """Name the attention heads that spell as a CTC head does, which will change its symbols.

    Raises ValueError where another head learns from the same label: the two would spell it differently.
    """
    labels, own, found = labels_of(model, owner), describe(model.head(owner)), []
    for name, head in model.heads.items():
        other = model.tasks[name]
        if name == owner or (other.label or name) not in labels:
            continue
        if not isinstance(head, Attention) or head.like != own:
            raise ValueError(
                f"task {name!r} learns from label {other.label or name!r} as well, with a head of its own: "
                f"both would spell it differently; share one head (head={owner!r}) to change its symbols"
            )
        found.append(name)
    return found


def _carry(old: Head, new: Head, before: Sequence[str], now: Sequence[str]) -> None:
    """Give a head the values of another, of its rows by symbol those of blank and of what both have."""
    places, spots = ({s: n for n, s in enumerate(own, 1)} for own in (before, now))
    kept = [(places[there], spots[here]) for here, there in _sources(before, now).items()]
    sources, targets = (list(column) for column in zip((0, 0), *kept, strict=True))
    first = next(old.parameters())
    new.to(first).train(old.training)
    with torch.no_grad():
        for name, value in new.named_parameters():
            former = old.get_parameter(name)
            value.requires_grad_(former.requires_grad)
            if name.split(".")[-2] not in BY_SYMBOL:
                value.copy_(former)
                continue
            rows = former.view(-1, len(before) + 1, *former.shape[1:])
            value.view(len(rows), -1, *value.shape[1:])[:, targets] = rows[:, sources]


def _sources(before: Sequence[str], now: Sequence[str]) -> dict[str, str]:
    """Give for new symbols the old one that each goes on from: itself, or the other sign for a space."""
    known = set(before)
    choices = [(symbol, (symbol, SPACES.get(symbol, symbol))) for symbol in now]
    return {
        symbol: next(sign for sign in signs if sign in known)
        for symbol, signs in choices
        if not known.isdisjoint(signs)
    }


def _install(model: Model, task: str, head: Head) -> None:
    model.heads[task] = head
    model.tasks[task] = model.tasks[task]._replace(head=head)


def _written(texts: Iterable[str], rules: Mapping[str, Any] | None) -> list[str]:
    kept = TextRules(**rules or {})
    return [normalise(text, kept) for text in texts]


def _phoneme(texts: Iterable[str], upsample: int, stress: bool = False) -> Phoneme:
    found = {phone for text in texts for phone in phones(text, stress)}
    if not found:
        raise ValueError("no phonemes to make symbols of")
    return Phoneme(sorted(found | {WORD}), upsample, stress)


def _joined(old: CTC, new: CTC) -> list[str]:
    """List the symbols of both, the old ones first."""
    mute = isinstance(new, Pieces) and not isinstance(old, Pieces)
    kept = [symbol for symbol in old.symbols if not (mute and len(symbol) > 1)]
    there = set(kept)
    return kept + [symbol for symbol in new.symbols if symbol not in there]


def _with_characters(old: Pieces, texts: Iterable[str]) -> Pieces:
    """Put the characters that its sentencepiece model has not seen beside the pieces of a head."""
    found = {piece for text in _written(texts, old.rules) for piece in old.split(text)}
    more = sorted(found - set(old.symbols))
    return Pieces(old.pieces, old.symbols + more, old.upsample, old.rules)


def _shown(found: Sequence[str]) -> str:
    """Name symbols; a space in quotes."""
    some = " ".join(repr(symbol) if symbol.isspace() else symbol for symbol in found[:SHOWN])
    return some + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
