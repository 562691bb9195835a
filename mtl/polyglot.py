"""Polyglot: a shared trunk that knows which language it hears, by its user or by itself. Kannan et al. 2019.

Each language has rows of an edit by member (a vector, adapters, LHUC), nobody's row 0 stays as it began. In
a share of the draws the language is nobody's (`Augment.nobody`), so the trunk also works untold: that is
how its language head hears, whose answer then chooses the rows for the second pass.

    by_language(model, "vector", ["de", "en"])
    data = Speech(utterances, model, augment=Augment(nobody=NOBODY))  # feeds the languages' numbers
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mtl.batch import Batch, Features
from mtl.languages import Choice, language_task
from mtl.members import LANG, TELL, nobody_stays, numbers
from mtl.model import Model
from mtl.sat import places
from mtl.tune.adapter import adapter
from mtl.tune.lhuc import lhuc
from mtl.tune.members import members
from mtl.tune.vector import vector

BY_LANGUAGE: dict[str, Callable[..., None]] = {"vector": vector, "adapter": adapter, "lhuc": lhuc}
NOBODY = 0.3  # share of the draws in which the trunk is not told


def by_language(model: Model, way: str, langs: Sequence[str]) -> None:
    """Give each language rows of an edit on the trunk, and let the saved model know whose they are.

    `way` is vector, adapter or lhuc. Nothing changes until they are trained. Raises ValueError for another
    way, and what the edit raises.
    """
    if way not in BY_LANGUAGE:
        raise ValueError(f"language {way!r} is not known; choose from {', '.join(BY_LANGUAGE)}")
    before = set(model.parameters())
    BY_LANGUAGE[way](model, len(langs) + 1, column=LANG)
    members(model, LANG, list(langs))
    for rows in set(model.parameters()) - before:
        nobody_stays(rows)


class Told(NamedTuple):
    """How a trunk was told languages: by which edit, and the rows of each of them, by parameter."""

    way: str
    rows: dict[str, dict[str, Tensor]]

    def give(self, model: Model) -> None:
        """Let the languages of a model with this edit go on from their rows, new ones from nobody's."""
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, rows in self.rows.items():
                for lang, row in numbers(model)[LANG].items():
                    parameters[name][row] = rows.get(lang, rows[""])


def untell(model: Model) -> Told:
    """Take what `by_language` put there out of a model, and give it.

    Raises ValueError where the model has other edits, or none.
    """
    known = numbers(model).get(LANG, {})
    ours = [{"name": way, "size": len(known), "column": LANG} for way in BY_LANGUAGE]
    edits = [entry for entry in model.edits if entry["name"] != "members"]
    if len(edits) != 1 or edits[0] not in ours:
        raise ValueError(f"edits {[e['name'] for e in model.edits]} are not those of `by_language`")
    way = edits[0]["name"]
    own = f"{way}-{LANG}"
    rows = {
        name: {lang: value[row].detach().clone() for lang, row in known.items()}
        for name, value in model.named_parameters()
        if own in name.split(".")
    }
    for place in places(model):
        if own in place:
            del place[own]
    model.edits = []
    return Told(way, rows)


def number(model: Model, choice: Choice) -> int:
    """Give the number in `Batch.groups["lang"]` of a language chosen by `mtl.languages.choose`."""
    known = numbers(model).get(LANG, {})
    told = choice.detector is None or not known
    return known.get(choice.lang, 0) if told else TELL


class Heard(NamedTuple):
    """Features of a batch: of the languages that it is in, and of nobody's for the `task` that tells them."""

    told: Features
    untold: Features
    task: str | None

    def of(self, task: str) -> Features:
        """Give what a task is to read."""
        return self.untold if task == self.task else self.told


def hear(
    model: Model, stream: str, batch: Batch, taps: Collection[str] = (), asked: Collection[str] = ()
) -> Heard:
    """Run a batch once or, where the trunk is told languages and must find them out, twice.

    The languages are those of `batch.groups["lang"]` (B,); where this is TELL or missing, those that the task
    "language" tells in a first pass, as nobody's. It reads that pass in any case, lest it answer what the
    trunk was told. `asked` names the tasks that are to answer: a pass that none of them needs is left out.
    """
    known, task = numbers(model).get(LANG), language_task(model, stream)
    if known is None:
        features: Features = model(stream, batch, taps)
        return Heard(features, features, task)
    langs = batch.groups.get(LANG, torch.full_like(batch.lengths, TELL))
    unknown, langs = langs == TELL, langs.clamp(min=0)
    untold: Features | None = None
    if task in asked or unknown.any():
        at = None if task is None else model.tasks[task].at
        untold = _run(model, stream, batch, {*taps, *([at] if at else [])}, torch.zeros_like(langs))
    if untold is not None and task is not None and unknown.any():
        said = model.head(task).predict(model.scores(task, untold))
        numbered = torch.tensor([known.get(each.value, 0) for each in said], device=langs.device)
        langs = torch.where(unknown, numbered, langs)
    if untold is not None and not langs.any():
        return Heard(untold, untold, task)
    told = _run(model, stream, batch, taps, langs)
    return Heard(told, told if untold is None else untold, task)


def _run(model: Model, stream: str, batch: Batch, taps: Collection[str], langs: Tensor) -> Features:
    groups = {**batch.groups, LANG: langs}
    features: Features = model(stream, batch._replace(groups=groups), taps)
    return features
