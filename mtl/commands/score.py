"""score: rank source models for a target, say which to start from and why, and warn of those that hurt.

The models are not trained: they see or hear the target's labelled examples (an .npz file, a folder of
classes or manifests). With --sources, what each model learnt from, distances of the data are given as well.

    mtl score --models runs/a/model runs/b/model --data target.npz
    mtl score --models runs/de/model runs/fr/model --sources de.jsonl fr.jsonl --data nl.jsonl
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl.commands import count, json_option, print_json

if TYPE_CHECKING:
    from mtl.advice import Source
    from mtl.problem import Pictures, Recordings

SCORES = ("leep", "nce", "logme", "hscore", "transrate")


def arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--models", nargs="+", required=True, metavar="DIR_OR_ID", help="saved models, or hub ids")
    data = "labelled examples of the target; manifests may be several"
    add("--data", nargs="+", type=Path, required=True, metavar="FILE", help=data)
    sources = "what each model learnt from, one file or folder each, in the order of --models"
    add("--sources", nargs="+", type=Path, default=[], metavar="FILE", help=sources)
    add("--by", choices=SCORES, default="logme", help="the score that ranks (default: logme)")
    margin = "lead from which to transfer, such as recipes/choose_source.py finds (default: 0)"
    add("--margin", type=float, default=0.0, metavar="LEAD", help=margin)
    add("--most", type=count, default=1000, metavar="N", help="examples to look at (default: 1000)")
    json_option(parser)


def run(args: Namespace) -> int:
    """Print the table and the advice."""
    from mtl.advice import advise, decision
    from mtl.problem import read_problem

    if args.sources and len(args.sources) != len(args.models):
        raise ValueError(
            f"{len(args.models)} models, {len(args.sources)} sources: give one for each, or none"
        )
    if args.most < 10:
        raise ValueError(f"--most is {args.most}; scores need 10 examples at least")
    target = read_problem(args.data)
    pairs = list(zip(args.models, args.sources or [None] * len(args.models), strict=True))
    sources = [_source(name, learnt, target, args.most) for name, learnt in pairs]
    verdicts = advise(sources, args.by, args.margin)
    if args.json:
        found = [verdict._asdict() | {"source": verdict.source._asdict()} for verdict in verdicts]
        print_json({"by": args.by, "verdicts": found, "decision": decision(verdicts)})
        return 0
    _table([verdict.source for verdict in verdicts])
    for verdict in verdicts:
        word = "yes" if verdict.transfer else "no"
        print(f"{verdict.source.name}\t{word}\t{args.by} {verdict.lead:+.4f}\t{verdict.why}")
    for line in decision(verdicts):
        print(line)
    return 0


def _source(name: str, learnt: Path | None, target: "Pictures | Recordings", most: int) -> "Source":
    """Let one model see the target, and what it learnt from."""
    import numpy as np

    from mtl.advice import Source
    from mtl.model import Model
    from mtl.problem import read_problem
    from mtl.scored import distances, entropy, look, scores, untrained

    model, items = Model.from_pretrained(name), _some(target.train, most)
    try:
        seen = look(model, target, items)
        far = {}
        if learnt is not None:
            own = read_problem([learnt])
            far = distances(look(model, own, _some(own.train, most)).features, seen.features)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    known = scores(seen)
    bare = scores(look(untrained(model), target, items))
    each = len(target.train) / len(np.unique(seen.labels))
    return Source(name, known, bare, far, entropy(seen.labels), each)


def _table(sources: "Sequence[Source]") -> None:
    """Print what was measured of each source, the best first, and of untrained networks beside it."""
    scores = [name for name in SCORES if any(name in source.scores for source in sources)]
    far = list(dict.fromkeys(name for source in sources for name in source.distances))
    print("model", *scores, *far, sep="\t")
    for source in sources:
        found = [source.scores.get(name) for name in scores]
        print(source.name, *map(_shown, [*found, *map(source.distances.get, far)]), sep="\t")
        bare = [
            source.untrained.get(name) if name not in ("leep", "nce") else None for name in scores
        ]
        print("  untrained", *map(_shown, bare), sep="\t")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _some(items: Sequence[Any], most: int) -> list[Any]:
    """Choose at most so many, always the same."""
    import random

    return random.Random(0).sample(list(items), min(most, len(items)))
