"""Scored: what a source model makes of a target that it has not learnt from, in scores and distances."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.batch import Features, collate
from mtl.data.images import Picture
from mtl.data.manifest import Utterance
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.load import takes_images
from mtl.methods.cmd import cmd
from mtl.methods.coral import coral
from mtl.model import Model
from mtl.ops import masked_mean, valid
from mtl.predict import chunks
from mtl.problem import Pictures, Recordings
from mtl.score.a_distance import a_distance
from mtl.score.frechet import frechet
from mtl.score.hscore import hscore
from mtl.score.leep import leep
from mtl.score.logme import logme
from mtl.score.mmd import mmd_unbiased
from mtl.score.nce import nce
from mtl.score.transrate import transrate
from mtl.text import TextRules, normalise

Array = NDArray[np.float64]
AT_ONCE = 60.0  # pictures, or seconds of speech
MOST = 2000  # rows that are scored: frames, where a target is written
FEATURES = {"logme": logme, "hscore": hscore, "transrate": transrate}
SCORES = ("leep", "nce", *FEATURES)  # of all, more is better


class Looked(NamedTuple):
    """What a model makes of a target: features (N, D), and posteriors (N, Z) of its own classes, if any.

    Labels (N,) are the target's. Rows are examples or, where texts are to be written, frames.
    """

    features: Array
    labels: NDArray[Any]
    posteriors: Array | None


def look(model: Model, problem: Pictures | Recordings, items: Sequence[Any]) -> Looked:
    """Let a model see or hear items of a problem, whose classes and texts it does not use.

    Where a target has texts and no classes, each frame is labelled with the symbol at its place, as if all
    were equally long. Raises ValueError for a model that takes no such inputs, and items without labels.
    """
    stream = stream_of(model, problem)
    data: Any = problem.data(model, items, stream=stream)
    rows: list[tuple[Array, Array | None, list[Any]]] = []
    known = [index for index in range(len(data)) if _label(items[index]) is not None]
    if not known:
        raise ValueError("the target has no labels or texts to score by; give some")
    costs = data.seconds[known]
    for chunk in chunks(costs, AT_ONCE):
        part = [known[place] for place in chunk]
        batch = collate([data.example(index, targets=False) for index in part])
        labels = [_label(items[index]) for index in part]
        rows += _rows(model, stream, batch, labels)
    features, posteriors, named = zip(*rows, strict=True)
    whole = None if posteriors[0] is None else np.concatenate(posteriors)
    found = Looked(np.concatenate(features), np.array([n for each in named for n in each]), whole)
    return _some(found)


def stream_of(model: Model, problem: Pictures | Recordings) -> str:
    """Name the stream by which a model takes a problem's inputs. Raises ValueError where none does."""
    wanted = isinstance(problem, Pictures)
    fits = [name for name in model.streams if takes_images(model.stem(name)) == wanted]
    if not fits:
        kind = "pictures" if wanted else "speech"
        raise ValueError(f"the target is {kind}; the model has streams: {', '.join(model.streams)}")
    return problem.stream if problem.stream in fits else fits[0]


def untrained(model: Model, seed: int = 0) -> Model:
    """Make a model like it with weights that have learnt nothing; torch's random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model.from_config(model.config()).eval()


def scores(looked: Looked) -> dict[str, float]:
    """Give all scores that a model's rows allow: LEEP and NCE need classes of its own."""
    # Coding rates grow with the size of features.
    size = np.sqrt(np.square(looked.features - looked.features.mean(0)).sum(1).mean()) or 1.0
    found = {}
    if looked.posteriors is not None:
        found["leep"] = leep(looked.posteriors, looked.labels)
        found["nce"] = nce(looked.posteriors.argmax(1), looked.labels)
    for name, score in FEATURES.items():
        found[name] = score(looked.features / size, looked.labels)
    return found


def entropy(labels: NDArray[Any]) -> float:
    """Give H(Y) in nats: minus it is what LEEP and NCE are where source classes say nothing.

    >>> round(entropy(np.array(["a", "b"])), 6)
    0.693147
    """
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log(shares)).sum())


def distances(source: Array, target: Array) -> dict[str, float]:
    """Give how far features (N, D) and (M, D) lie apart, columns standardised over both: less is nearer."""
    rows = np.concatenate([source, target])
    own, other = ((x - rows.mean(0)) / (rows.std(0) + 1e-9) for x in (source, target))
    zs, zt = torch.from_numpy(own), torch.from_numpy(other)
    return {
        "A-distance": a_distance(own, other),
        "MMD": float(mmd_unbiased(zs, zt)[0]),
        "CORAL": float(coral(zs, zt)),
        "CMD": float(cmd(zs.sigmoid(), zt.sigmoid())),
        "Frechet": frechet(own, other),
    }


def _label(item: Picture | Utterance) -> Any:
    """Give an item's class, or its text in a list; None where it has neither."""
    if isinstance(item, Picture):
        return item.label or None
    if item.text.strip():
        return list(normalise(item.text, TextRules())) or None
    return None if item.label is None else str(item.label)


@torch.inference_mode()
def _rows(
    model: Model, stream: str, batch: Any, labels: list[Any]
) -> Iterator[tuple[Array, Array | None, list[Any]]]:
    """Give each example's rows."""
    model.eval()
    features = model(stream, batch.to(next(model.parameters()).device))
    whole = not isinstance(labels[0], list)
    posteriors = _posteriors(model, stream, features, whole)
    if whole:
        features = Features(
            masked_mean(features.x, features.lengths)[:, None], torch.ones_like(features.lengths)
        )
    lengths = features.lengths.tolist()
    for place, (length, label) in enumerate(zip(lengths, labels, strict=True)):
        own = None if posteriors is None else _array(posteriors[place, :length])
        named = [label] if whole else [label[f * len(label) // length] for f in range(length)]
        yield _array(features.x[place, :length]), own, named


def _posteriors(model: Model, stream: str, features: Features, whole: bool) -> Tensor | None:
    """Give the posteriors (B, T, Z) of the first task that has some, T = 1 for `whole` examples."""
    for task in model.tasks_of(stream):
        head = model.head(task.name)
        if task.at is not None or task.auxiliary:
            continue
        if isinstance(head, Classify) and whole:
            return head.scores(features).x.softmax(-1)[:, None]
        if isinstance(head, CTC) and head.upsample == 1:
            said = head.scores(features).x.exp()
            if not whole:
                return said
            kept = valid(features.lengths, said.shape[1])[..., None]
            return ((said * kept).sum(1) / kept.sum(1))[:, None]
    return None


def _array(x: Tensor) -> Array:
    found: Array = x.double().cpu().numpy()
    return found


def _some(looked: Looked) -> Looked:
    """Choose at most MOST rows, always the same."""
    rows = np.random.default_rng(0).permutation(len(looked.features))[:MOST]
    return Looked(*(None if part is None else part[np.sort(rows)] for part in looked))  # type: ignore[arg-type]
