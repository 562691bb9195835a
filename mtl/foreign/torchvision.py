"""torchvision: how its classification models are cut into what comes before, blocks and what comes behind."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

TYPES: tuple[str, ...] = ()  # none of transformers

# The modules before the first block, and those whose children are blocks, by class of the model.
PLANS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys(
        ("AlexNet", "ConvNeXt", "DenseNet", "EfficientNet", "MobileNetV2", "MobileNetV3"),
        ((), ("features",)),
    ),
    **dict.fromkeys(("SqueezeNet", "SwinTransformer", "VGG"), ((), ("features",))),
    "MNASNet": ((), ("layers",)),
    "RegNet": (("stem",), ("trunk_output",)),
    "ResNet": (("conv1", "bn1", "relu", "maxpool"), ("layer1", "layer2", "layer3", "layer4")),
    "ShuffleNetV2": (("conv1", "maxpool"), ("stage2", "stage3", "stage4", "conv5")),
    "VisionTransformer": ((), ("encoder.layers",)),
}


class Parts(NamedTuple):
    """A model, cut: what comes before the blocks, the blocks, and what comes before the pool."""

    first: nn.Module
    blocks: dict[str, nn.Module]
    tail: nn.Module


class Tokens(nn.Module):
    """What a VisionTransformer does before its layers: pixels (B, 3, size, size) -> (B, 1 + T, D)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.size = model.image_size
        self.patches, self.dropout = model.conv_proj, model.encoder.dropout
        self.class_token, self.positions = model.class_token, model.encoder.pos_embedding

    def forward(self, pixels: Tensor) -> Tensor:
        """Give a class token and patches. Raises ValueError for another size."""
        if pixels.shape[2:] != (self.size, self.size):
            raise ValueError(
                f"pixels {tuple(pixels.shape)}; this trunk takes (B, 3, {self.size}, {self.size}): "
                'change the stem\'s crop, or give the trunk config {"image_size": ...}'
            )
        x = self.patches(pixels).flatten(2).mT
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        out: Tensor = self.dropout(x + self.positions)
        return out


def cut(model: Any) -> Parts:
    """Cut a model by its plan; the parts are the model's own modules."""
    kind = type(model).__name__
    first, bodies = PLANS[kind]
    tail: nn.Module = nn.Identity()
    if kind == "DenseNet":
        tail = nn.Sequential(model.features.norm5, nn.ReLU())
        del model.features.norm5
    elif kind == "SwinTransformer":
        tail = model.norm
    found = [(body, model.get_submodule(body)) for body in bodies]
    children = found if len(found) > 1 else list(found[0][1].named_children())
    if kind == "VisionTransformer":
        return Parts(Tokens(model), dict(children), model.encoder.ln)
    before = nn.Sequential(*(getattr(model, name) for name in first))
    return Parts(before, _blocks(children), tail)


def _blocks(children: Iterable[tuple[str, nn.Module]]) -> dict[str, nn.Module]:
    """Make a block of each child, of each member of a stage, and of each convolution with what follows."""
    groups: dict[str, list[nn.Module]] = {}
    for number, child in children:
        name = f"f{number}" if number.isdigit() else number
        members = list(child.children())
        stage = isinstance(child, nn.Sequential) and len({type(each) for each in members}) == 1
        if stage and list(members[0].children()):
            groups |= {f"{name}_{index}": [member] for index, member in enumerate(members)}
        elif members or isinstance(child, nn.Conv2d) or not groups:
            groups[name] = [child]
        else:
            groups[list(groups)[-1]].append(child)
    return {
        name: each[0] if len(each) == 1 else nn.Sequential(*each) for name, each in groups.items()
    }


def shapes(layers: Iterable[nn.Module], side: int) -> list[torch.Size]:
    """Give the shape behind each of `layers` for square images, without computing."""
    x, found = torch.empty(1, 3, side, side, device="meta"), []
    for layer in layers:
        named = [*layer.named_parameters(), *layer.named_buffers()]
        x = functional_call(layer, {name: value.to("meta") for name, value in named}, (x,))
        found.append(x.shape)
    return found


def classifier(model: Any) -> str:
    """Name the module that turns pooled features into logits."""
    return next(name for name in ("classifier", "fc", "heads", "head") if hasattr(model, name))
