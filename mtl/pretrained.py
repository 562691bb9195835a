"""pretrained: trunks that were trained elsewhere, each with the stem it needs and the head it brings."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from mtl.encoder import Encoder
from mtl.head import Head
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.hub import refuse_path
from mtl.model import Model
from mtl.registry import construct, describe
from mtl.stems.huggingface import HuggingFace as Processor
from mtl.text import TextRules
from mtl.trunks import huggingface

LIBRARIES = ("torchvision", "torchaudio")
POOLS = {"vit": "first", "deit": "first"}  # what classifiers read; others the mean


class Pretrained(NamedTuple):
    """A trunk with weights, its stem, and the head that came along (with weights) if one did.

    `Model({modality: stem}, trunk)` takes them, and `Model.add` keeps a head's weights. `what` says for
    people what this is.
    """

    stem: Encoder
    trunk: Encoder
    head: Head | None
    what: str


def pretrained(
    source: str | Path,
    *,
    revision: str | None = None,
    remote_code: bool = False,
    adapter: str | None = None,
    modality: str | None = None,
) -> Pretrained:
    """Load a trunk by folder or hub id, of transformers or mtl, or as `torchvision:` or `torchaudio:` NAME.

    `adapter` is a language of an MMS model, `modality` the stem of a model of mtl that has several. Raises
    FileNotFoundError where there is no such model, ValueError (WrongModel with names) for one that does not
    fit its description, or whose kind is not known.
    """
    library, _, name = str(source).partition(":")
    if library in LIBRARIES and name:
        stem, trunk, head = import_module(f"mtl.trunks.{library}").load(name)
        return Pretrained(stem, trunk, head, _describe(str(source), trunk, head))
    if _config(str(source), revision).get("library") == "mtl":
        return _own(str(source), revision, modality)
    return _transformers(str(source), revision, remote_code, adapter)


def _transformers(
    source: str, revision: str | None, remote_code: bool, adapter: str | None
) -> Pretrained:
    """Load a checkpoint of transformers, its processor and the head, if its classes have names here."""
    loaded = huggingface.load(source, revision=revision, remote_code=remote_code, adapter=adapter)
    image = loaded.trunk.rest.main_input_name == "pixel_values"
    stem = _processor(source, image, revision)
    head: Head | None = None
    if image:
        head = _classify(loaded)
    elif isinstance(loaded.scorer, nn.Linear):
        tokenizer = _tokenizer(source, revision, adapter)
        head = None if tokenizer is None else _ctc(loaded.scorer, loaded.config, tokenizer)
    return Pretrained(stem, loaded.trunk, head, _describe(source, loaded.trunk, head))


def _describe(source: str, trunk: Encoder, head: Head | None) -> str:
    millions = sum(parameter.numel() for parameter in trunk.parameters()) / 1e6
    brings = "no head" if head is None else f"a {type(head).__name__} head"
    return f"{source}: {len(trunk.blocks)} blocks, width {trunk.dim}, {millions:.1f} M weights, {brings}"


def _config(source: str, revision: str | None) -> dict[str, Any]:
    """Read a model's config.json, from a folder or from the hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    path = Path(source, "config.json")
    if Path(source).is_dir() and not path.is_file():
        raise FileNotFoundError(f"{source} holds no config.json: not a saved model")
    if not path.is_file():
        refuse_path(source)
    try:
        if not path.is_file():
            path = Path(hf_hub_download(source, "config.json", revision=revision))
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(
            f"{source!r} is neither a folder here nor a model that the hub gives: {error}\nCheck the name "
            "and the network; without one, only what lies in the hub's cache can be loaded"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    return found


def _own(source: str, revision: str | None, modality: str | None) -> Pretrained:
    """Take stem and trunk of a model that mtl saved, and its head if it has just one."""
    model = Model.from_pretrained(source, revision)
    if modality is None and len(model.stems) > 1:
        raise ValueError(f"{source} has stems for {', '.join(model.stems)}: name one as modality=")
    trunk = model.trunk
    with torch.device("meta"):  # names only
        fresh = construct("trunks", describe(trunk))
    if list(trunk.state_dict()) != list(fresh.state_dict()):
        edits = ", ".join(edit["name"] for edit in model.edits)
        raise ValueError(
            f"the trunk of {source} was changed by {edits}, which a new model could not save: load it "
            "with Model.from_pretrained, and add tasks to that"
        )
    stem = model.stem(modality or next(iter(model.stems)))
    heads = cast(list[Head], list(model.heads.values()))
    head = heads[0] if len(heads) == 1 else None
    return Pretrained(stem, trunk, head, _describe(source, trunk, head))


def _processor(source: str, image: bool, revision: str | None) -> Processor:
    """Load the stem that runs a checkpoint's own processor."""
    import transformers

    kinds = (transformers.AutoFeatureExtractor, transformers.AutoImageProcessor)
    auto: Any = kinds[image]
    try:
        found = auto.from_pretrained(source, revision=revision)
    except OSError as error:
        raise FileNotFoundError(
            f"{source} has no preprocessor_config.json, so rate and normalisation are unknown: {error}"
        ) from error
    return Processor(huggingface.settings(found))


def _classify(loaded: huggingface.Loaded) -> Classify | None:
    """Make a head of an image classifier, where it is one linear layer on pooled features."""
    trunk, config = loaded.trunk, loaded.config
    linear = loaded.scorer[-1] if isinstance(loaded.scorer, nn.Sequential) else loaded.scorer
    if not isinstance(linear, nn.Linear) or linear.in_features != trunk.dim:
        return None  # DINOv2's reads the token and the mean
    classes = [str(config.id2label[index]) for index in range(linear.out_features)]
    if len(set(classes)) < len(classes):
        classes = [f"{index} {name}" for index, name in enumerate(classes)]
    norm = config.layer_norm_eps if config.model_type == "convnext" else 0.0
    head = Classify(classes, pool=POOLS.get(config.model_type, "mean"), norm=norm)
    head.build(trunk.dim)
    head.output.load_state_dict(linear.state_dict())
    if norm:
        head.inner.load_state_dict(trunk.rest.layernorm.state_dict())
    return head


def _tokenizer(source: str, revision: str | None, adapter: str | None) -> Any:
    """Load the names of a checkpoint's symbols, of the language `adapter` if there are several; or None."""
    import transformers

    language = {} if adapter is None else {"target_lang": adapter}
    try:
        return transformers.AutoTokenizer.from_pretrained(source, revision=revision, **language)
    except (OSError, TypeError, ImportError):  # no vocab.json; or it needs a package for phonemes
        return None


def _ctc(scorer: nn.Linear, config: Any, tokenizer: Any) -> CTC:
    """Make a CTC head of `lm_head`: the blank's row comes first, the others keep their order."""
    names = tokenizer.convert_ids_to_tokens(list(range(scorer.out_features)))
    names = [" " if name == tokenizer.word_delimiter_token else name for name in names]
    # Rows without a token are all called like the unknown one.
    names = [f"<{index}>" if name in names[:index] else name for index, name in enumerate(names)]
    blank = config.pad_token_id
    order = [blank] + [index for index in range(len(names)) if index != blank]
    symbols = [names[index] for index in order[1:]]
    head = CTC(symbols, rules=rules_of(symbols))
    head.build(scorer.in_features)
    with torch.no_grad():
        head.output.weight.copy_(scorer.weight[order])
        head.output.bias.copy_(scorer.bias[order])
    return head


def rules_of(symbols: list[str]) -> dict[str, Any] | None:
    """Choose the text rules by which a vocabulary was written: its case, and the punctuation it has.

    >>> rules_of([" ", "'", "A", "B", "<unk>"]), rules_of(["a", "-", "'"])
    ({'case': 'upper'}, {'keep': "'-"})
    """
    written = sorted(symbol for symbol in symbols if len(symbol) == 1 and symbol != " ")
    letters = [symbol for symbol in written if symbol.isalpha()]
    rules: dict[str, Any] = {}
    if any(letter != letter.lower() for letter in letters):
        mixed = any(letter != letter.upper() for letter in letters)
        rules["case"] = "keep" if mixed else "upper"
    keep = "".join(symbol for symbol in written if not symbol.isalnum())
    if keep != TextRules().keep:
        rules["keep"] = keep
    return rules or None
