"""Contrived: shifts that need no data, and changes of a target that no adaptation can repair."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtl.data.channels import through
from mtl.data.digits import blended, digits
from mtl.data.images import hold_out
from mtl.data.manifest import read_manifest
from mtl.data.synthetic import make_words
from mtl.device import start_processes
from mtl.problem import Pictures, Recordings, read_problem
from mtl.shift import SIDE, Items, Shift, Side, paired, read_shift

CONTRAST = 0.4  # of the patches under digits
RARE = 10  # one in so many is left of a class that becomes rare


def chosen(
    files: tuple[Sequence[Path], Sequence[Path], Sequence[Path]],
    most: int,
    channel: str = "",
    control: str = "",
    small: bool = False,
) -> Shift:
    """Read the domains that a recipe is asked for, source, target and test, or make them.

    With a `channel` they are of speech. Raises ValueError for files that do not belong together.
    """
    source, target, test = files
    bare = control == "labels"  # there is nothing else to repair
    if channel and (source or (test and not target)):
        raise ValueError("--speech is the source: leave out --source; --test goes with --target")
    if channel and target:
        shift = heard(target, test, most)
    elif channel:
        shift = spoken("" if bare else channel, most, small)
    elif any(files):
        shift = read_shift(source, target, test, most)
    else:
        shift = written(most, coloured=not bare)
    return controlled(shift, control) if control else shift


def written(most: int, coloured: bool = True) -> Shift:
    """Give scikit-learn's digits as source, and others of them as target, over coloured patches."""
    plain, other = hold_out(digits(SIDE), 0.6)
    parts = hold_out(other, 0.35)
    rest = [blended(p, seed, CONTRAST) if coloured else p for seed, p in enumerate(parts)]
    return paired(Pictures(*hold_out(plain, 0.2)), Pictures(*rest), most)


def spoken(channel: str, most: int, small: bool = False) -> Shift:
    """Give English digits of synthetic voices as source, and others through a channel as target.

    `channel` may be empty: then nothing shifts. Raises ImportError without `mtl[corpus]`.
    """
    return paired(_voices("", 0, small), _voices(channel, 1, small), most)


def heard(target: Sequence[Path], test: Sequence[Path], most: int) -> Shift:
    """Give English digits of synthetic voices as source, and manifests as target, as `read_shift` does."""
    return paired(_voices("", 0, False), read_problem(target, test), most)


def _voices(channel: str, seed: int, small: bool) -> Recordings:
    """Say digits, each with 38 voices to learn from and 8 others to test on, all of them the same ones."""
    takes, test = (2, 1) if small else (76, 40)
    parts, state = (
        make_words("en", range(10), takes, dev=0, test=test, seed=seed),
        start_processes(),
    )
    files = [parts["train"], parts["test"]]
    if channel:
        if state.is_main_process:
            _ = [through(file, channel) for file in files]
        state.wait_for_everyone()
        files = [through(file, channel) for file in files]
    train, held = map(read_manifest, files)
    return Recordings(train, held)


def renamed(items: Items, classes: Sequence[str]) -> list[Any]:
    """Give each item the class behind its own, the last one the first.

    >>> [picture.label for picture in renamed(digits(8)[:3], list("012"))]
    ['1', '2', '0']
    """
    after = dict(zip(classes, [*classes[1:], classes[0]], strict=True))
    return [replace(item, label=after[str(item.label)]) for item in items]


def thinned(items: Items, classes: Sequence[str]) -> list[Any]:
    """Keep all of the first half of the classes, and every tenth item of each other one, the first included.

    >>> sorted(picture.label for picture in thinned(digits(8)[:20], list("0123456789")))
    ['0', '0', '1', '1', '2', '2', '3', '3', '4', '4', '5', '6', '7', '8', '9']
    """
    seen = dict.fromkeys(classes[len(classes) // 2 :], 0)
    kept = []
    for item in items:
        label = str(item.label)
        if seen.get(label, 0) % RARE == 0:
            kept.append(item)
        if label in seen:
            seen[label] += 1
    return kept


CONTROLS: Mapping[str, Callable[[Items, Sequence[str]], list[Any]]] = {
    "concept": renamed,
    "labels": thinned,
}


def controlled(shift: Shift, control: str) -> Shift:
    """Change the target's training and test part alike, by the control of this name.

    "concept": the same inputs mean another class than in the source, so that nothing but labels could tell.
    "labels": classes are not as frequent as in the source. Who makes the features of both domains alike
    has to mix classes up then: at least as many as the frequencies differ (Zhao et al. 2019, theorem 4.3).
    """
    change, classes, old = CONTROLS[control], shift.classes, shift.target
    parts = [change(items, classes) for items in (old.train, old.test)]
    target: Side = (
        Recordings(parts[0], parts[1], old.notes)
        if isinstance(old, Recordings)
        else Pictures(parts[0], parts[1])
    )
    return shift._replace(target=target)
