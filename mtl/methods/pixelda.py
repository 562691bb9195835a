"""PixelDA: a generator paints the source in the look of the target. Bousmalis et al. 2017. Topic: adaptation.

Unsupervised pixel-level domain adaptation with generative adversarial networks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl.adversary import logistic
from mtl.method import View
from mtl.rebuilding import scale_invariant
from mtl.translating import Loss, Networks, Translating
from mtl.translators import Discriminator, Generator


class Painted(NamedTuple):
    """Pictures, and what became of them: (B, C, S, S) each."""

    x: Tensor
    translated: Tensor


def foreground(x: Tensor, share: float) -> Tensor:
    """Mark what is lighter than a share of the way from black (-1) to white (1): (B, C, S, S), 1 or 0.

    Rendered objects and written digits stand before black; of a pixel all channels count, or none.

    >>> foreground(torch.tensor([[[[-1.0, 0.2]]]]), share=0.5)
    tensor([[[[0., 1.]]]])
    """
    return (x.mean(1, keepdim=True) > 2 * share - 1).to(x.dtype).expand_as(x)


class PixelDA(Translating):
    """A task learns from pictures and from what a generator makes of them, whom a discriminator judges.

    The generator gets `noise` numbers, uniform from -1 to 1, beside each picture. Its loss is `weight` times
    the cross entropy of fakes that are to be taken for real (Bousmalis et al. 2017, equation 2, as one that
    does not saturate), `keep` times the tasks' of translations, and `content` times the scale-invariant error
    between picture and translation on the foreground alone (equation 5; `lighter` is the share for
    `foreground`). The last is for rendered objects; the paper leaves it out for digits. The tasks' loss of
    pictures as they were is always there: without it, runs differ much by their seed. Hidden layers of the
    discriminator have Gaussian noise of deviation 0.2 and dropout of 0.1, as in the authors' code. Raises
    ValueError for numbers below 0, and as `mtl.translating.Translating`, whose arguments the others are.

    Differs: pictures are folded by default, so that convolutions cost a quarter; norms are of each picture.
    """

    sizes = Networks(width=32, depth=3)
    loss: Loss = staticmethod(logistic)
    middle = 0.0

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        weight: float = 1.0,
        keep: float = 1.0,
        content: float = 0.0,
        lighter: float = 0.25,
        noise: int = 10,
        networks: Networks | None = None,
    ) -> None:
        super().__init__(source, target, weight, keep, networks)
        if content < 0 or noise < 0 or not 0 <= lighter < 1:
            raise ValueError(
                f"content is {content}, noise {noise}, lighter {lighter}; the first two may not be below 0, "
                "the last is a share"
            )
        self.content, self.lighter, self.noise = content, lighter, noise

    def make(self, channels: int, size: int) -> None:
        """Make a generator and a discriminator of whole pictures."""
        width, depth, fold, _ = self.networks
        self.generator = Generator(channels, size, width, depth, fold, self.noise)
        judge = Discriminator(channels, width, 2, size, noise=0.2, dropout=0.1)
        self.discriminators = nn.ModuleList([judge])

    def draw(self, like: Tensor) -> Tensor:
        """Draw evenly from -1 to 1."""
        return 2 * torch.rand_like(like) - 1

    def paint(self, x: Tensor, way: int = 0) -> Tensor:
        """Paint with noise of its own for each picture."""
        painted: Tensor = self.generator(x, self.draw(x.new_empty(len(x), self.noise)))
        return painted

    def both(self, x: Tensor, y: Tensor) -> Painted:
        """Paint the source."""
        return Painted(x, self.paint(x))

    def learn(self, view: View, made: Painted) -> dict[str, Tensor]:
        """Fool the discriminator, and keep the foreground."""
        terms = {"fool": self.fool(view, made.translated)}
        if self.content:
            mask = foreground(made.x, self.lighter)
            errors = scale_invariant(made.translated, made.x, mask)
            terms["content"] = self.content * self.mean(view, self.streams[0], errors)
        return terms
