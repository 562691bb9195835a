"""A task that can be learnt in seconds: each letter is a stretch of frames, spoken in two languages."""

import math

import numpy as np
import torch
from test_contract import DIM, Linear

from mtl.batch import Example
from mtl.config import Fit
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.stream import Stream
from mtl.trunks.transformer import Transformer

LETTERS = "ab"


class Spelled:
    """Utterances of two letters; a draw adds noise of its own. Subclasses break some of them."""

    def __init__(self, count=12, start=0):
        self.ids = [f"x{start + index}" for index in range(count)]
        self.seconds = np.array([1.0 + index % 3 for index in range(count)])
        self.start = start

    def __len__(self):
        return len(self.ids)

    def column(self, name):
        known = {"lang": self._lang, "speaker": lambda index: f"s{index % 2}"}
        return [known[name](index) if name in known else "" for index in range(len(self))]

    def _lang(self, index):
        return ("nl", "cy")[index % 2]

    def labels(self, index):
        return self._said(index)

    def _said(self, index):
        lang, place = self._lang(index), self.start + index
        return {lang: LETTERS[place // 2 % 2] + LETTERS[place // 4 % 2], "language": lang}

    def example(self, index, draw=None, targets=True):
        labels = self._said(index)
        lang = labels["language"]
        letters = [LETTERS.index(letter) for letter in labels[lang]]
        frames = torch.zeros(9 + index % 3, 6)
        for place, letter in enumerate(letters):
            frames[1 + 4 * place : 4 + 4 * place, letter] = 2.0
        frames[:, 3 + index % 2] = 2.0
        noise = np.random.default_rng([index, self.start, 0 if draw is None else draw + 1])
        frames += 0.1 * torch.from_numpy(noise.standard_normal(frames.shape)).float()
        encoded = {lang: torch.tensor(letters) + 1, "language": torch.tensor(index % 2)}
        return Example(frames, encoded if targets else {}, 1.0, {}, self.ids[index])


class Bad(Spelled):
    """Some examples are poison: `nan` ids have a NaN input, `broken` ids cannot be read."""

    def __init__(self, *args, nan=(), broken=(), **more):
        super().__init__(*args, **more)
        self.nan, self.broken = nan, broken

    def example(self, index, draw=None, targets=True):
        if self.ids[index] in self.broken:
            raise ValueError(f"toy.jsonl:{index}: cannot be read")
        example = super().example(index, draw, targets)
        if self.ids[index] in self.nan:
            example.input[0] = math.nan
        return example


def model(dropout=0.0, seed=0, depth=1):
    """Two languages and a language identifier on one stream, and an unlabelled stream beside it."""
    torch.manual_seed(seed)
    tasks = [Task("nl", "speech", CTC(["a", "b"])), Task("cy", "speech", CTC(["a", "b", "c"]))]
    tasks += [Task("language", "speech", Classify(["nl", "cy"], dropout=dropout))]
    trunk = Transformer(DIM, depth=depth, heads=2, expansion=2, dropout=dropout)
    return Model({"speech": Linear(6, DIM)}, trunk, tasks, streams={"target": "speech"})


def train(
    data=None, out=None, *, net=None, target=None, batch=8.0, dev=None, methods=None, **config
):
    """Fit the toy model, by default as fast as it goes."""
    quick = {"steps": 10, "precision": "no", "threads": 1, "log_every": 5, "dry_run": False}
    streams = {"speech": Stream(data or Spelled(), batch)}
    if target is not None:
        streams["target"] = Stream(target, batch)
    config = Fit(**{**quick, **config})
    net = net or model()
    return fit(net, streams, config, methods=methods, dev=dev, out=out, show=False)


def assert_same_weights(one, two):
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert a.equal(b), name
