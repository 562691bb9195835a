"""sentence_encoder: vectors of class names or descriptions, from a text encoder of transformers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtl.ops import masked_mean

POOLS = ("mean", "first")
AT_ONCE = 32
LONGEST = 512  # tokens, where neither model nor tokenizer says


def sentence_encoder(
    source: str, texts: Sequence[str], pool: str = "mean", revision: str | None = None
) -> NDArray[np.float32]:
    """Encode each text (N, D): the mean of its last states, or the first, by a local folder or hub id.

    Models of sentence-transformers say in their card which `pool` they want; longer texts than the model
    takes are cut. Raises FileNotFoundError where there is no such model, ValueError for a pool that does not
    exist, a model that is no encoder, and a text without words.
    """
    if pool not in POOLS:
        raise ValueError(f"pool {pool!r} is not known; choose one of {', '.join(POOLS)}")
    if empty := [number for number, text in enumerate(texts) if not text.strip()]:
        raise ValueError(f"text {empty[0]} of {len(texts)} is empty; describe the class")
    tokenizer, model = _load(source, revision)
    rows = [
        _encoded(texts[i : i + AT_ONCE], tokenizer, model, pool)
        for i in range(0, len(texts), AT_ONCE)
    ]
    return np.concatenate(rows)


def _load(source: str, revision: str | None) -> tuple[Any, Any]:
    import transformers

    try:
        model = transformers.AutoModel.from_pretrained(source, revision=revision)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{source!r} is neither a folder here nor a model of the hub, with its tokenizer: {error}"
        ) from error
    if model.config.is_encoder_decoder or model.main_input_name != "input_ids":
        raise ValueError(f"{source} is a {model.config.model_type} model: give an encoder of text")
    return tokenizer, model.eval()


def _encoded(texts: Sequence[str], tokenizer: Any, model: Any, pool: str) -> NDArray[np.float32]:
    places = getattr(model.config, "max_position_embeddings", LONGEST)
    longest = min(tokenizer.model_max_length, places)
    how = {"padding": True, "truncation": True, "max_length": longest, "return_tensors": "pt"}
    tokens = tokenizer(list(texts), padding_side="right", **how)
    with torch.inference_mode():
        states = model(**tokens).last_hidden_state
    pooled = (
        masked_mean(states, tokens["attention_mask"].sum(1)) if pool == "mean" else states[:, 0]
    )
    found: NDArray[np.float32] = pooled.float().numpy()
    return found
