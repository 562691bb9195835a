"""Taught: what pictures without labels teach about pictures: features for a classifier of few labels.

Each way learns from unlabelled pictures (N, S, S), numbers from 0 to 1, and gives a function from pictures to
features (N, D). Two learn nothing, and are what the others must beat: "random dictionary" codes with
random atoms, "untrained network" is the masked autoencoder's before training.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from mtl.batch import Batch
from mtl.cluster.sparse_coding import codes, sparse_coding
from mtl.config import Fit
from mtl.data.boxes import boxed, pixels
from mtl.data.images import Images, Picture, few, from_arrays
from mtl.data.warp import Warp
from mtl.fit import fit
from mtl.methods.simmim import SimMIM
from mtl.model import Model
from mtl.problem import Pictures
from mtl.stems.pixels import Pixels
from mtl.stream import Stream
from mtl.trunks.resnet import ResNet

Array = NDArray[np.float64]
Encode = Callable[[Array], Array]
SIDE = 20  # pixels that every picture is brought to
CODED = 20000  # patches that a dictionary is learnt from
ROUNDS = 1000  # of the coordinate descent: codes need not be exact
AT_ONCE = 200  # pictures
STRENGTHS = tuple(10.0**power for power in range(-1, 4))  # of the classifier, to choose from


@dataclass(frozen=True)
class Code:
    """How pictures are coded by patches."""

    patch: int = 10
    """pixels along a patch"""
    stride: int = 2
    """pixels between patches"""
    atoms: int = 64
    """atoms of the dictionary"""
    beta: float = 0.3
    """strength of sparsity"""
    grid: int = 3
    """codes are averaged over grid x grid parts of a picture"""

    def __post_init__(self) -> None:
        if min(self.patch, self.stride, self.atoms, self.beta, self.grid) <= 0:
            raise ValueError(f"{self}: give values above 0")


@dataclass(frozen=True)
class Settings:
    """What ways to learn without labels need."""

    code: Code
    fit: Fit
    components: int = 64
    width: int = 16
    batch: int = 64
    seed: int = 0


def patches(pictures: Array, code: Code) -> Array:
    """Cut normalised patches of pictures (N, S, S): (N, H, W, patch^2), each of mean 0 and length up to 1.

    Raises ValueError for patches larger than the pictures.
    """
    if code.patch > pictures.shape[1]:
        raise ValueError(f"patches of {code.patch} pixels in pictures of {pictures.shape[1]}")
    windows = sliding_window_view(pictures, (code.patch, code.patch), axis=(1, 2))
    some = windows[:, :: code.stride, :: code.stride]
    flat: Array = some.reshape(*some.shape[:3], -1)
    flat = flat - flat.mean(-1, keepdims=True)
    # What is nearly even stays small, or its noise would be as loud as ink.
    lengths: Array = np.linalg.norm(flat, axis=-1, keepdims=True)
    return flat / (lengths + 0.1 * code.patch)


def coded(pictures: Array, dictionary: Array, code: Code) -> Array:
    """Code pictures (N, S, S) by a dictionary (A, patch^2): features (N, 2 A grid^2).

    Positive and negative codes count apart; the root of their mean over each part of the picture is taken.
    """
    found = []
    for start in range(0, len(pictures), AT_ONCE):
        cut = patches(pictures[start : start + AT_ONCE], code)
        n, high, wide, numbers = cut.shape
        sparse = codes(cut.reshape(-1, numbers), dictionary, code.beta, ROUNDS)
        signed = np.concatenate([sparse.clip(0), (-sparse).clip(0)], 1).reshape(n, high, wide, -1)
        rows, columns = (np.array_split(np.arange(side), code.grid) for side in (high, wide))
        parts = [signed[:, r][:, :, c].mean((1, 2)) for r in rows for c in columns]
        found.append(np.sqrt(np.concatenate(parts, 1)))
    return np.concatenate(found)


def raw(unlabelled: Array, settings: Settings) -> Encode:
    """Take the pixels."""
    return lambda pictures: pictures.reshape(len(pictures), -1)


def pca(unlabelled: Array, settings: Settings) -> Encode:
    """Take principal components of the unlabelled pictures."""
    from sklearn.decomposition import PCA

    flat = unlabelled.reshape(len(unlabelled), -1)
    most = min(settings.components, *flat.shape)
    learnt = PCA(most, random_state=settings.seed).fit(flat)
    return lambda pictures: learnt.transform(pictures.reshape(len(pictures), -1))


def random_dictionary(unlabelled: Array, settings: Settings) -> Encode:
    """Code by atoms of Gaussian noise, each of mean 0 and length 1."""
    rng = np.random.default_rng(settings.seed)
    atoms = rng.normal(size=(settings.code.atoms, settings.code.patch**2))
    return _by(atoms - atoms.mean(1, keepdims=True), settings.code)


def random_patches(unlabelled: Array, settings: Settings) -> Encode:
    """Code by patches of unlabelled pictures, drawn at random: seen, not learnt."""
    rows = _inked(unlabelled, settings)
    return _by(rows[: settings.code.atoms], settings.code)


def sparse(unlabelled: Array, settings: Settings) -> Encode:
    """Code by a dictionary that codes unlabelled patches sparsely (Raina et al. 2007)."""
    code, rows = settings.code, _inked(unlabelled, settings)
    dictionary = sparse_coding(rows, code.atoms, code.beta, passes=3, batch=256, seed=settings.seed)
    return _by(dictionary, code)


def untrained(unlabelled: Array, settings: Settings) -> Encode:
    """Take what a network of random weights makes of pictures."""
    return _features(_network(unlabelled, settings))


def autoencoder(unlabelled: Array, settings: Settings) -> Encode:
    """Take what a network makes that has learnt to tell hidden patches (`mtl.methods.simmim`)."""
    model = _network(unlabelled, settings)
    data = Images(_pictures(unlabelled), model, augment=Warp(0.1, 15.0, 0.15, seed=settings.seed))
    stream = Stream(data, settings.batch)
    own = replace(settings.fit, seed=settings.seed)
    fit(model, {"images": stream}, own, methods={"simmim": SimMIM(patch=4, share=0.5)}, show=False)
    return _features(model)


WAYS: Mapping[str, Callable[[Array, Settings], Encode]] = {
    "raw pixels": raw,
    "PCA": pca,
    "random dictionary": random_dictionary,
    "random patches": random_patches,
    "sparse coding": sparse,
    "untrained network": untrained,
    "masked autoencoder": autoencoder,
}


def classifier(features: Array, labels: NDArray[Any], seed: int = 0) -> Callable[[Array], Any]:
    """Learn to tell labels (N,) from features (N, D): a function from features (M, D) to labels (M,).

    A logistic regression on features divided by the root of their mean square; its strength is chosen by
    cross-validation on these very examples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    scale = np.sqrt(np.square(features).sum(1).mean()) or 1.0
    parts = StratifiedKFold(_folds(labels), shuffle=True, random_state=seed)
    search = GridSearchCV(LogisticRegression(max_iter=5000), {"C": list(STRENGTHS)}, cv=parts)
    learnt = search.fit(features / scale, labels)
    return lambda rows: learnt.predict(rows / scale)


class Bench:
    """Pictures with labels to learn from and to be tested on, and others without, all cut to their ink."""

    def __init__(self, known: Pictures, unlabelled: Sequence[Picture], most: int) -> None:
        self.known = known
        self.test = boxed(_some(known.test, most), SIDE)
        self.seen = pixels(boxed(unlabelled, SIDE))

    def run(self, way: str, count: int, settings: Settings) -> dict[str, Any]:
        """Learn in a way, then from `count` labelled pictures of each class: figures of the test."""
        encode = WAYS[way](self.seen, settings)
        train = boxed(few(self.known.train, count, settings.seed), SIDE)
        labels, truth = (np.array([p.label for p in part]) for part in (train, self.test))
        decide = classifier(encode(pixels(train)), labels, settings.seed)
        wrong = decide(encode(pixels(self.test))) != truth
        rows = [[float(w), 1.0, p.id] for w, p in zip(wrong, self.test, strict=True)]
        return {"metric": "error", "value": float(wrong.mean()), "n": len(rows), "counts": rows}


def _some(items: Sequence[Picture], most: int) -> list[Picture]:
    """Choose at most so many, always the same."""
    return random.Random(0).sample(list(items), min(most, len(items)))


def _folds(labels: Any) -> int:
    """Give the folds that the rarest class can be cut into. Raises ValueError for fewer than 2."""
    rarest = int(np.unique(labels, return_counts=True)[1].min())
    if rarest < 2:
        raise ValueError("a class has 1 labelled example; give 2 of each at least")
    return min(rarest, 5)


def _inked(unlabelled: Array, settings: Settings) -> Array:
    """Draw patches that are not even, in random order: (R, patch^2)."""
    rng = np.random.default_rng(settings.seed)
    cut = patches(unlabelled[rng.permutation(len(unlabelled))[:2000]], settings.code)
    rows = cut.reshape(-1, cut.shape[-1])
    rows = rows[np.square(rows).sum(1) > 0.05]
    if len(rows) < settings.code.atoms:
        raise ValueError(f"{len(rows)} patches with ink for {settings.code.atoms} atoms")
    chosen: Array = rows[rng.permutation(len(rows))[:CODED]]
    return chosen


def _by(atoms: Array, code: Code) -> Encode:
    unit = atoms / np.linalg.norm(atoms, axis=1, keepdims=True).clip(1e-9)
    return lambda pictures: coded(pictures, unit, code)


def _network(unlabelled: Array, settings: Settings) -> Model:
    """Make a small network; of the last block, 3 x 3 places are left of 24 pixels."""
    torch.manual_seed(settings.seed)
    width = settings.width
    trunk = ResNet(width, [2 * width, 4 * width, 4 * width], [2, 2, 1])
    return Model({"images": Pixels(1, 24, width, stride=2)}, trunk)


def _pictures(x: Array) -> Any:
    return from_arrays((255 * x).round().astype(np.uint8), np.zeros(len(x), int), "unlabelled")


def _features(model: Model) -> Encode:
    """Take all places of the last block: where something stands counts."""

    @torch.inference_mode()
    def encode(pictures: Array) -> Array:
        model.eval()
        data = Images(_pictures(pictures), model)
        device, found = next(model.parameters()).device, []
        for start in range(0, len(data), AT_ONCE):
            part = range(start, min(start + AT_ONCE, len(data)))
            x = torch.stack([data.example(index, targets=False).input for index in part])
            lengths = torch.full((len(x),), x.shape[-1])
            features = model("images", Batch(x, lengths).to(device)).x
            found.append(features.flatten(1).double().cpu().numpy())
        return np.concatenate(found)

    return encode
