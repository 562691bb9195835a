"""MUNIT: content is kept and style drawn, so that a picture has many translations. Huang et al. 2018.

Multimodal unsupervised image-to-image translation. Topic: adaptation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mtl.method import View
from mtl.translating import Networks, Translating, distance
from mtl.translators import ContentEncoder, Decoder, Discriminator, StyleEncoder

STYLE = 8  # numbers of a style, as in the paper
Pair = tuple[Tensor, Tensor]


class Made(NamedTuple):
    """Of source and target each: pictures (B, C, S, S), contents (B, D, H, W) and styles (B, STYLE)."""

    pictures: Pair
    fakes: Pair  # the source in the target's look, and the other way round
    rebuilt: Pair
    contents: Pair
    recontents: Pair  # of the fakes
    drawn: Pair  # styles of the fakes, and what is read from them
    restyled: Pair
    cycled: Pair | None  # there and back

    @property
    def translated(self) -> Tensor:
        """Give the source in the look of the target."""
        return self.fakes[0]


class MUNIT(Translating):
    """Encoders of content and of style for each domain, decoders of both; and tasks on top.

    A fake is the content of a picture in a style of the other domain, drawn from N(0, I). Added are
    `reconstruct` times the mean absolute error of pictures made again from their own codes (term `rebuilt`),
    `codes` times that of content and style as read from fakes (`content` and `style`), `cycle` times that of
    pictures made again from their fakes' content and their own style (`cycled`), and what discriminators make
    fakes lose (`fool`): Huang et al. 2018, equations 1 to 5, with the weights of the authors' code. The tasks
    learn from fakes in a new style at every step. Raises ValueError for numbers below 0, and as
    `mtl.translating.Translating`, whose arguments the others are.
    """

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        weight: float = 1.0,
        keep: float = 0.0,
        reconstruct: float = 10.0,
        codes: float = 1.0,
        cycle: float = 0.0,
        networks: Networks | None = None,
    ) -> None:
        super().__init__(source, target, weight, keep, networks)
        if min(reconstruct, codes, cycle) < 0:
            raise ValueError(
                f"reconstruct is {reconstruct}, codes {codes}, cycle {cycle}; none may be below 0"
            )
        self.reconstruct, self.codes, self.cycle = reconstruct, codes, cycle

    def make(self, channels: int, size: int) -> None:
        """Make two encoders, a decoder and a discriminator for each domain."""
        width, depth, fold, _ = self.networks
        sizes = channels, width, depth, fold
        self.content = nn.ModuleList(ContentEncoder(*sizes) for _ in range(2))
        self.style = nn.ModuleList(StyleEncoder(channels, width, fold, STYLE) for _ in range(2))
        self.decoders = nn.ModuleList(Decoder(*sizes, STYLE) for _ in range(2))
        self.discriminators = nn.ModuleList(Discriminator(channels, width, 3) for _ in range(2))

    def paint(self, x: Tensor, way: int = 0) -> Tensor:
        """Paint in a style of the other domain, drawn for each picture."""
        style = self.draw(x.new_empty(len(x), STYLE))
        painted: Tensor = self.decoders[1 - way](self.content[way](x), style)
        return painted

    def both(self, x: Tensor, y: Tensor) -> Made:
        """Paint all pictures in both looks, and read the fakes."""
        contents = self.content[0](x), self.content[1](y)
        styles = self.style[0](x), self.style[1](y)
        drawn = self.draw(styles[0]), self.draw(styles[1])
        # Each decoder runs once: on its own pictures' codes, and on the others' content in drawn styles.
        content, first = torch.cat(contents), [len(x)]
        as_source = self.decoders[0](content, torch.cat([styles[0], drawn[1]])).tensor_split(first)
        as_target = self.decoders[1](content, torch.cat([drawn[0], styles[1]])).tensor_split(first)
        fakes = as_target[0], as_source[1]
        recontents = self.content[1](fakes[0]), self.content[0](fakes[1])
        restyled = self.style[1](fakes[0]), self.style[0](fakes[1])
        cycled = None
        if self.cycle:
            back = zip(self.decoders, recontents, styles, strict=True)
            cycled = tuple(decoder(content, style) for decoder, content, style in back)
        rebuilt = as_source[0], as_target[1]
        return Made((x, y), fakes, rebuilt, contents, recontents, drawn, restyled, cycled)

    def learn(self, view: View, made: Made) -> dict[str, Tensor]:
        """Fool the discriminators, and read from pictures and fakes what they were made from."""
        terms = {
            "fool": self.fool(view, *made.fakes),
            "rebuilt": self.reconstruct * self.over(view, distance, made.pictures, made.rebuilt),
            "content": self.codes * self.over(view, distance, made.contents, made.recontents),
            "style": self.codes * self.over(view, distance, made.drawn, made.restyled),
        }
        if made.cycled is not None:
            cycled = self.over(view, distance, made.pictures, made.cycled)
            terms["cycled"] = self.cycle * cycled
        return terms
