"""A model whose trunk is one batch norm, and batches of two domains, for tests of statistics."""

import numpy as np
import torch
from torch import nn

from mtl.batch import Batch, Features, Flow, Labels
from mtl.config import Fit
from mtl.data.images import Images, from_arrays
from mtl.encoder import Encoder
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.methods.ddc import DDC
from mtl.model import Model
from mtl.stems.pixels import Pixels
from mtl.stream import Stream
from mtl.tune.domain_norm import domain_norm

DIM = 4


class Normed(Encoder):
    """Maps to normalised maps; what leaves are their places."""

    maps, takes = "first", DIM

    def __init__(self, norm: bool = True) -> None:
        super().__init__(DIM)
        self.norm = norm
        self.blocks["b1"] = Norm(norm)

    def rejoin(self, batch: Batch) -> Flow:
        return self.enter(batch)

    def leave(self, flow: Flow) -> Features:
        return self.tap(flow)

    def tap(self, flow: Flow) -> Features:
        x = flow.x.flatten(2).mT
        return Features(x, torch.full_like(flow.lengths, x.shape[1]))


class Norm(nn.Module):
    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(DIM) if norm else nn.Conv2d(DIM, DIM, 1)

    def forward(self, flow: Flow) -> Flow:
        return flow._replace(x=self.norm(flow.x))


def normed(norm=True):
    """Two domains of pictures, the first with labels."""
    torch.manual_seed(0)
    task = Task("label", "source", Classify(["a", "b"]))
    domains = dict.fromkeys(("source", "target"), "pictures")
    return Model({"pictures": Pixels(1, 5, DIM)}, Normed(norm), [task], domains)


def batch(count, shift=0.0, side=5, labelled=False):
    g = torch.Generator().manual_seed(count)
    x = torch.randn(count, 1, side, side, generator=g) * (1 + shift) + shift
    labels = {"label": Labels(torch.arange(count) % 2)} if labelled else {}
    return Batch(x, torch.full((count,), side), labels, torch.ones(count))


def trained():
    """The same with means for each domain, after three steps."""
    model = normed()
    domain_norm(model, ["source", "target"])
    x = np.random.default_rng(0).integers(0, 256, (24, 5, 5), np.uint8)
    parts = {
        "source": from_arrays(x[:12], ["a", "b"] * 6, "s"),
        "target": from_arrays(x[12:], [""] * 12, "t"),
    }
    streams = {name: Stream(Images(items, model, name), 5) for name, items in parts.items()}
    config = Fit(steps=3, precision="no", threads=1, dry_run=False)
    return fit(model, streams, config, methods={"ddc": DDC()}, show=False).model
