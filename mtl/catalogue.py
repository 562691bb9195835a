"""Catalogue: what there is, by the files' own first lines, and where each way to transfer stands.

A file begins `NAME: idea. Authors year. Topic: adaptation.`; nothing is imported, as extras may be missing.
Textbooks sort transfer by what is labelled of source and target, by whether both have the same features, by
the setting that follows from the labels, and by what is transferred (Pan and Yang 2010, section 2).
"""

import ast
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

LABELLED, UNLABELLED = "labelled", "unlabelled"
INDUCTIVE, TRANSDUCTIVE, UNSUPERVISED = "inductive", "transductive", "unsupervised"


class Place(NamedTuple):
    """Where a way to transfer stands, and a command that tries it; {name} is the file's.

    `what` is transferred: instance, feature, parameter or relation.
    """

    what: str
    command: str
    source: str = LABELLED
    target: str = LABELLED
    features: str = "homogeneous"

    @property
    def labels(self) -> str:
        """Say what is labelled."""
        return f"{self.source} source, {self.target} target"

    @property
    def setting(self) -> str:
        """Name the setting that follows from the labels.

        >>> Place("feature", "", LABELLED, UNLABELLED).setting
        'transductive'
        """
        if self.target == LABELLED:
            return INDUCTIVE
        return TRANSDUCTIVE if self.source == LABELLED else UNSUPERVISED


class Entry(NamedTuple):
    """A file: its folder, name, first lines in parts, and its place where it is a way to transfer."""

    folder: str
    name: str
    title: str
    idea: str
    paper: str
    topic: str
    place: Place | None


TREES: dict[str, tuple[str, ...]] = {  # the branches of each tree, in the textbook's order
    "labels": tuple(
        f"{source} source, {target} target"
        for source in (LABELLED, UNLABELLED)
        for target in (LABELLED, UNLABELLED)
    ),
    "features": ("homogeneous", "heterogeneous"),
    "setting": (INDUCTIVE, TRANSDUCTIVE, UNSUPERVISED),
    "what": ("instance", "feature", "parameter", "relation"),
}


def _recipe(name: str, options: str = "") -> str:
    return f"accelerate launch recipes/{name}.py {options}".strip()


_TO_UNLABELLED = {"target": UNLABELLED}
_FROM_UNLABELLED = {"source": UNLABELLED}
_ALIKE = Place("feature", _recipe("domain_adaptation", "--method {name}"), **_TO_UNLABELLED)
_SPEAKER = Place("parameter", _recipe("speaker_adaptation", "--adapt {name}"))
_WEIGHED = Place("instance", _recipe("instance_transfer"), **_TO_UNLABELLED)
_TAUGHT = Place("feature", _recipe("self_taught"), **_FROM_UNLABELLED)
_HEARD = Place("feature", _recipe("self_taught", "--speech"), **_FROM_UNLABELLED)
_SHOT = Place("feature", _recipe("one_shot", "--arms {name}"))
_UNSEEN = Place("feature", _recipe("zero_shot", "--arms {name}"), **_TO_UNLABELLED)
PLACES: dict[
    str, Place
] = {  # by folder, by folder and topic, or by file: the last that fits counts
    "balance": Place("parameter", _recipe("image_multitask", "--balance {name}")),
    "methods: adaptation": _ALIKE,
    "tune: adaptation": _SPEAKER,
    "instances": _WEIGHED,
    "stems/frames": Place("feature", _recipe("heterogeneous"), features="heterogeneous"),
    "stems/patches": Place("feature", _recipe("speech_and_images"), features="heterogeneous"),
    "heads/attribute": _UNSEEN._replace(command=_recipe("zero_shot", "--arms softmax")),
    "heads/conse": _UNSEEN,
    "heads/dap": _UNSEEN,
    "heads/eszsl": _UNSEEN._replace(command=_recipe("zero_shot", "--arms hog+eszsl")),
    "heads/upm": Place("parameter", _recipe("unheard_languages"), **_TO_UNLABELLED),
    "heads/matching": _SHOT,
    "heads/prototype": _SHOT,
    "heads/siamese": _SHOT,
    "methods/compress": Place("parameter", _recipe("progressive", "--arms compress")),
    "methods/conservative": Place("parameter", _recipe("fine_tune", "--ways scratch,full,kl")),
    "methods/hubert": _HEARD,
    "methods/l2sp": Place("parameter", _recipe("fine_tune", "--ways scratch,full,l2sp")),
    "methods/relation": Place("relation", "python -m pydoc mtl.methods.relation"),
    "methods/simmim": _TAUGHT,
    "tune/domain_norm": Place(
        "feature",
        _recipe("domain_adaptation", "--statistics own --network torchvision:resnet18"),
        **_TO_UNLABELLED,
    ),
    "tune/layers": Place("parameter", _recipe("layer_transfer")),
    "tune/lora_columns": Place("parameter", "python -m pydoc mtl.tune.lora_columns"),
    "tune/progressive": Place("parameter", _recipe("progressive", "--arms scratch,progressive")),
    "tune/vector": Place("parameter", _recipe("multilingual_asr", "--net.language vector")),
    "tune/weighted": Place("feature", "python -m pydoc mtl.tune.weighted", **_FROM_UNLABELLED),
    "instances/tradaboost": Place("instance", _recipe("instance_transfer")),
    "cluster/kmeans": _HEARD,
    "cluster/sparse_coding": _TAUGHT,
    "cluster/stc": _TAUGHT._replace(target=UNLABELLED),
}
# Measured figures of the file, as the docstring of the command's recipe has them.
FIGURES: dict[str, str] = {
    "cluster/sparse_coding": "7.6 % errors, random dictionary 8.3 %, raw pixels 11.4 %",
    "cluster/stc": "NMI of short texts .59, alone .10; of whole digits .63, alone .70",
    "heads/eszsl": "76.9 % of 3 unseen digits right, by strokes",
    "instances/kmm": "rank correlation with the true ratio .962",
    "instances/logistic": "rank correlation with the true ratio .955",
    "instances/tradaboost": "13.9 % errors with 10 labels, balanced 13.6 %, target only 59.4 %",
    "instances/ulsif": "rank correlation with the true ratio .961",
    "methods/conservative": "84.8 % right with 5 examples a class, plain 85.2 %, from scratch 81.8 %",
    "methods/l2sp": "83.0 % right with 5 examples a class, plain 85.2 %, from scratch 81.8 %",
    "methods/simmim": "11.5 % errors, untrained network 11.9 %",
    "tune/adapter": "CER 16.6 % with 1 utterance, unadapted 20.4 %",
    "tune/layers": "first layer frozen costs 0.6 points of CER (-0.3 to 1.3)",
    "tune/lhuc": "CER 19.2 % with 1 utterance, unadapted 20.4 %",
    "tune/lin": "CER 8.3 % with 1 utterance, unadapted 20.4 %",
    "tune/lora": "CER 14.0 % with 1 utterance, unadapted 20.4 %",
    "tune/progressive": "CER of later languages 16.71 %, begun 12.44 %, scratch 18.71 %",
}
WAYS = ("balance", "methods", "tune", "instances", "cluster")  # each file is a way to transfer,
NO_WAYS = ("tune/members",)  # but these


def names(folder: str) -> list[str]:
    """List what `mtl/<folder>` holds, by file name.

    >>> "coral" in names("methods")
    True
    """
    return sorted(
        module.name for module in pkgutil.iter_modules(import_module(f"mtl.{folder}").__path__)
    )


def entries(*folders: str) -> Iterator[Entry]:
    """Describe every file of some folders, in their order.

    >>> next(entry for entry in entries("methods") if entry.name == "coral").paper
    'Sun, Feng, Saenko 2016'
    """
    for folder in folders:
        for name in names(folder):
            spec = find_spec(f"mtl.{folder}.{name}")
            file = Path(spec.origin).read_text("utf-8") if spec and spec.origin else ""
            text = ast.get_docstring(ast.parse(file)) or ""
            title, idea, paper, topic = first_lines(text)
            yield Entry(folder, name, title, idea, paper, topic, place_of(folder, name, topic))


def first_lines(docstring: str) -> tuple[str, str, str, str]:
    """Split how a file begins into its title, idea, paper and topic; "" for what it lacks.

    >>> first_lines("LHUC: a scale per unit. Swietojanski et al. 2016. Topic: adaptation.")
    ('LHUC', 'a scale per unit', 'Swietojanski et al. 2016', 'adaptation')
    """
    line = docstring.partition("\n")[0]
    title, _, rest = line.partition(": ")
    # where the first line has no room for it, the topic ends the next paragraph
    topic = re.search(r"\bTopic: ([^.]+)", "\n\n".join(docstring.split("\n\n")[:2]))
    # a sentence ends where no "al." does
    sentences = re.split(r"(?<!\bal)\.(?:\s+|$)", re.sub(r"\s*\bTopic: .*", "", rest))
    papers = [s for s in sentences if re.search(r"\b(?:19|20)\d\d\b", s)]
    ideas = [s for s in sentences if s and s not in papers]
    return title, ". ".join(ideas), ". ".join(papers), topic[1] if topic else ""


def place_of(folder: str, name: str, topic: str) -> Place | None:
    """Give the place of a file, its name in the command; None where it is no way to transfer."""
    keys = (folder, f"{folder}: {topic}", f"{folder}/{name}")
    found = [PLACES[key] for key in keys if key in PLACES and f"{folder}/{name}" not in NO_WAYS]
    return found[-1]._replace(command=found[-1].command.format(name=name)) if found else None


def ways() -> list[Entry]:
    """List all ways to transfer."""
    return [entry for entry in entries("stems", "heads", *WAYS) if entry.place]


def tree(by: str) -> dict[str, list[Entry]]:
    """Sort all ways to transfer by "labels", "features", "setting" or "what": {branch: entries}."""
    branches: dict[str, list[Entry]] = {branch: [] for branch in TREES[by]}
    for entry in ways():
        branches[getattr(entry.place, by)].append(entry)
    return branches


def markdown() -> str:
    """Write all ways to transfer as a table: paper, file, command, and what was measured."""
    rows = ["| method | paper | file | command | measured |", "|---|---|---|---|---|"]
    for entry in ways():
        assert entry.place
        key = f"{entry.folder}/{entry.name}"
        command = entry.place.command.removeprefix("accelerate launch ")
        cells = (entry.title, entry.paper, f"`mtl/{key}.py`", f"`{command}`", FIGURES.get(key, ""))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)
