"""UNIT: pictures of both domains have one code, from which either is painted. Liu et al. 2017.

Unsupervised image-to-image translation networks. Topic: adaptation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl.method import View
from mtl.translating import Networks, Translating, distance
from mtl.translators import ContentEncoder, Decoder, Discriminator, Residual


def unit(code: Tensor) -> Tensor:
    """Give the mean of squares of a picture's code (B, ...): (B,).

    It is twice the divergence of N(code, I) from N(0, I), per number: UNIT's encoders give means of normal
    distributions of deviation 1 (Liu et al. 2017, section 3).

    >>> unit(torch.tensor([[1.0, 3.0]]))
    tensor([5.])
    """
    return code.float().square().flatten(1).mean(1)


class Made(NamedTuple):
    """Of source and target each: pictures (B, C, S, S), and codes (B, D, H, W) of pictures and of fakes."""

    pictures: tuple[Tensor, Tensor]
    fakes: tuple[Tensor, Tensor]  # the source in the target's look, and the other way round
    rebuilt: tuple[Tensor, Tensor]
    cycled: tuple[Tensor, Tensor]  # there and back
    codes: tuple[Tensor, Tensor]
    recodes: tuple[Tensor, Tensor]

    @property
    def translated(self) -> Tensor:
        """Give the source in the look of the target."""
        return self.fakes[0]


class UNIT(Translating):
    """Two autoencoders whose last layers of encoders and first ones of decoders are one; and tasks on top.

    A picture's code is painted by either domain's decoder: as itself (term `rebuilt`, `reconstruct` times the
    mean absolute error), or as a fake that discriminators judge (`fool`), whose code is painted back
    (`cycled`, as often). Codes are kept small (`code`, `even` times `unit`, of pictures and fakes), and in
    training they get noise of deviation 1. Where the model's averaged features of a picture and of its
    translation differ, that costs `match` times their mean absolute difference. Weights are those of the
    authors' code, which has none for `match` and, as `keep`, none for what the tasks say of translations.
    Raises ValueError for numbers below 0, and as `mtl.translating.Translating`, whose arguments are the rest.

    Differs: tasks read pictures and translations with the model's own trunk, the paper's read layers that
    both discriminators share; what it asks of these layers, `match` asks of the trunk.
    """

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        weight: float = 1.0,
        keep: float = 1.0,
        reconstruct: float = 10.0,
        even: float = 0.01,
        match: float = 0.1,
        networks: Networks | None = None,
    ) -> None:
        super().__init__(source, target, weight, keep, networks)
        if min(reconstruct, even, match) < 0:
            raise ValueError(
                f"reconstruct is {reconstruct}, even {even}, match {match}; none may be below 0"
            )
        self.reconstruct, self.even, self.match = reconstruct, even, match

    def make(self, channels: int, size: int) -> None:
        """Make encoders and decoders, of which a block is shared, and two discriminators."""
        width, depth, fold, _ = self.networks
        sizes = channels, width, depth - 1, fold
        encoders = [ContentEncoder(*sizes) for _ in range(2)]
        dim = encoders[0].dim
        self.encoders, self.enter = nn.ModuleList(encoders), Residual(dim)
        self.leave = Residual(dim)
        self.decoders = nn.ModuleList(Decoder(*sizes) for _ in range(2))
        self.discriminators = nn.ModuleList(Discriminator(channels, width, 3) for _ in range(2))

    def paint(self, x: Tensor, way: int = 0) -> Tensor:
        """Paint by the other domain's decoder."""
        painted: Tensor = self.decoders[1 - way](self._shared(self._code(x, way)))
        return painted

    def both(self, x: Tensor, y: Tensor) -> Made:
        """Paint all pictures in both looks, and fakes back."""
        codes = self._code(x, 0), self._code(y, 1)
        shared = self._shared(torch.cat(codes))
        as_source, as_target = (
            decoder(shared).split([len(x), len(y)]) for decoder in self.decoders
        )
        fakes = as_target[0], as_source[1]
        recodes = self._code(fakes[0], 1), self._code(fakes[1], 0)
        back = self._shared(torch.cat(recodes)).tensor_split([len(x)])
        cycled = self.decoders[0](back[0]), self.decoders[1](back[1])
        return Made((x, y), fakes, (as_source[0], as_target[1]), cycled, codes, recodes)

    def learn(self, view: View, made: Made) -> dict[str, Tensor]:
        """Fool the discriminators, and keep what is in the pictures."""
        again = self.reconstruct * self.over(view, distance, made.pictures, made.rebuilt)
        cycled = self.reconstruct * self.over(view, distance, made.pictures, made.cycled)
        terms = {"fool": self.fool(view, *made.fakes), "rebuilt": again, "cycled": cycled}
        small = self.over(view, unit, made.codes) + self.over(view, unit, made.recodes)
        terms["code"] = self.even * small
        if self.match:
            pairs = self.pooled(view, self.streams[0]).chunk(2)
            terms["match"] = self.match * self.mean(view, self.streams[0], distance(*pairs))
        return terms

    def _code(self, x: Tensor, way: int) -> Tensor:
        """Give the means of codes."""
        code: Tensor = self.enter(self.encoders[way](x))
        return code

    def _shared(self, code: Tensor) -> Tensor:
        """Run the decoders' first layers, on codes with noise in training."""
        given: Tensor = self.leave(code + self.draw(code) if self.training else code)
        return given
