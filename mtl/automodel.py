"""AutoModel: our saved models for `transformers.AutoModel`, once `mtl.trunks.huggingface` is imported."""

from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from mtl.batch import Batch
from mtl.hub import folder_of
from mtl.model import TRANSFORMERS, Model, load_weights

MODEL_TYPE = str(TRANSFORMERS["model_type"])
# Options of transformers that concern the download, and those that change nothing here.
HUB = ("cache_dir", "force_download", "local_files_only", "revision", "token")
IDLE = ("_from_auto", "adapter_kwargs", "trust_remote_code", "use_safetensors", "weights_only")


class MtlConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """What `config.json` says of a model, for transformers: its entries are attributes."""

    model_type = MODEL_TYPE


@dataclass
class MtlOutput(ModelOutput):
    """The trunk's output: `last_hidden_state` (B, T, D), of which `lengths` (B,) frames are valid."""

    last_hidden_state: Tensor | None = None
    lengths: Tensor | None = None


class MtlModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A `mtl.Model` (in `model`) as transformers knows models; without one the weights are random."""

    config_class = MtlConfig
    main_input_name = "input_values"

    def __init__(self, config: MtlConfig, model: Model | None = None) -> None:
        super().__init__(config)
        self.model = Model.from_config(vars(config)) if model is None else model
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Leave every module as it made itself."""

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        source: str | PathLike[str],
        *inputs: Any,
        config: MtlConfig | None = None,
        dtype: torch.dtype | str | None = None,
        **options: Any,
    ) -> "MtlModel":
        """Load a folder or hub id, bit for bit as `Model.from_pretrained` does.

        Our models are not built empty and filled, as those of transformers are: a buffer that is not saved
        would stay empty. Raises TypeError for an option of transformers that would have no effect, and
        the errors of `mtl.model.load_weights`.
        """
        hub = {name: options.pop(name) for name in HUB if name in options}
        lost = [name for name, value in options.items() if name not in IDLE and value is not None]
        if lost or inputs:
            raise TypeError(
                f"a model of mtl loads without {', '.join(lost) or 'further arguments'}"
            )
        folder = folder_of(source, **hub)
        config = MtlConfig.from_pretrained(folder) if config is None else config
        model = Model.from_config(vars(config))
        load_weights(model, folder / "model.safetensors")
        wrapped = cls(config, model.to(dtype) if isinstance(dtype, torch.dtype) else model)
        wrapped.train(False)
        return wrapped

    def save_pretrained(self, folder: str | PathLike[str], **_: Any) -> None:  # type: ignore[override]
        """Write the folder that `Model.save_pretrained` writes."""
        self.model.save_pretrained(folder)

    def forward(
        self,
        input_values: Tensor | Batch,
        attention_mask: Tensor | None = None,
        stream: str | None = None,
    ) -> MtlOutput:
        """Run stem and trunk on (B, ...) inputs of a stream, as its stem's `enter` takes them, or a `Batch`.

        `attention_mask` (B, N) is 1 where an input is valid. Raises ValueError where the model has several
        stems and no stream is named.
        """
        stream = self._only_stream() if stream is None else stream
        if not isinstance(input_values, Batch):
            image = input_values.dim() == 4
            size = input_values.shape[-1 if image else 1]
            lengths = torch.full((len(input_values),), size, device=input_values.device)
            lengths = lengths if attention_mask is None else attention_mask.sum(1)
            input_values = Batch(input_values, lengths)
        features = self.model(stream, input_values)
        return MtlOutput(features.x, features.lengths)

    def _only_stream(self) -> str:
        """Give the stem's own stream; streams that share a stem give the same features."""
        names = [str(name) for name in self.model.stems]
        if len(names) > 1:
            raise ValueError(
                f"this model has several stems: give stream, one of {[*self.model.streams]}"
            )
        return names[0]


AutoConfig.register(MODEL_TYPE, MtlConfig, exist_ok=True)
AutoModel.register(MtlConfig, MtlModel, exist_ok=True)
