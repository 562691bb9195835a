"""translating: what methods share that paint pictures of the source in the look of the target."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from mtl.adversary import least_squares, scale_gradient, still
from mtl.batch import Batch, Labels
from mtl.domains import Adapting
from mtl.method import Adam, Phase, View
from mtl.model import Model
from mtl.translators import gauss

Loss = Callable[[Tensor, bool], Tensor]


def networks_of(text: str) -> dict[str, Any]:
    """Read sizes of networks; raises ValueError for what is no such text.

    >>> networks_of("width=64, lr=1e-4")
    {'width': 64, 'lr': 0.0001}
    """
    found: dict[str, Any] = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        name, _, value = word.partition("=")
        try:
            found[name] = {"lr": float}.get(name, int)(value)
            Networks()._replace(**found)
        except ValueError as error:
            known = ", ".join(Networks._fields)
            raise ValueError(f"{word!r}: write width=64; there are: {known}") from error
    return found


class Made(Protocol):
    """What generators made of a batch: pictures of the source in the look of the target, and more."""

    @property
    def translated(self) -> Tensor:
        """Give them: (B, C, S, S), from -1 to 1."""


class Networks(NamedTuple):
    """How large the networks of a translator are, and their rate `lr` of Adam.

    `width` counts the channels behind the first convolution, `depth` the residual blocks; `fold` (1, 2 or 4)
    is that of `mtl.translators`. The papers' networks have width 64, fold 1, and depth 4 (PixelDA's 6).
    """

    width: int = 16
    depth: int = 2
    fold: int = 2
    lr: float = 5e-4


class Translating(Adapting):
    """A method that paints each labelled picture of the source in the look of the target.

    The tasks of the source learn from both, pictures and translations: a translation has its picture's labels
    and weight. Generators learn with the tasks, from `weight` times what discriminators make them lose (term
    `fool`) and `keep` times the tasks' losses of translations. Discriminators learn in a phase of their own,
    which has the method's name, from translations made for them (term `judge`; `told` is the share of scores
    on the right side). Raises ValueError for more than one source or target, for streams without pictures of
    one size, which 4 divides, for numbers out of range, and as `mtl.domains.Adapting`.
    """

    sizes = Networks()  # unless others are asked for
    loss: Loss = staticmethod(least_squares)  # of scores (B, patches) that are to say real, or not
    middle = 0.5  # scores above it say real
    centre: Tensor
    reach: Tensor
    discriminators: (
        nn.ModuleList
    )  # of the target's look and, where the other way is learnt, the source's

    def __init__(
        self,
        source: str | Sequence[str] = "source",
        target: str | Sequence[str] = "target",
        weight: float = 1.0,
        keep: float = 0.0,
        networks: Networks | None = None,
    ) -> None:
        super().__init__(source, target)
        self.networks = width, depth, fold, lr = networks or self.sizes
        if min(weight, keep) < 0 or min(width, depth) < 1 or fold not in (1, 2, 4) or lr <= 0:
            raise ValueError(
                f"weight is {weight}, keep {keep}, width {width}, depth {depth}, fold {fold}, lr {lr}; "
                "weight and keep may not be below 0, width and depth are 1 at least, fold is 1, 2 or 4, lr "
                "above 0"
            )
        self.weight, self.keep, self.adam = weight, keep, Adam(lr)
        self._made: Any = None

    @property
    def phase(self) -> str:
        """Name the phase of the discriminators."""
        return type(self).__name__.lower()

    def build(self, model: Model) -> None:
        """Check the pictures, and make the networks."""
        super().build(model)
        name, stems = type(self).__name__, [model.stem(stream) for stream in self.streams]
        if len(stems) > 2:
            raise ValueError(f"{name} paints one source as one target, not {list(self.streams)}")
        shapes = [(getattr(s, "channels", 0), getattr(s, "size", 0)) for s in stems]
        if len(set(shapes)) > 1 or not all(shapes[0]) or shapes[0][1] % 4:
            raise ValueError(
                f"streams {list(self.streams)} have channels and sizes {shapes}; {name} paints pictures of "
                "one shape, whose size 4 divides, such as the stem pixels takes"
            )
        grey = [torch.full((3, 4, 4), shade, dtype=torch.uint8) for shade in (0, 255)]
        black, white = (stems[0].prepare(picture)[:, :1, :1] for picture in grey)
        self.register_buffer("centre", (white + black) / 2, persistent=False)
        self.register_buffer("reach", (white - black) / 2, persistent=False)
        self.make(*shapes[0])

    def make(self, channels: int, size: int) -> None:
        """Make generators and discriminators."""
        raise NotImplementedError

    def both(self, x: Tensor, y: Tensor) -> Made:
        """Make all that generators learn from, of pictures (B, C, S, S) of both domains, from -1 to 1."""
        raise NotImplementedError

    def paint(self, x: Tensor, way: int = 0) -> Tensor:
        """Paint pictures (B, C, S, S) in the target's look; with `way` 1 the target's in the source's."""
        raise NotImplementedError

    def learn(self, view: View, made: Any) -> dict[str, Tensor]:
        """Give the generators' terms beside `fool`, from what `both` made."""
        raise NotImplementedError

    def draw(self, like: Tensor) -> Tensor:
        """Draw numbers of the normal distribution."""
        return gauss(like)

    def translate(self, inputs: Tensor) -> Tensor:
        """Paint pictures of the source (B, C, S, S), as its stem prepares them, in the look of the target."""
        return self._restored(self.paint(self._even(inputs)))

    def inputs(self, batches: dict[str, Batch]) -> dict[str, Batch]:
        """Put the translations behind the pictures of the source."""
        if missing := [stream for stream in self.streams if stream not in batches]:
            raise ValueError(
                f"{type(self).__name__} paints stream {missing[0]!r}; fit was given: {', '.join(batches)}"
            )
        self._made = self.both(*(self._even(batches[stream].inputs) for stream in self.streams))
        painted = self._restored(scale_gradient(self._made.translated, self.keep))
        source = self.streams[0]
        return batches | {source: twice(batches[source], painted)}

    def phases(self) -> list[Phase]:
        """Let the discriminators learn on their own."""
        return [Phase(self.phase, list(self.discriminators.parameters()), features=False)]

    def terms(self, view: View) -> dict[str, Tensor]:
        """Let generators learn while tasks do, and discriminators in their phase."""
        if view.phase == self.phase:
            return self._judge(view)
        if view.phase != "train":
            return {}
        made, self._made = self._made, None
        return self.learn(view, made)

    def fool(self, view: View, *fakes: Tensor) -> Tensor:
        """Give what generators lose, (), by fakes, of the source and of the target, not taken for real."""
        each = [
            self.mean(view, stream, self.loss(still(judge, fake), True))
            for judge, fake, stream in zip(self.discriminators, fakes, self.streams, strict=False)
        ]
        return self.weight * torch.stack(each).sum()

    def mean(self, view: View, stream: str, values: Tensor) -> Tensor:
        """Average a value per picture (B,) of a stream over the global batch, translations not counted."""
        batch = view.batches[stream]
        weights = None if batch.weights is None else batch.weights[: len(values)]
        return view._replace(batches={stream: batch._replace(weights=weights)}).mean(stream, values)

    def over(
        self, view: View, loss: Callable[..., Tensor], *pairs: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Add up the means of a loss (B,) over either domain, of the pairs' halves."""
        each = [
            self.mean(view, stream, loss(*parts))
            for stream, parts in zip(self.streams, zip(*pairs, strict=True), strict=True)
        ]
        return torch.stack(each).sum()

    def _judge(self, view: View) -> dict[str, Tensor]:
        """Tell real pictures from fakes; the first judge those of the target from what the source became."""
        losses, right = [], []
        pictures = [self._even(view.batches[stream].inputs) for stream in self.streams]
        for way, judge in enumerate(self.discriminators):
            with torch.no_grad():
                fakes = self.paint(pictures[way], way)
            for stream, x, real in ((1 - way, pictures[1 - way], True), (way, fakes, False)):
                scores = judge(x)
                losses.append(self.mean(view, self.streams[stream], self.loss(scores, real)))
                said = (scores > self.middle) == real
                right.append(self.mean(view, self.streams[stream], said.float().mean(1)))
        return {"judge": torch.stack(losses).sum(), "told": torch.stack(right).mean()}

    def _even(self, inputs: Tensor) -> Tensor:
        """Let black be -1 and white 1."""
        even: Tensor = (inputs - self.centre) / self.reach
        return even

    def _restored(self, x: Tensor) -> Tensor:
        restored: Tensor = x.float() * self.reach + self.centre
        return restored


def twice(batch: Batch, inputs: Tensor) -> Batch:
    """Put other inputs, with all else the same, behind a batch's own.

    >>> batch = twice(Batch(torch.zeros(1, 2), torch.tensor([2]), ids=("a",)), torch.ones(1, 2))
    >>> batch.inputs.tolist(), batch.lengths.tolist(), batch.ids
    ([[0.0, 0.0], [1.0, 1.0]], [2, 2], ('a', 'a'))
    """

    def again(part: Tensor | None) -> Any:
        return None if part is None else torch.cat([part, part])

    return batch._replace(
        inputs=torch.cat([batch.inputs, inputs.to(batch.inputs.dtype)]),
        lengths=again(batch.lengths),
        labels={name: Labels(*map(again, labels)) for name, labels in batch.labels.items()},
        weights=again(batch.weights),
        groups={name: again(numbers) for name, numbers in batch.groups.items()},
        ids=batch.ids * 2,
    )


def distance(x: Tensor, y: Tensor) -> Tensor:
    """Give the mean absolute difference of pictures or codes (B, ...): (B,).

    >>> distance(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([1.5000])
    """
    return (x - y).float().abs().flatten(1).mean(1)
