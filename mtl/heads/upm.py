"""upm: phones by how they are made, also of a language that nobody taught. Li et al. 2020. Topic: symbols."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtl.batch import Features
from mtl.described import refuse_mismatch
from mtl.head import Scores
from mtl.heads.phoneme import Phoneme


def upm(attributes: Tensor, signatures: Tensor) -> Tensor:
    """Give each phone's logit, its attributes by how much there is of them: (..., A), (V, A) -> (..., V).

    >>> upm(torch.tensor([2.0, 1.0]), torch.tensor([[1.0, 1.0], [1.0, -1.0]])).tolist()
    [3.0, 1.0]
    """
    return attributes @ signatures.T


class UPM(Phoneme):
    """CTC over phones whose logits are products of learnt attributes of a frame and the phones' own.

    `vectors` (V, A) describe the `symbols`, see `mtl.articulation`; the blank has an attribute to itself. As
    no weight belongs to a phone, `speak` takes the head to a language it was never trained on, by its
    inventory. With `hidden`, a network of so many units over the vectors, learnt too, describes the phones.
    The rest is as in `mtl.heads.phoneme.Phoneme`. Raises ValueError where symbols and vectors do not go
    together.

    Differs: the scores are of the inventory at hand alone, which paper and code leave open; tones and what
    parts words have attributes as well.

    >>> head = UPM(["a", "b"], [[1.0, -1.0], [-1.0, 1.0]])
    >>> head.build(4)
    >>> head.speak(["a", "b", "d"], [[1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> head.scores(Features(torch.zeros(1, 3, 4), torch.tensor([3]))).x.shape
    torch.Size([1, 3, 4])
    """

    signatures: Tensor

    def __init__(
        self,
        symbols: list[str],
        vectors: Sequence[Sequence[float]],
        upsample: int = 1,
        stress: bool = False,
        hidden: int = 0,
    ) -> None:
        super().__init__(symbols, upsample, stress)
        self.hidden = hidden
        # The configuration holds them: no file of weights can disagree with its symbols.
        self.register_buffer("signatures", _matrix(symbols, vectors), persistent=False)

    @property
    def vectors(self) -> list[list[float]]:
        """Give the vectors of the symbols (V, A)."""
        rows: list[list[float]] = self.signatures[1:, 1:].tolist()
        return rows

    def speak(self, symbols: list[str], vectors: Sequence[Sequence[float]]) -> None:
        """Write in other phones, by their vectors (V, A), without any example.

        Raises ValueError where they do not go together, and for vectors of another length.
        """
        if len(vectors) and len(vectors[0]) != self.signatures.shape[1] - 1:
            raise ValueError(
                f"vectors of {len(vectors[0])} numbers; this head learnt {self.signatures.shape[1] - 1}"
            )
        other = UPM(symbols, vectors, self.upsample, self.stress, self.hidden)
        self.symbols, self._index = other.symbols, other._index
        self.signatures = other.signatures.to(self.signatures.device)

    def build(self, dim: int) -> None:
        """Make what tells the attributes of a frame and, where it is learnt, what describes a phone."""
        wide = self.signatures.shape[1]
        self.output = nn.Linear(dim, (self.hidden or wide) * self.upsample)
        if self.hidden:
            first = nn.Linear(wide, self.hidden)
            self.embed = nn.Sequential(first, nn.ReLU(), nn.Linear(self.hidden, self.hidden))

    def scores(self, f: Features) -> Scores:
        """Compute log-probabilities (B, T * upsample, V), in float32 whatever the features are."""
        with torch.autocast(f.x.device.type, enabled=False):
            told = self.output(f.x.float())
            phones = self.embed(self.signatures) if self.hidden else self.signatures
        told = told.view(told.shape[0], -1, phones.shape[1])
        return Scores(upm(told, phones).log_softmax(-1), self.frames(f.lengths))


def _matrix(symbols: Sequence[str], vectors: Sequence[Sequence[float]]) -> Tensor:
    """Put the blank and its attribute in front: (1 + V, 1 + A)."""
    refuse_mismatch(symbols, vectors)
    rows = F.pad(torch.tensor(np.asarray(vectors, dtype=np.float32)), (1, 0, 1, 0))
    rows[0, 0] = 1.0
    return rows
