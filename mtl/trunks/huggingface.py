"""huggingface: an encoder of transformers, cut into named blocks. Wolf et al. 2020."""

from typing import Any

from torch import Tensor

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder
from mtl.foreign import family


class HuggingFace(Encoder):
    """The encoder that a transformers `config` (its `to_dict`) describes, blocks b1 ... bN.

    `rest` is the transformers model without its layers. What `enter` takes is what the checkpoint's own
    processor gives: see the stem of the same name. Raises ValueError for a model type that has no file in
    `mtl/foreign`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__(dim=0)
        self.config = config
        self._family = family(config["model_type"])
        self.rest = AutoModel.from_config(AutoConfig.for_model(**config))
        self.dim, blocks = self._family.cut(self.rest)
        self.blocks.update(blocks)
        self.last = tuple(f"rest.{name}" for name in self._family.LAST)

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the output frames of prepared inputs."""
        counted: Tensor = self._family.frames(self.rest, lengths)
        return counted

    def enter(self, batch: Batch) -> Flow:
        """Run everything before the first layer."""
        flow: Flow = self._family.enter(self.rest, batch)
        return flow

    def rejoin(self, batch: Batch) -> Flow:
        """Make masks and position tables for stored inputs of a layer."""
        flow: Flow = self._family.rejoin(self.rest, self.blocks, batch)
        return flow

    def leave(self, flow: Flow) -> Features:
        """Run everything after the last layer."""
        features: Features = self._family.leave(self.rest, flow)
        return features

    def tap(self, flow: Flow) -> Features:
        """Give an inner layer's output as a sequence."""
        features: Features = self._family.tap(self.rest, flow)
        return features
