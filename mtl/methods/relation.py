"""relation: examples lie to each other as in a source model (RKD). Park, Kim, Lu, Cho 2019. Topic: transfer.

And labels go with each other as in a source's data: `label_correlation`, for a method of one's own.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mtl.method import Method, View
from mtl.model import Model
from mtl.ops import masked_mean


def distances(old: Tensor, new: Tensor) -> Tensor:
    """Compare the distances within rows (B, D) and rows (B, E): the mean Huber loss () over pairs.

    Distances are divided by their mean: moving, turning or scaling all rows of either changes nothing (Park
    et al. 2019, section 3.2.1). Raises ValueError for unequal numbers of rows, and for fewer than 2.

    Differs: it is the mean over pairs of different rows, where the paper has the sum.

    >>> line, bent = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [4.0]])
    >>> distances(line, 3 * line + 1).item(), distances(line, bent).item()
    (0.0, 0.046875)
    """
    _check(old, new, 2)
    return F.smooth_l1_loss(_relative(new), _relative(old))


def angles(old: Tensor, new: Tensor) -> Tensor:
    """Compare the angles within rows (B, D) and rows (B, E): the mean Huber loss () over triples.

    Compared are the cosines at row j between rows i and k: moving, turning or scaling all rows of either
    changes nothing (Park et al. 2019, section 3.2.2). Takes B^2 (B + D) numbers of memory. Raises ValueError
    for unequal numbers of rows, and for fewer than 3.

    Differs: it is the mean over triples of different rows, where the paper has the sum.

    >>> corner = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    >>> line = torch.tensor([[1.0], [0.0], [-1.0]])
    >>> round(angles(corner, 5 * corner + 1).item(), 6), round(angles(corner, line).item(), 6)
    (0.0, 0.195262)
    """
    _check(old, new, 3)
    rows = torch.arange(len(old), device=old.device)
    j, i, k = rows[:, None, None], rows[:, None], rows
    different = (i < k) & (i != j) & (k != j)  # (i, k) and (k, i) are one angle
    return F.smooth_l1_loss(_cosines(new)[different], _cosines(old)[different])


def label_correlation(known: Tensor, values: Tensor) -> Tensor:
    """Give the mean squared difference () of a source's correlations of labels (C, C) from those of `values`.

    `values` (B, C) are what a head says of a batch, such as `scores.x.sigmoid()` of a multi-label head; the
    known ones are `correlations` of a source's labels: which go together, and which exclude each other.
    Its mean is over pairs of different labels; moving and scaling the values of a label changes nothing. It
    is no mean over examples: give it all rows of a step, by `View.gather`. Raises ValueError for shapes
    that do not fit, and fewer than 2 labels.

    >>> known = correlations(torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    >>> opposed = torch.tensor([[0.9, 0.2], [0.1, 0.8]])
    >>> [round(label_correlation(sign * known, opposed).item(), 4) for sign in (1, -1)]
    [4.0, 0.0]
    """
    size = values.shape[-1]
    if values.dim() != 2 or known.shape != (size, size) or size < 2:
        shapes = f"correlations {tuple(known.shape)}, values {tuple(values.shape)}"
        raise ValueError(f"{shapes}; give (C, C) and (B, C), of 2 labels at least")
    found = correlations(values)
    off = ~torch.eye(size, dtype=torch.bool, device=values.device)
    return (found - known.to(found)).square()[off].mean()


def correlations(values: Tensor) -> Tensor:
    """Correlate the columns of labels or probabilities: (N, C) -> (C, C), 0 for one that is constant.

    >>> correlations(torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])).round().int().tolist()
    [[1, -1, 0], [-1, 1, 0], [0, 0, 0]]
    """
    x = _precise(values)
    # What rounding leaves of a constant column is not blown up.
    unit = F.normalize(x - x.mean(0), dim=0, eps=1e-6 * max(len(x), 1) ** 0.5)
    return unit.T @ unit


def _relative(x: Tensor) -> Tensor:
    """Give the distance of each pair of rows, divided by their mean: (B, D) -> (pairs,)."""
    pairs = torch.pdist(_precise(x))
    return pairs / pairs.mean().clamp(min=1e-12)


def _cosines(x: Tensor) -> Tensor:
    """Give the cosine at row j between rows i and k: (B, D) -> (B of j, B of i, B of k)."""
    x = _precise(x)
    sides = F.normalize(x - x[:, None], dim=2)
    return sides @ sides.transpose(1, 2)


def _precise(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _check(old: Tensor, new: Tensor, least: int) -> None:
    if len(old) != len(new) or len(old) < least:
        raise ValueError(f"{len(old)} old and {len(new)} new rows; give as many, {least} at least")


class Relation(Method):
    """A task's loss plus `distance` and `angle` times how far the examples' relations are from a teacher's.

    The teacher is a source model that takes the same inputs, and need not have the same width; by default the
    model that `fit` is given, as it is before training. Compared are features behind the block `at` with the
    teacher's behind `teacher_at` (empty text: the trunk), frames averaged, in `streams` (by default all that
    both know), labelled or not: the mean over streams, terms `distance` and `angle`. All rows of a step
    count, of all processes, for angles the first `most`. Streams of fewer than 3 have no term. The teacher
    lives in the checkpoint. Raises ValueError for unknown streams and blocks, and strengths below 0.

    Strengths of 25 and 50 are the paper's beside a classifier's loss; 1 and 2 alone.
    """

    teacher: Model

    def __init__(
        self,
        teacher: Model | None = None,
        at: str = "",
        teacher_at: str = "",
        streams: Sequence[str] = (),
        distance: float = 25.0,
        angle: float = 50.0,
        most: int = 64,
    ) -> None:
        super().__init__()
        if min(distance, angle) < 0 or most < 3:
            raise ValueError(
                f"distance is {distance}, angle is {angle}, most is {most}; strengths are 0 or more, and "
                "an angle needs 3 examples"
            )
        if teacher is not None:
            self.teacher = copy.deepcopy(teacher).requires_grad_(False).eval()
        self.at, self.teacher_at, self.streams = at, teacher_at, tuple(streams)
        self.distance, self.angle, self.most = distance, angle, most
        self.taps = (at,) if at else ()

    def build(self, model: Model) -> None:
        """Copy the model where no teacher was given; check streams and blocks."""
        if "teacher" not in self._modules:
            self.teacher = copy.deepcopy(model).requires_grad_(False).eval()
        for one, place in ((model, self.at), (self.teacher, self.teacher_at)):
            one.trunk.block_dims([place] if place else [])
            for stream in self.streams:
                one.stem(stream)
        self.streams = self.streams or tuple(s for s in model.streams if s in self.teacher.streams)
        if not self.streams:
            raise ValueError(
                f"the teacher has streams {list(self.teacher.streams)}, the model "
                f"{list(model.streams)}: none is the same"
            )

    def train(self, mode: bool = True) -> "Relation":
        """Set the training mode; the teacher keeps evaluating."""
        super().train(mode)
        if "teacher" in self._modules:
            self.teacher.eval()
        return self

    def terms(self, view: View) -> dict[str, Tensor]:
        """Compare the relations in each stream, in the phase of the tasks."""
        if view.phase != "train":
            return {}
        pairs = [self._rows(view, name) for name in self.streams if name in view.batches]
        pairs = [pair for pair in pairs if len(pair[0]) >= 3]
        if not pairs:
            return {}
        with torch.autocast(pairs[0][0].device.type, enabled=False):
            apart = torch.stack([distances(old, new) for old, new in pairs]).mean()
            bent = torch.stack([angles(old[: self.most], new[: self.most]) for old, new in pairs])
        return {"distance": self.distance * apart, "angle": self.angle * bent.mean()}

    def _rows(self, view: View, stream: str) -> tuple[Tensor, Tensor]:
        """Give the teacher's and the model's features of all rows of a stream: (B, D) and (B, E)."""
        with torch.no_grad():
            taps = (self.teacher_at,) if self.teacher_at else ()
            before = self.teacher(stream, view.batches[stream], taps).at(self.teacher_at or None)
        after = view.features[stream].at(self.at or None)
        old, new = (masked_mean(f.x.float(), f.lengths) for f in (before, after))
        rows = view.gather(stream, torch.cat([old, new], 1))
        return rows[:, : old.shape[1]], rows[:, old.shape[1] :]
