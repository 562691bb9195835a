"""Members: which numbers in `Batch.groups` a saved model gives to the languages that it was told of.

Edits of `mtl/tune` by member have a row for each, row 0 for nobody: an utterance of which it is not known.
"""

from torch import Tensor, nn

from mtl.model import Model

LANG = "lang"  # the column, of manifests and `Batch.groups`
TELL = -1  # in `Batch.groups["lang"]`: the model is to tell the language itself, see `mtl.polyglot`


def numbers(model: Model) -> dict[str, dict[str, int]]:
    """Give what `Speech` takes as `groups`: {"lang": {"": 0, "de": 1}}, "" being nobody; often {}.

    >>> from mtl.polyglot import by_language
    >>> from mtl.stems.frames import Frames
    >>> from mtl.trunks.transformer import Transformer
    >>> model = Model({"speech": Frames(4, dim=8)}, Transformer(8, depth=1, heads=2))
    >>> by_language(model, "vector", ["de", "en"])
    >>> numbers(model)
    {'lang': {'': 0, 'de': 1, 'en': 2}}
    """
    return {
        entry["column"]: {"": 0} | {name: n for n, name in enumerate(entry["names"], 1)}
        for entry in model.edits
        if entry["name"] == "members"
    }


def nobody_stays(rows: nn.Parameter) -> None:
    """Let row 0 of a by-member parameter (size, ...) learn nothing.

    A hook, not a step after the update: clipping must not count this gradient either. AdamW leaves a row of
    zeros alone. A deep copy of the parameter has no such hook.
    """
    rows.register_hook(_without_nobody)  # type: ignore[no-untyped-call]


def _without_nobody(gradient: Tensor) -> Tensor:
    gradient = gradient.clone()
    gradient[0] = 0.0
    return gradient
