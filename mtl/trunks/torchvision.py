"""torchvision: its classification models as trunks of named blocks. Marcel and Rodriguez 2010."""

import inspect
import pickle
import re
from difflib import get_close_matches
from math import isqrt
from pathlib import Path
from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model, get_model_builder, get_model_weights, list_models

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder
from mtl.foreign.maps import Layer, as_map, as_sequence, stored
from mtl.foreign.states import fit, read, tensors_only
from mtl.foreign.torchvision import PLANS, Tokens, classifier, cut, shapes
from mtl.head import Head
from mtl.registry import construct

OUTPUT = re.compile(
    r"(fc|head|heads\.head|classifier(\.\d)?)\.weight"
)  # of the last layer, or near it


class TorchVision(Encoder):
    """The encoder of `torchvision.models.get_model(arch, **config)`, without its classifier.

    The blocks are named as in the original: layer1_0, f3 or f1_0 of `features`, encoder_layer_0; lone
    layers belong to the block before them, save a convolution, which begins one. What leaves is a
    sequence, of a class token and patches (B, 1 + T, dim) or of the places of a map (B, H W, dim), row by
    row; between the blocks maps stay maps.

    Raises ValueError for a model that is not known or cannot be cut.
    """

    def __init__(self, arch: str, config: dict[str, Any] | None = None) -> None:
        _kind(arch)
        self._fill(get_model(arch, **config or {}), arch, config)

    @classmethod
    def around(cls, model: nn.Module, arch: str, config: dict[str, Any] | None) -> "TorchVision":
        """Cut a model of torchvision that has its weights; the model is used up."""
        trunk = cls.__new__(cls)
        trunk._fill(model, arch, config)
        return trunk

    def _fill(self, model: Any, arch: str, config: dict[str, Any] | None) -> None:
        super().__init__(dim=0)
        self.arch, self.config = arch, config
        kind = type(model).__name__
        self._tokens, self._channels_last = kind == "VisionTransformer", kind == "SwinTransformer"
        self.maps = "" if self._tokens else "last" if self._channels_last else "first"
        self.first, blocks, self.tail = cut(model)
        if self._tokens:
            widths = [model.hidden_dim] * len(blocks)
        else:
            behind = shapes([self.first, *blocks.values()], 224)[1:]
            widths = [shape[3 if self._channels_last else 1] for shape in behind]
        pairs = zip(blocks.items(), widths, strict=True)
        self.blocks = nn.ModuleDict({name: Layer(block, dim) for (name, block), dim in pairs})
        self.dim = widths[-1]
        self.last = ("tail",) if next(self.tail.parameters(), None) is not None else ()

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the tokens or places of square images, given their width."""
        if isinstance(self.first, Tokens):
            return torch.full_like(lengths, self.first.positions.shape[1])
        layers = [self.first, *(cast(Layer, block).layer for block in self.blocks.values())]
        last = [shapes(layers, side)[-1] for side in lengths.flatten().tolist()]
        counts = [(s[1:3] if self._channels_last else s[2:]).numel() for s in last]
        return lengths.new_tensor(counts).view_as(lengths)

    def enter(self, batch: Batch) -> Flow:
        """Run what comes before the first block on pixels (B, 3, H, W)."""
        x = batch.inputs.to(next(self.parameters()).dtype)
        return self._flow(self.first(x), batch)

    def rejoin(self, batch: Batch) -> Flow:
        """Take stored tokens, or maps: as they were, or as the sequences of square ones."""
        x = stored(batch)
        if not self._tokens and x.dim() == 3:
            x = as_map(x)
            x = x.permute(0, 2, 3, 1).contiguous() if self._channels_last else x
        return self._flow(x, batch)

    def _flow(self, x: Tensor, batch: Batch) -> Flow:
        """Count tokens; between blocks that hand on maps the lengths mean nothing."""
        lengths = torch.full_like(batch.lengths, x.shape[1]) if self._tokens else batch.lengths
        return Flow(x, lengths, batch.groups)

    def leave(self, flow: Flow) -> Features:
        """Run what comes between the last block and the pool, and give a sequence."""
        return self.tap(flow._replace(x=self.tail(flow.x)))

    def tap(self, flow: Flow) -> Features:
        """Give tokens, or the places of a map row by row."""
        if self._tokens:
            return Features(flow.x, flow.lengths)
        return as_sequence(
            flow._replace(x=flow.x.permute(0, 3, 1, 2)) if self._channels_last else flow
        )


def load(name: str) -> tuple[Encoder, TorchVision, Head | None]:
    """Give (stem, trunk, head) of "resnet18", "resnet18/IMAGENET1K_V1" or "resnet18=FILE".

    Without weights they are random, and there is no head. A FILE is .safetensors, or a state dict saved by
    torch; its classes are called "0", "1", ... The stem prepares pictures as the weights' `transforms()`
    do, where none are named those of the architecture's first ones. The head, its weights loaded, gives
    torchvision's logits; it is None where the classifier is more than a norm and a linear layer behind
    the pool (AlexNet, VGG, SqueezeNet, MobileNetV3), and for a FILE without classifier.

    Raises ValueError for unknown names and damaged files, FileNotFoundError for weights that are neither
    here nor can be downloaded, `mtl.model.WrongModel` (+ - !) for a file of another architecture.
    """
    arch, file = name.split("=", 1) if "=" in name else (name, "")
    arch, weights = arch.split("/", 1) if "/" in arch else (arch, "")
    kind = _kind(arch)
    known = get_model_weights(arch)
    if weights and weights not in known.__members__:
        raise ValueError(
            f"{arch} has no weights {weights!r}; it has: {', '.join(known.__members__)}"
        )
    chosen = known[weights] if weights else next(iter(known))
    if not weights and not file:
        return _stem(chosen.transforms()), TorchVision(arch), None
    if file:
        model, classes = _from_file(arch, Path(file))
    else:
        model, classes = _download(arch, chosen), _distinct(chosen.meta["categories"])
    # Some weights of an architecture are for larger images.
    size = {"image_size": model.image_size} if kind == "VisionTransformer" else {}
    trunk = TorchVision.around(model, arch, size or None)
    head = _head(model, classes, "first" if kind == "VisionTransformer" else "mean")
    return _stem(chosen.transforms(), *size.values()), trunk.eval(), head


def _kind(arch: str) -> str:
    """Give the class of a model without building it; raises ValueError for what cannot be cut."""
    if arch not in list_models():
        near = get_close_matches(arch, list_models(torchvision.models)) or ["resnet18", "vit_b_16"]
        raise ValueError(f"torchvision has no model {arch!r}; did you mean {', '.join(near)}?")
    returned = inspect.signature(get_model_builder(arch)).return_annotation
    kind = str(getattr(returned, "__name__", returned))
    if kind not in PLANS:
        raise ValueError(
            f"{arch} ({kind}) cannot be cut into blocks; these can: {', '.join(PLANS)}"
        )
    return kind


def _download(arch: str, weights: Any) -> Any:
    """Build a model with its weights, from torch's cache or the network."""
    place = f"{torch.hub.get_dir()}/checkpoints"
    try:
        with tensors_only():
            return get_model(arch, weights=weights, progress=False)
    except OSError as error:
        raise FileNotFoundError(
            f"{weights} cannot be downloaded ({error}): put {weights.url} into {place}, or use its "
            f"file by '{arch}=FILE'"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{weights}: delete its damaged file in {place}: {error}") from error


def _from_file(arch: str, file: Path) -> tuple[Any, list[str]]:
    """Build a model with a file's weights; its classes are numbers, none without a classifier."""
    state = read(file)
    outputs = sorted(name for name in state if OUTPUT.fullmatch(name))
    classes = len(state[outputs[-1]]) if outputs else 0
    config: dict[str, Any] = {"num_classes": max(classes, 1)}
    if _kind(arch) == "VisionTransformer" and {"encoder.pos_embedding", "conv_proj.weight"} <= set(
        state
    ):
        patches = isqrt(state["encoder.pos_embedding"].shape[1] - 1)
        config["image_size"] = patches * state["conv_proj.weight"].shape[-1]
    model = get_model(arch, **config)
    for name in list(state):  # as the oldest files of DenseNet write them
        state[re.sub(r"(denselayer\d+\.[a-z]+)\.([12])\.", r"\1\2.", name)] = state.pop(name)
    if not classes:
        own = {n: v for n, v in model.state_dict().items() if n.startswith(classifier(model) + ".")}
        state |= {n: v for n, v in own.items() if n not in state}
    fit(model, state, str(file))
    return model, [str(number) for number in range(classes)]


def _stem(transforms: Any, crop: int = 0) -> Encoder:
    """Make the stem that does what `transforms()` of the weights do, for images of `crop` if given."""
    stem: Encoder = construct(
        "stems",
        {
            "name": "torchvision",
            "crop": crop or transforms.crop_size[0],
            "resize": max(transforms.resize_size[0], crop),
            "mean": transforms.mean,
            "std": transforms.std,
            "interpolation": transforms.interpolation.value,
            "antialias": transforms.antialias,
        },
    )
    return stem


def _head(model: Any, classes: list[str], pool: str) -> Head | None:
    """Make a head with the classifier's weights, where that is a linear layer behind the pool."""
    layers = [m for m in getattr(model, classifier(model)).modules() if not list(m.children())]
    linear = [m for m in layers if isinstance(m, nn.Linear)]
    norms = [m for m in layers if isinstance(m, nn.LayerNorm)]
    dropouts = [m.p for m in layers if isinstance(m, nn.Dropout)]
    flattens = [m for m in layers if isinstance(m, nn.Flatten)]
    rest = len(layers) - len(norms) - len(dropouts) - len(flattens)
    if not classes or rest > 1 or not linear:
        return None
    settings = {"classes": classes, "pool": pool, "dropout": sum(dropouts)}
    norm = {"norm": norms[0].eps} if norms else {}
    head: Any = construct("heads", {"name": "classify", **settings, **norm})
    head.build(linear[0].in_features)
    head.output.load_state_dict(linear[0].state_dict())
    if norms:
        head.inner.load_state_dict(norms[0].state_dict())
    return cast(Head, head.eval())


def _distinct(names: list[str]) -> list[str]:
    """Number names that repeat: ImageNet has two kinds of crane.

    >>> _distinct(["crane", "owl", "crane"])
    ['crane', 'owl', 'crane 2']
    """
    counts = [names[: index + 1].count(name) for index, name in enumerate(names)]
    return [f"{n} {count}" if count > 1 else n for n, count in zip(names, counts, strict=True)]
