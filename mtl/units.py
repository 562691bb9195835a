"""Units: clusters of speech frames without labels, for masked prediction (`mtl.methods.hubert`)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtl.batch import collate
from mtl.cluster.kmeans import kmeans
from mtl.methods.hubert import cepstra, stacked
from mtl.model import Model
from mtl.stream import Data

AT_ONCE = 16  # utterances


def find_units(
    data: Data,
    factor: int,
    count: int = 100,
    coefficients: int = 13,
    most: int = 500,
    seed: int = 0,
) -> Tensor:
    """Cluster the cepstra of utterances into `count` units: centres (count, factor * coefficients).

    `factor` frames make one place of the trunk; 0 `coefficients` take frames as they are. At most `most`
    utterances are heard, drawn by `seed`. Raises ValueError for fewer different places than units.
    """
    rows = []
    for index in _some(len(data), most, seed):
        frames = data.example(index, targets=False).input[None]
        frames = cepstra(frames, coefficients) if coefficients else frames
        rows.append(stacked(frames, factor)[0].numpy())
    return torch.from_numpy(kmeans(np.concatenate(rows), count, seed)).float()


@torch.inference_mode()
def learnt_units(
    model: Model,
    data: Data,
    stream: str = "speech",
    at: str = "",
    count: int = 100,
    most: int = 500,
    seed: int = 0,
) -> Tensor:
    """Cluster what a model has behind the block `at` (empty: the trunk): centres (count, D).

    For the second round: the model is then the method's `teacher`. Raises ValueError as `find_units` does.
    """
    model.eval()
    device = next(model.parameters()).device
    rows: list[NDArray[np.float32]] = []
    chosen = _some(len(data), most, seed)
    for start in range(0, len(chosen), AT_ONCE):
        part = [data.example(index, targets=False) for index in chosen[start : start + AT_ONCE]]
        features = model(stream, collate(part).to(device), (at,) if at else ()).at(at or None)
        for x, length in zip(features.x.float().cpu(), features.lengths.tolist(), strict=True):
            rows.append(x[:length].numpy())
    return torch.from_numpy(kmeans(np.concatenate(rows), count, seed)).float()


def _some(count: int, most: int, seed: int) -> list[int]:
    """Draw at most so many numbers, in order."""
    drawn = np.random.default_rng(seed).permutation(count)[:most]
    return sorted(drawn.tolist())
