"""huggingface: an encoder of transformers, cut into named blocks. Wolf et al. 2020."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import mtl.automodel  # noqa: F401  lets transformers' AutoModel find our models
from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder
from mtl.foreign import family
from mtl.model import WrongModel

# What says where a model came from, and how it names classes that our heads name themselves.
ORIGIN = ("_name_or_path", "architectures", "dtype", "id2label", "label2id", "transformers_version")
OPTIONAL = ("masked_spec_embed",)  # fine-tuned checkpoints lack it; it is used in training only


class HuggingFace(Encoder):
    """The encoder that a transformers `config` (its `to_dict`) describes, blocks b1 ... bN.

    `rest` is the transformers model without its layers; a frozen convolutional front end is
    `trunk.rest.feature_extractor`. What `enter` takes is what the checkpoint's own processor gives: see the
    stem of the same name. `masking` hides spans of speech while training, where the config asks for it and
    `rest` is not frozen as a whole. Weights are random: see `load`. Raises ValueError for a model type that
    has no file in `mtl/foreign`.
    """

    def __init__(self, config: dict[str, Any], masking: bool = True) -> None:
        import transformers

        lean = getattr(family(config["model_type"]), "LEAN", {})
        described = transformers.AutoConfig.for_model(**(config | lean))
        auto: Any = transformers.AutoModel
        self._fill(auto.from_config(described, dtype=torch.float32), config, masking)

    @classmethod
    def around(cls, model: nn.Module, masking: bool = True) -> "HuggingFace":
        """Cut a transformers model that has its weights; the model is used up."""
        trunk = cls.__new__(cls)
        trunk._fill(model, settings(model.config), masking)
        return trunk

    def _fill(self, model: Any, config: dict[str, Any], masking: bool) -> None:
        super().__init__(dim=0)
        self.config, self.masking, self.rest = config, masking, model
        self.dim, blocks = self._family.cut(model)
        self.maps = getattr(self._family, "MAPS", "")
        self.blocks.update(blocks)
        names = {name for name, _ in model.named_modules()}
        self.last = tuple(f"rest.{name}" for name in self._family.LAST if name in names)
        if not masking:
            model.config.apply_spec_augment = False

    @property
    def _family(self) -> ModuleType:
        """Find the file of the family; kept as an attribute it would forbid copies of the trunk."""
        return family(self.config["model_type"])

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


def settings(described: Any) -> dict[str, Any]:
    """Give a transformers config or processor as JSON gives it back, without where it came from."""
    kept = {key: value for key, value in described.to_dict().items() if key not in ORIGIN}
    found: dict[str, Any] = json.loads(json.dumps(kept))
    return found


class Loaded(NamedTuple):
    """A checkpoint: its encoder, its transformers config, and the layer that gives scores if it has one."""

    trunk: HuggingFace
    config: Any
    scorer: nn.Module | None


def load(
    source: str,
    *,
    revision: str | None = None,
    remote_code: bool = False,
    adapter: str | None = None,
) -> Loaded:
    """Load a checkpoint by folder or hub id, in float32; `adapter` is a language of an MMS model.

    `remote_code` is transformers' `trust_remote_code`. Raises FileNotFoundError where files are missing or
    the hub gives nothing, ValueError for a model type that cannot be cut or a damaged file, WrongModel (with
    names) for weights that do not fit.
    """
    import transformers
    from safetensors import SafetensorError

    options: dict[str, Any] = {"revision": revision, "trust_remote_code": remote_code}
    try:
        config: Any = transformers.AutoConfig.from_pretrained(source, **options)
        for name, value in getattr(family(config.model_type), "LEAN", {}).items():
            setattr(config, name, value)
        with _quiet():
            model, info = _auto(config).from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # reported below, beside what is missing
                output_loading_info=True,
                **options,
            )
            if adapter is not None:
                _adapt(model, source, adapter, revision)
    except SafetensorError as error:
        raise ValueError(f"the weights of {source} are damaged or cut short: {error}") from error
    except OSError as error:
        raise FileNotFoundError(
            f"{source!r} gives no whole model: {error}\nGive a folder that save_pretrained wrote, or a hub "
            "id; without a network, only what lies in the cache can be loaded"
        ) from error
    names = dict(model.named_parameters()) | dict(model.named_buffers())
    scorer = getattr(model, "lm_head", None) or getattr(model, "classifier", None)
    trunk = HuggingFace.around(model.base_model)
    parts = {name for name, _ in trunk.rest.named_children()}
    used = [module.state_dict(keep_vars=True) for module in (trunk, scorer) if module is not None]
    kept = {id(tensor) for state in used for tensor in state.values()}
    needed = {name for name, tensor in names.items() if id(tensor) in kept}
    _check(source, info, needed, parts, f"{model.base_model_prefix}.")
    return Loaded(trunk, config, scorer)


def _auto(config: Any) -> Any:
    """Choose the class that gives a head where the checkpoint has one that ours can take over."""
    import transformers

    architecture = (config.architectures or [""])[0]
    if architecture.endswith("ForCTC"):
        return transformers.AutoModelForCTC
    if architecture.endswith("ForImageClassification"):
        return transformers.AutoModelForImageClassification
    return transformers.AutoModel


def _adapt(model: Any, source: str, language: str, revision: str | None) -> None:
    """Put the adapter and scores of a language into an MMS model."""
    if getattr(model.config, "adapter_attn_dim", None) is None or not hasattr(model, "lm_head"):
        raise ValueError(f"{source} has no language adapters: leave out adapter={language!r}")
    try:
        model.load_adapter(language, revision=revision)
    except OSError as error:
        raise FileNotFoundError(f"{source} has no adapter {language!r}: {error}") from error


def _check(source: str, info: Any, needed: set[str], parts: set[str], prefix: str) -> None:
    """Raise WrongModel where weights are missing (-), left over (+) or misshaped (!).

    What belongs to other heads, such as a quantizer, may be left over.
    """
    lost = [f"- {name}" for name in sorted(info["missing_keys"] & needed)]
    lost = [line for line in lost if not line.endswith(OPTIONAL)]
    lost += [
        f"! {name}: file {tuple(there)}, model {tuple(here)}"
        for name, there, here in sorted(info["mismatched_keys"])
        if name in needed
    ]
    over = sorted(info["unexpected_keys"])
    if lost or any(name.removeprefix(prefix).split(".")[0] in parts for name in over):
        report = lost + [f"+ {name}" for name in over]
        more = [f"... and {len(report) - 20} more"] if len(report) > 20 else []
        first = f"the weights of {source} are of another model:"
        raise WrongModel("\n".join([first, *report[:20], *more]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' own report: ours is an error."""
    import logging as levels

    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(levels.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)
