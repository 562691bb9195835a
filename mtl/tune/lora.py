"""LoRA: low-rank updates beside frozen linear layers. Hu et al. 2021, section 4. Topic: adaptation."""

import re

from torch import nn

from mtl.model import Model, edit


@edit
def lora(model: Model, rank: int = 8, alpha: float = 16.0, targets: str = r"blocks\..*") -> None:
    """Add alpha / rank * B A x to the linear layers and convolutions of the trunk that match `targets`.

    `targets` is a regular expression for whole names within the trunk, by default all such layers of every
    block; other kinds of layers that match are passed over. B starts at zero, so nothing changes until
    it is trained. All else in the trunk is frozen; stems and heads stay as they are. Raises
    ValueError where nothing matches, and where the trunk has such updates already.

    Layers within torch's own attention, whose weights are read without calling them, are passed over: they
    would not feel an update.
    """
    from peft import LoraConfig, inject_adapter_in_model

    if hasattr(model.trunk, "peft_config"):
        raise ValueError("this trunk has low-rank updates already: put all layers into one edit")
    linear = [name for name, module in model.trunk.named_modules() if _is_linear(module)]
    chosen = [name for name in linear if re.fullmatch(targets, name)]
    if not chosen:
        raise ValueError(
            f"{targets!r} matches no linear layer or convolution of the trunk; it has: "
            f"{', '.join(linear[:12])}"
        )
    names = "|".join(map(re.escape, chosen))  # peft takes plain names as endings
    # An alpha that is no integer is fine: it is only ever divided by the rank.
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names)  # type: ignore[arg-type]
    inject_adapter_in_model(config, model.trunk)


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return module.groups == 1
    unused = nn.modules.linear.NonDynamicallyQuantizableLinear  # a parameter holder of attention
    return isinstance(module, nn.Linear) and not isinstance(module, unused)
